"""One input that is not a number comes out of exactly the windows that hold it.

By that receptive fields are measured: a window that swallows it hides what it looks at.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.invariance.layers import equivariance
from robustlab.pooling import PADDINGS, Geometry, Pooling, parse_kind, swap_pooling
from robustlab.pooling.median import Median
from robustlab.pooling.padded import PaddedAverage
from robustlab.pooling.strided import Strided

WINDOWS = ("max", "avg", "lp1", "lp2", "lp3", "lpinf", "lse10", "mixed", "stochastic", "soft")
KINDS = (*WINDOWS, "median", "strided", "counting")
GEOMETRIES = (
    Geometry((3, 3), (2, 2), (1, 1)),
    Geometry((2, 3), (2, 1), (0, 1)),
    Geometry((3, 2), (1, 2), (1, 0), (2, 1)),
)
SIZE = (6, 8)
MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def layer(kind, geometry, padding):
    window = PaddedAverage(geometry.padding) if kind == "counting" else parse_kind(kind).window
    return Pooling(window, Strided(), geometry, padding).eval()


def seen(kind, geometry, padding):
    """Which pixels stand in each window, counted out: sets by place."""
    numbers = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE)
    around = [(p, p + 4) for p in geometry.padding]
    if padding == "zero":
        wide = np.pad(numbers, around, constant_values=-1)
    else:
        wide = np.pad(numbers, around, mode=MODES[padding])
    steps = [range(0, k * d, d) for k, d in zip(geometry.kernel, geometry.dilation, strict=True)]
    if kind == "strided":
        steps = [one[(len(one) - 1) // 2 : (len(one) - 1) // 2 + 1] for one in steps]
    counts = [geometry.out(SIZE[axis], axis) for axis in (0, 1)]
    return {
        (i, j): {
            int(wide[i * geometry.stride[0] + a, j * geometry.stride[1] + b])
            for a in steps[0]
            for b in steps[1]
        }
        for i in range(counts[0])
        for j in range(counts[1])
    }


def check_reach(kind, geometry, padding):
    places = seen(kind, geometry, padding)
    pool = layer(kind, geometry, padding)
    x = torch.rand(1, 1, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for pixel in range(SIZE[0] * SIZE[1]):
        marked = x.clone()
        marked.view(-1)[pixel] = math.nan
        found = pool(marked)[0, 0].isnan()
        assert found.shape == (max(i for i, _ in places) + 1, max(j for _, j in places) + 1)
        for place, inside in places.items():
            assert bool(found[place]) == (pixel in inside), (kind, padding, pixel, place)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_windows_hand_on_what_is_no_number(kind, padding):
    for geometry in GEOMETRIES:
        check_reach(kind, geometry, padding)


def test_that_check_kills_a_median_that_leaves_it_out(monkeypatch):
    def swallowing(self, values, seen):
        if seen is None:
            return values.median(0).values
        return values.masked_fill(~seen, math.nan).nanmedian(0).values

    monkeypatch.setattr(Median, "over", swallowing)
    with pytest.raises(AssertionError):
        check_reach("median", GEOMETRIES[0], "zero")


def test_the_cells_left_out_behind_a_median_are_those_behind_an_lp():
    """The layer survey's view of it: as many cells see the border, and the others are exact."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(3 * 64, 3)
    )
    network = Backbone(module.eval(), input_shape=(1, 18, 18), classes=3)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 18, 18), dtype=np.uint8)
    data = Data(pixels, np.arange(3), classes=3)
    kept = {}
    for kind in ("median", "lp2"):
        arrays = equivariance(swap_pooling(network, kind), data, shifts=((0, 4),)).arrays
        place = arrays["layers"].tolist().index("2")
        kept[kind] = float(arrays["kept_cells"][0, place])
        assert arrays["aligned"][:, 0, place].max() < 1e-6
    assert kept["median"] == kept["lp2"] < 0.8
