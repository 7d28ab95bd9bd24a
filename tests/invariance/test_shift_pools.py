"""Pooling by slices: the values of the longer way, to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustlab.backbones.lectures.pooling import pooling
from robustlab.invariance import shift_pools
from robustlab.invariance.shift_pools import SlicedMax, SlicedMaxPool2d, sliced_pools
from robustlab.pooling.geometry import Geometry
from robustlab.pooling.maximum import Max
from robustlab.pooling.pool import Pooling
from robustlab.pooling.strided import Strided

POOLS = {
    "of two": lambda: nn.MaxPool2d(2),
    "overlapping": lambda: nn.MaxPool2d(3, 2),
    "dense": lambda: nn.MaxPool2d(2, 1),
    "of three": lambda: nn.MaxPool2d(3),
    "blur": lambda: pooling("blur", 2, 2),
    "blur, padded": lambda: pooling("blur", 3, 2, 1),
    "plain stride": lambda: Pooling(Max(), Strided(), Geometry((3, 3), (2, 2), (1, 1))),
    # Dilated: taken by torch's kernel after all.
    "two grids": lambda: Pooling(Max(), Strided(), Geometry((2, 2), (2, 2), spread=(2, 2))),
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


@pytest.mark.parametrize("name", [name for name in POOLS if name != "two grids"])
def test_the_check_kills_a_slice_too_few(name, monkeypatch):
    true = shift_pools._highest
    less = lambda x, dim, kernel, stride: true(x, dim, kernel - 1, stride)  # noqa: E731
    monkeypatch.setattr(shift_pools, "_highest", less)
    with pytest.raises((AssertionError, RuntimeError)):
        check_slices(POOLS[name])


def test_other_pools_stay():
    pools = nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(2, ceil_mode=True)
    assert all(type(m) is nn.MaxPool2d for m in sliced_pools(nn.Sequential(*pools)))
