"""Thinned convolutions: the values of the whole ones, at the places that are kept."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustlab.backbones.lectures.pooling import Subsample
from robustlab.invariance.shift_thinned import ThinnedConv2d, thinned


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


class Rolled(nn.Module):
    def forward(self, x):
        return x.roll(-1, 2)


def second_row_first(network):
    return nn.Sequential(Rolled(), thinned(network))


def never_thrown_away(network):
    return nn.Sequential(*[m for m in network if type(m) is not Subsample])


def twice(network):
    found = thinned(network)
    return nn.Sequential(found.get_submodule("thinned3"), *network[1:])


@pytest.mark.parametrize("mutant", [one_row_more, second_row_first, never_thrown_away, twice])
def test_the_check_kills(mutant):
    """The second gives maps of the right size, with the values beside the right ones."""
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


class Called(nn.Module):
    """Layers called by keyword, or one convolution twice."""

    def __init__(self, how):
        super().__init__()
        self.conv, self.relu, self.pool, self.how = (
            nn.Conv2d(3, 3, 3),
            nn.ReLU(),
            Subsample(2, 2),
            how,
        )

    def forward(self, x):
        if self.how == "convolution":
            return self.pool(self.relu(self.conv(input=x)))
        if self.how == "function":
            return self.pool(self.relu(input=self.conv(x)))
        if self.how == "pool":
            return self.pool(x=self.relu(self.conv(x)))
        return self.pool(self.conv(self.conv(x)))


@pytest.mark.parametrize("how", ["convolution", "function", "pool"])
def test_layers_called_by_keyword_stay(how):
    assert ThinnedConv2d not in check_thinned(Called(how).double(), (9, 8))


def test_a_convolution_used_twice_is_thinned_once():
    kinds = check_thinned(Called("twice").double(), (9, 8))
    assert kinds.count(ThinnedConv2d) == kinds.count(nn.Conv2d) == 1


def test_of_two_strides_in_a_row_the_second_stays():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), Subsample(2, 2), nn.ReLU(), Subsample(2, 2)).double()
    kinds = check_thinned(module, (12, 14))
    assert kinds.count(ThinnedConv2d) == kinds.count(Subsample) == 1


def test_a_network_with_nothing_to_thin_is_itself():
    """A trace of it would leave out what its forward does beside its layers."""
    for module in (network(nn.MaxPool2d(2)), network(Subsample(3, 2)), nn.Linear(3, 3)):
        assert thinned(module) is module
