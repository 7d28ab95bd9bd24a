"""Layers by a shorter way: the values of the longer one, to the last bit where nothing is summed
anew.
"""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustlab.backbones.lectures.pooling import Subsample, pooling
from robustlab.invariance import shift_layers
from robustlab.invariance.shift_layers import (
    SlicedMax,
    SlicedMaxPool2d,
    ThinnedConv2d,
    sliced_pools,
    thinned,
)

POOLS = {
    "of two": lambda: nn.MaxPool2d(2),
    "overlapping": lambda: nn.MaxPool2d(3, 2),
    "dense": lambda: nn.MaxPool2d(2, 1),
    "of three": lambda: nn.MaxPool2d(3),
    "blur": lambda: pooling("blur", 2, 2),
    "blur, padded": lambda: pooling("blur", 3, 2, 1),
    "polyphase": lambda: pooling("polyphase", 2, 2),
}


def check_slices(make, size=(12, 14)):
    torch.manual_seed(0)
    x = torch.randn(3, 4, *size)
    mine = sliced_pools(nn.Sequential(make()))
    kinds = type(mine[0]), type(getattr(mine[0], "window", None))
    assert SlicedMaxPool2d in kinds or SlicedMax in kinds
    assert torch.equal(make()(x), mine(x))
    x[0, 0, 3, 3] = float("nan")
    assert torch.equal(make()(x).isnan(), mine(x).isnan())


@pytest.mark.parametrize("name", POOLS)
def test_pooling_by_slices_is_bit_equal(name):
    check_slices(POOLS[name])


@pytest.mark.parametrize("name", POOLS)
def test_the_check_kills_a_slice_too_few(name, monkeypatch):
    true = shift_layers._highest
    less = lambda x, dim, kernel, stride: true(x, dim, kernel - 1, stride)  # noqa: E731
    monkeypatch.setattr(shift_layers, "_highest", less)
    with pytest.raises((AssertionError, RuntimeError)):
        check_slices(POOLS[name])


def test_other_pools_stay():
    pools = nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(2, ceil_mode=True)
    assert all(type(m) is nn.MaxPool2d for m in sliced_pools(nn.Sequential(*pools)))


# Thinned convolutions --------------------------------------------------------------------------


def check_thinned(module, size, thin=thinned):
    torch.manual_seed(1)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    before = copy.deepcopy(module)
    mine = thin(module)
    assert torch.allclose(mine(x), before(x), atol=1e-12)
    assert str(module) == str(before)  # the network that was given stays
    return [type(m) for m in mine.modules()]


def network(pool, conv=None, between=None):
    torch.manual_seed(0)
    between = between or (nn.BatchNorm2d(4), nn.ReLU())
    conv = conv or nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    return nn.Sequential(conv, *between, pool, nn.Flatten()).double().eval()


@given(
    size=st.tuples(st.integers(7, 12), st.integers(7, 12)),
    kernel=st.integers(1, 2),
    stride=st.integers(2, 3),
    reach=st.sampled_from([1, 3, 5]),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    mode=st.sampled_from(["zeros", "circular", "reflect"]),
)
def test_a_thinned_convolution_keeps_its_values(
    size, kernel, stride, reach, padding, dilation, mode
):
    if min(size) + 2 * padding - dilation * (reach - 1) < kernel:
        return
    conv = nn.Conv2d(3, 4, reach, 1, padding, dilation, padding_mode=mode)
    kinds = check_thinned(network(Subsample(kernel, stride), conv), size)
    assert ThinnedConv2d in kinds
    assert Subsample not in kinds


def one_row_more(network):
    found = thinned(network)
    for layer in found.modules():
        if isinstance(layer, ThinnedConv2d):
            layer.sample = lambda maps: maps[::2, ::2]
    return found


def never_thrown_away(network):
    return nn.Sequential(*[m for m in network if type(m) is not Subsample])


def twice(network):
    found = thinned(network)
    return nn.Sequential(found.get_submodule("thinned3"), *network[1:])


@pytest.mark.parametrize("mutant", [one_row_more, never_thrown_away, twice])
def test_the_check_kills(mutant):
    check_thinned(network(Subsample(2, 2)), (9, 8))
    with pytest.raises((AssertionError, RuntimeError)):
        check_thinned(network(Subsample(2, 2)), (9, 8), mutant)


class Seen(nn.Module):
    """Somebody else sees the convolution's values, or the tracer cannot follow."""

    def __init__(self, branches):
        super().__init__()
        self.conv, self.pool, self.branches = nn.Conv2d(3, 4, 3), Subsample(2, 2), branches

    def forward(self, x):
        if not self.branches and x.sum() > 1e9:
            return x
        made = self.conv(x)
        return self.pool(made).flatten(1).sum(1) + made.flatten(1).amax(1)


@pytest.mark.parametrize(
    "module",
    [
        network(Subsample(3, 2)),  # begins at the second value
        network(Subsample(3, 2, 1)),
        network(Subsample(2, 2, ceil_mode=True)),
        network(Subsample(2, 2), nn.Conv2d(3, 4, 3, stride=2)),
        network(Subsample(2, 2), nn.Conv2d(3, 4, 3, padding="same")),
        network(Subsample(2, 2), between=(nn.Softmax2d(), nn.MaxPool2d(2))),
        Seen(True).double(),
        Seen(False).double(),
        nn.Sequential(Subsample(2, 2)),
        nn.Sequential(nn.MaxPool2d(2), Subsample(2, 2)),
    ],
)
def test_what_is_not_thinned(module):
    kinds = check_thinned(module, (9, 8))
    assert ThinnedConv2d not in kinds
    assert Subsample in kinds
