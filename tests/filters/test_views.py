"""Every view: its numbers by hand, on every shipped network, grey and colour, and left tidy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone, list_backbones, load_backbone
from robustlab.data import Data, load_data
from robustlab.errors import BadRequest
from robustlab.filters import convolutions
from robustlab.filters.feature_maps import feature_maps
from robustlab.filters.filter_bank import filter_bank
from robustlab.filters.first_layer import first_layer
from robustlab.filters.kernels import kernels
from robustlab.filters.retrieval import retrieval

QUICK = {
    first_layer: {},
    kernels: {},
    feature_maps: {"images": 2},
    filter_bank: {"names": ("difference",), "filters": 2},
    retrieval: {"nearest": 2, "queries": 2, "steps": 2},
}
WITHOUT = ("local@digits", "mlp@digits")  # networks without shared weights
OF_WEIGHTS = (first_layer, kernels)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits:test", take=10).subset(range(4))


@pytest.mark.parametrize("name", [card["name"] for card in list_backbones()])
@pytest.mark.parametrize("view", list(QUICK), ids=lambda v: v.__name__)
def test_every_view_on_every_shipped_network(view, name, digits, standing):
    backbone = load_backbone(name)
    before = standing(backbone)
    if name in WITHOUT and view in OF_WEIGHTS:
        with pytest.raises(BadRequest, match="no convolution with shared weights"):
            view(backbone, digits)
        return
    outcome = view(backbone, digits, **QUICK[view]).checked(4)
    assert outcome.pictures
    assert all(np.ptp(p.pixels) > 100 for p in outcome.pictures)
    assert standing(backbone) == before


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("view", list(QUICK), ids=lambda v: v.__name__)
def test_every_view_in_grey_and_colour(view, channels, dtype, tiny, some, standing):
    backbone = tiny(channels, dtype=dtype)
    before = standing(backbone)
    outcome = view(backbone, some(5, channels), **QUICK[view]).checked(5)
    assert all(np.ptp(p.pixels) > 50 for p in outcome.pictures)
    assert outcome.samples["id"].tolist() == list(some(5).ids)
    assert standing(backbone) == before


@pytest.mark.parametrize("view", list(QUICK), ids=lambda v: v.__name__)
def test_a_view_that_raises_leaves_all_as_it_was(view, tiny, some, standing, monkeypatch):
    backbone = tiny()
    before = standing(backbone)
    calls = []

    def failing(self, x):
        calls.append(1)
        if len(calls) > 1 or view in OF_WEIGHTS:
            raise RuntimeError("out of memory")
        return nn.functional.adaptive_avg_pool2d(x, 2)

    monkeypatch.setattr(nn.AdaptiveAvgPool2d, "forward", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        view(backbone, some(), **QUICK[view])
    assert standing(backbone) == before


def test_that_check_sees_a_hook_left_behind(tiny, some, standing):
    backbone = tiny()
    before = standing(backbone)
    backbone.module[0].register_forward_hook(lambda *_: None)
    assert standing(backbone) != before


# Defects ---------------------------------------------------------------------------------------


def spoiled(tiny, channels=3):
    """Filter 1 dead, filter 3 equal to 0; channel 2 of the second convolution never used."""
    backbone = tiny(channels)
    with torch.no_grad():
        backbone.module[0].weight[1] = 0
        backbone.module[0].weight[3] = backbone.module[0].weight[0]
        backbone.module[3].weight[:, 2] = 0
    return backbone


def check_first(outcome):
    assert np.flatnonzero(outcome.arrays["dead"]).tolist() == [1]
    assert outcome.arrays["pairs"].tolist() == [[0, 3]]
    assert outcome.arrays["order"][-1] == 1


def check_deep(outcome):
    assert outcome.arrays["layer"].tolist() == ["0", "3"]
    assert outcome.arrays["dead_filters"].tolist() == [[0, 1]]
    assert outcome.arrays["alike"].tolist() == [[0, 0, 3]]
    assert outcome.arrays["dead_channels"].tolist() == [[1, 2]]
    assert outcome.arrays["dead"].tolist() == [1, 0]
    assert outcome.arrays["channel_dead"].tolist() == [0, 1]


def test_planted_defects_are_named(tiny, some):
    check_first(first_layer(spoiled(tiny), some(1, 3)))
    check_deep(kernels(spoiled(tiny), some(1, 3)))


def test_those_checks_kill_a_network_that_was_mended(tiny, some):
    for check, view in ((check_first, first_layer), (check_deep, kernels)):
        with pytest.raises(AssertionError):
            check(view(tiny(3), some(1, 3)))


def test_those_checks_kill_layers_in_another_order(tiny, some, monkeypatch):
    right = convolutions.find_convolutions
    for module in (first_layer, kernels):
        monkeypatch.setitem(
            module.__globals__, "find_convolutions", lambda b: list(reversed(right(b)))
        )
    for check, view in ((check_first, first_layer), (check_deep, kernels)):
        with pytest.raises(AssertionError):
            check(view(spoiled(tiny), some(1, 3)))


def test_layers_are_met_in_the_order_in_which_they_run(some):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Conv2d(2, 3, 3), nn.Conv2d(1, 2, 3)

        def forward(self, x):
            return self.last(self.first(x)).mean((2, 3))

    backbone = Backbone(Backwards().eval(), input_shape=(1, 12, 12), classes=3)
    assert str(first_layer(backbone, some(1)).arrays["layer"]) == "first"


def test_a_shared_convolution_is_one(some):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return self.conv(self.conv(x)).mean((2, 3)).repeat(1, 3)

    backbone = Backbone(Twice().eval(), input_shape=(1, 12, 12), classes=3)
    assert kernels(backbone, some(1)).arrays["layer"].tolist() == ["conv"]


# Pictures by numbers -----------------------------------------------------------------------------


def tiles(pixels, side, gap=2):
    """The tiles of a grid of squares, in reading order."""
    step = side + gap
    rows, columns = ((s - gap) // step for s in pixels.shape[:2])
    return [
        pixels[gap + r * step :, gap + c * step :][:side, :side]
        for r in range(rows)
        for c in range(columns)
    ]


def check_filters(outcome, backbone):
    weight = backbone.module[0].weight.detach().double().numpy()
    together, alone = (tiles(p.pixels, 33) for p in outcome.pictures[:2])
    largest = np.abs(weight).max()
    for place, number in enumerate(outcome.arrays["order"].tolist()):
        for drawn, end in ((together, largest), (alone, np.abs(weight[number]).max())):
            levels = 127.5 + 127.5 * weight[number].transpose(1, 2, 0) / end
            assert drawn[place][5::11, 5::11] == pytest.approx(levels, abs=0.51)


def test_the_filters_are_drawn_as_they_are(tiny, some):
    backbone = tiny(3)
    check_filters(first_layer(backbone, some(1, 3)), backbone)


@pytest.mark.parametrize("mutant", ["turned", "joint", "negative"])
def test_that_check_kills(tiny, some, monkeypatch, mutant):
    backbone = tiny(3)
    right = first_layer.__globals__["_pictures"].__globals__["centred"]

    def wrong(values, end):
        if mutant == "turned":
            return right(np.swapaxes(values, 1, 2), end)
        return right(values, 1.0) if mutant == "joint" else right(-values, end)

    monkeypatch.setitem(first_layer.__globals__, "centred", wrong)
    with pytest.raises(AssertionError):
        check_filters(first_layer(backbone, some(1, 3)), backbone)


def test_the_spectra_are_drawn_as_they_are(tiny, some):
    backbone = tiny(1)
    outcome = first_layer(backbone, some(1))
    weight = backbone.module[0].weight.detach().double().numpy()
    drawn = tiles(outcome.pictures[2].pixels.astype(int).sum(axis=2), 32)
    for place, number in enumerate(outcome.arrays["order"].tolist()):
        at = 2 * np.pi * (np.arange(32) - 16) / 32
        wave = np.exp(-1j * np.outer(at, np.arange(3)))
        slow = np.abs(wave @ weight[number, 0] @ wave.T)
        # Cividis grows brighter throughout: ranks must agree.
        ranks = np.corrcoef(slow.ravel(), drawn[place].ravel())[0, 1]
        assert ranks > 0.97
        assert np.unravel_index(drawn[place].argmax(), (32, 32)) in [
            tuple(p) for p in np.argwhere(slow > slow.max() * 0.99)
        ]


def test_kernels_stand_by_filter_and_channel(tiny, some):
    backbone = tiny()
    outcome = kernels(backbone, some(1), layer="3", filters=6, channels=4)
    weight = backbone.module[3].weight.detach().double().numpy()
    drawn = tiles(outcome.pictures[0].pixels, 18)
    end = np.abs(weight).max()
    assert len(drawn) == 24
    for r in range(6):
        for c in range(4):
            levels = 127.5 + 127.5 * weight[r, c] / end
            assert drawn[4 * r + c][4::9, 4::9] == pytest.approx(levels, abs=0.51)


# Bad requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "params", "told"),
    [
        (kernels, {"layer": "33"}, "has no convolution '33'; did you mean '3'"),
        (kernels, {"layer": "1"}, "has no convolution '1'"),
        (kernels, {"filters": 0}, "at least one"),
        (feature_maps, {"layer": "conv1"}, "has no layer 'conv1'; there is 0, 1, 2"),
        (feature_maps, {"units": 0}, "units=0"),
        (filter_bank, {"layer": "5"}, "has no convolution '5'"),
        (filter_bank, {"names": ("blurr",)}, "no kernel 'blurr'; did you mean 'blur'"),
        (filter_bank, {"names": ("blur", "blur")}, "twice"),
        (filter_bank, {"names": (), "filters": 0}, "nothing to show"),
        (filter_bank, {"stride": 0}, "a stride is at least 1"),
        (filter_bank, {"padding": 12, "fill": "reflect"}, "gives at most 11"),
        (retrieval, {"layer": "flat"}, "has no layer 'flat'"),
        (retrieval, {"nearest": 6}, "6 neighbours of each need 7"),
        (retrieval, {"attack": "clean"}, "is no attack"),
        (retrieval, {"attack": "pdg"}, "did you mean 'pgd'"),
    ],
)
def test_what_cannot_be_done_is_told(view, params, told, tiny, some):
    with pytest.raises(BadRequest, match=told.replace("(", r"\(")):
        view(tiny(), some(), **params)


def test_networks_without_convolutions_have_maps_and_neighbours(some):
    module = nn.Sequential(nn.Flatten(), nn.Linear(144, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    backbone = Backbone(module, input_shape=(1, 12, 12), classes=3)
    with pytest.raises(BadRequest, match="no convolution with shared weights"):
        filter_bank(backbone, some(), layer="1")
    assert "no convolution of its own" in filter_bank(backbone, some()).notes[0]
    assert feature_maps(backbone, some()).arrays["layer"].tolist() == ["0", "1", "2", "3"]
    assert str(retrieval(backbone, some(), attack="none", nearest=2).arrays["layer"]) == "2"


def test_images_of_one_value_break_nothing(tiny):
    grey = Data(np.full((3, 1, 12, 12), 7, np.uint8), [0, 1, 2], classes=3)
    for view, params in QUICK.items():
        view(tiny(), grey, **params).checked(3)
