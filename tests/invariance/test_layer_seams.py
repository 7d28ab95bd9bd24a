"""Which networks make a circle of their image: what layers say, against what they do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.invariance import layer_seams
from robustlab.invariance.layer_survey import seams_of
from robustlab.invariance.layers import equivariance, refuse
from robustlab.pooling import swap_pooling

SIZE = 16


def network(
    mode="circular", pool=None, kernel=3, padding=1, size=SIZE, first=None, last="circular"
):
    torch.manual_seed(0)
    layers = (
        *(first or [nn.Conv2d(1, 3, kernel, padding=padding, padding_mode=mode)]),
        *(nn.ReLU(), pool or nn.MaxPool2d(2)),
        nn.Conv2d(3, 4, 3, stride=2, padding=1, padding_mode=last),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    )
    module = nn.Sequential(*layers).double().eval()
    return Backbone(module, input_shape=(1, size, size), classes=3, name="net")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, 2, 1, padding_mode="circular")
        self.short = nn.Conv2d(1, 3, 1, 2)

    def forward(self, x):
        return self.conv(x) + self.short(x)


class Called(nn.Module):
    """A strided convolution that is a function call."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 1, 3, 3))
        self.pool, self.last = nn.MaxPool2d(2), nn.Linear(3, 3)

    def forward(self, x):
        x = functional.conv2d(x, self.weight, None, 2, 1)
        return self.last(self.pool(x).mean((2, 3)))


def called():
    return Backbone(Called().double().eval(), input_shape=(1, SIZE, SIZE), classes=3, name="net")


def data(n=3, size=SIZE):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, size, size), dtype=np.uint8)
    return Data(pixels, np.arange(n) % 3, classes=3)


def swapped(kind, padding, make=network, **given):
    return swap_pooling(make(**given), kind, padding)


CIRCLES = {
    "plain": network,
    "pool of 3": lambda: swapped("max", "circular", pool=nn.MaxPool2d(3, 2, 1)),
    "blur3": lambda: swapped("blur3", "circular"),
    "own blur3": lambda: swapped("blur3", None),
    "max+blur5": lambda: swapped("max+blur5", "circular", mode="zeros", last="zeros"),
    "polyphase": lambda: swapped("polyphase", "circular"),
    "dense": lambda: swapped("dense", "circular"),
    "call": lambda: swapped("blur3", "circular", make=called),
    "block": lambda: network(first=[Block()]),
    "1x1": lambda: network("zeros", kernel=1, padding=0),
    "a layer that wraps": lambda: network(first=[nn.CircularPad2d(1), nn.Conv2d(1, 3, 3)]),
}
SEAMS = {
    "zeros": (lambda: network("zeros", last="zeros"), ["0", "3"]),
    "reflect": (lambda: network("reflect"), ["0"]),
    "valid": (lambda: network(padding=0), ["0", "3"]),
    "pool padded": (lambda: network(pool=nn.MaxPool2d(3, 2, 1)), ["2"]),
    "rest": (lambda: network(size=18), ["3"]),
    "blur at a zero edge": (lambda: swapped("blur3", "zero"), ["0", "2", "3"]),
    "call": (lambda: swapped("blur3", "zero", make=called), None),
    "a layer of zeros": (
        lambda: network(first=[nn.ZeroPad2d(1), nn.Conv2d(1, 3, 3)]),
        ["1"],
    ),
}


def aligned(backbone):
    """The largest error of any map under circular shifts that all strides divide."""
    size = backbone.input_shape[1]
    outcome = equivariance(backbone, data(size=size), shifts=((0, 4), (4, 8)), mode="circular")
    # What a layer has extended for the next one is no circle of its own size.
    whole = [size % side == 0 for side in outcome.arrays["shapes"][:, 1].tolist()]
    return outcome, float(np.nanmax(outcome.arrays["aligned"][:, :, whole]))


def check_circle(make):
    backbone = make()
    outcome, error = aligned(backbone)
    assert error < 1e-9
    assert not [note for note in outcome.notes if "seam" in note]
    assert seams_of(backbone) == ([], True)


@pytest.mark.parametrize("name", CIRCLES)
def test_circles(name):
    check_circle(CIRCLES[name])


@pytest.mark.parametrize("name", SEAMS)
def test_seams_are_refused_unless_they_are_asked_for(name):
    make, layers = SEAMS[name]
    backbone = make()
    images = data(size=backbone.input_shape[1])
    given = {"shifts": ((0, 4),), "mode": "circular", "images": 0}
    assert layers is None or seams_of(backbone)[0] == layers
    for ask in (refuse, equivariance):
        with pytest.raises(BadRequest, match=r"have a seam here.*seams = true") as told:
            ask(backbone, images, **given, seams=False)
        assert layers is None or f"its map: {', '.join(layers)}. " in str(told.value)
    refuse(backbone, images, **given, seams=True)
    outcome = equivariance(backbone, images, **given, seams=True)
    assert [note for note in outcome.notes if "seam counts as its error" in note]
    assert np.nanmax(outcome.arrays["aligned"]) > 1e-4  # and it is one
    refuse(backbone, images, **(given | {"mode": "zero"}), seams=False)


def test_that_check_kills_a_reader_of_padding_mode_alone(monkeypatch):
    """Mutant: of a swapped layer what the old convolution was padded with."""

    def old(module, geometry):
        return str(getattr(module, "padding_mode", "circular"))

    monkeypatch.setattr(layer_seams, "_padded", old)
    with pytest.raises(BadRequest):
        check_circle(CIRCLES["max+blur5"])


def test_a_network_of_calls_tells_nothing():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3, 1, 3, 3))
            self.last = nn.Linear(3, 3)

        def forward(self, x):
            return self.last(functional.conv2d(x, self.weight, padding=1).mean((2, 3)))

    backbone = Backbone(Bare().eval(), input_shape=(1, SIZE, SIZE), classes=3)
    outcome = equivariance(backbone, data(), shifts=((0, 1),), mode="circular")
    assert any("calls functions" in note for note in outcome.notes)
