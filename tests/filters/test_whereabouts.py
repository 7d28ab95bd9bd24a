"""Boxes of what a cell sees: the same proven and halved, few passes, no faith in a wrong guess."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.filters import feature_maps as maps_module
from robustlab.filters import whereabouts
from robustlab.filters.feature_maps import feature_maps
from robustlab.filters.whereabouts import boxes_of
from robustlab.hooks import counted, find_layers


class Joined(nn.Module):
    """A residual block whose activation is used twice, a gap in a kernel, a map enlarged again."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, 2, 1, bias=False)
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 2, dilation=2)
        self.relu = nn.ReLU(inplace=True)
        self.up = nn.ConvTranspose2d(3, 2, 3, 2)
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        x = self.stem(x)
        x = self.relu(x + self.one(self.relu(x + 0)))
        return self.head(self.up(self.two(x)).amax((2, 3)))


def backbone(mean=None):
    torch.manual_seed(0)
    given = {"mean": [mean], "std": [0.3]} if mean else {}
    return Backbone(Joined().eval(), input_shape=(1, 20, 20), classes=3, **given)


def cells(network, some):
    data = some(1, size=20)
    x = load_pixels(data, [0], network)[0].to(network.dtype)
    layers, _ = find_layers(network.network, x.repeat(2, 1, 1, 1))
    places = [(1, *(side // 3 for side in one.shape[1:])) for one in layers]
    return data, layers, [place if len(place) == 3 else (1, 0, 0) for place in places]


def by_pixels(network, data, layers, cells):
    """Each pixel alone is set to NaN."""
    from robustlab.hooks import feature_maps

    x = torch.tensor(data.batch([0])).double().repeat(400, 1, 1, 1)
    for pixel in range(400):
        x[pixel, :, pixel // 20, pixel % 20] = torch.nan
    maps, _ = feature_maps(network.network.double(), x, layers)
    boxes = []
    for layer, (channel, row, column) in zip(layers, cells, strict=True):
        held = maps[layer.name].reshape(400, maps[layer.name].shape[1], *layer.shape[1:] or (1, 1))
        reached = held[:, channel, row, column].isnan().reshape(20, 20).numpy()
        rows, columns = (np.flatnonzero(reached.any(axis=a)) for a in (1, 0))
        boxes.append([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    return boxes


def check(network, some, most=None):
    data, layers, places = cells(network, some)
    with counted(network.network) as passes:
        found = boxes_of(network, data, layers, places).tolist()
    assert max(passes, default=0) <= 5  # copies at a time, however many layers
    assert most is None or sum(passes) == 1 + most * len(layers)  # and the arithmetic's own
    assert found == by_pixels(network, data, layers, places)


@pytest.mark.parametrize("mean", [None, 0.4])
def test_where_cells_look(some, mean):
    """Five copies a layer: no rectangle had to be searched for."""
    assert "relu#2" in [one.name for one in cells(backbone(), some)[1]]
    check(backbone(mean), some, most=5)


def test_lines_that_windows_leave_out(some):
    """A last row and column that no window reaches cost a few copies more, not a search."""
    torch.manual_seed(0)
    deep = (nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(98, 3))
    module = nn.Sequential(nn.Conv2d(1, 2, 3, 2), *deep).eval()
    network = Backbone(module, input_shape=(1, 20, 20), classes=3)
    data, layers, places = cells(network, some)
    # A value behind a flatten sees one place of the map, which the arithmetic takes together.
    flat = boxes_of(network, data, layers[2:3], places[2:3]).tolist()
    assert flat == by_pixels(network, data, layers[2:3], places[2:3])
    network.network.float()
    del layers[2], places[2]
    with counted(network.network) as passes:
        found = boxes_of(network, data, layers, places).tolist()
    assert found == by_pixels(network, data, layers, places)
    assert found[-1] == [0, 0, 19, 19]
    assert sum(passes) <= 1 + 7 * len(layers)


def no_guesses(network, shape, layers, cells):
    return [None] * len(layers)


def test_without_a_guess_the_box_is_the_same(some, monkeypatch):
    monkeypatch.setattr(whereabouts, "_guesses", no_guesses)
    check(backbone(), some)


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("by", [-1, 1])
def test_a_wrong_guess_is_seen(some, monkeypatch, side, by):
    def wrong(*given):
        boxes = [list(one) for one in right(*given)]
        for box in boxes:
            box[side] = min(20, max(0, box[side] + by))
        return [b if b[0] < b[2] and b[1] < b[3] else None for b in map(tuple, boxes)]

    right = whereabouts._guesses
    monkeypatch.setattr(whereabouts, "_guesses", wrong)
    check(backbone(), some)
    monkeypatch.setattr(whereabouts, "_proven", lambda box, *given: box)  # mutant: believed
    with pytest.raises(AssertionError):
        check(backbone(), some)


def test_the_whole_image_is_no_more_than_a_guess(some, monkeypatch):
    monkeypatch.setattr(whereabouts, "_guesses", no_guesses)
    monkeypatch.setattr(whereabouts, "_whole", lambda hit, size: (0, 0, *size))  # mutant: believed
    with pytest.raises(AssertionError):
        check(backbone(), some)


TRUE = (2, 3, 8, 9)


def hit(marks):
    return marks[:, TRUE[0] : TRUE[2], TRUE[1] : TRUE[3]].flatten(1).any(1).numpy()


@pytest.mark.parametrize(
    ("guess", "found"),
    [
        (TRUE, TRUE),
        ((1, 3, 8, 9), TRUE),
        ((2, 0, 8, 12), TRUE),
        ((0, 0, 12, 12), TRUE),
        ((3, 4, 8, 9), None),
        ((2, 3, 8, 8), None),
        ((8, 9, 12, 12), None),
    ],
)
def test_a_guess_may_be_too_large_and_never_too_small(guess, found):
    assert whereabouts._proven(guess, hit, (12, 12)) == found
    assert whereabouts._halved(hit, (12, 12)) == TRUE


@pytest.mark.parametrize("side", range(4))
def test_where_nothing_reaches_the_cell(side):
    """From any side, as many lines as there are."""

    def never(marks):
        return np.zeros(len(marks), bool)

    assert whereabouts._left_out(side, (0, 0, 5, 5), never, (12, 12)) is None
    assert whereabouts._proven((0, 0, 12, 12), never, (12, 12)) is None
    assert whereabouts._halved(never, (12, 12)) == (-1, -1, -1, -1)


def test_a_pass_stops_at_the_layer(some, monkeypatch):
    network = backbone()
    data, layers, places = cells(network, some)
    ran = []
    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda s, x: ran.append(1) or forward(s, x))
    maps = [one for one in layers if one.kind == "map"]
    ran.clear()
    boxes_of(network, data, maps, [p for p, one in zip(places, layers, strict=True) if one in maps])
    assert ran == [1]  # the arithmetic's own pass, which computes nothing


class Attending(nn.Module):
    """Takes one size only, as transformers do; queries [n, heads, tokens, values] pass a module."""

    def __init__(self, fixed=True):
        super().__init__()
        self.patch, self.norm, self.pool = nn.Conv2d(1, 6, 4, 4), nn.Identity(), nn.MaxPool2d(5)
        self.scaled, self.head, self.fixed = nn.Softmax(-1), nn.Linear(6, 3), fixed

    def forward(self, x):
        assert not self.fixed or x.shape[-1] == 20
        x = self.patch(x)
        tokens = x.flatten(2).transpose(1, 2).reshape(len(x), -1, 2, 3).transpose(1, 2)
        tokens = self.scaled(tokens)  # [n, 2, 25, 3]: no map
        return self.head(self.pool(x).flatten(1) + tokens.mean(2).flatten(1))


def check_maps(some, fixed):
    backbone = Backbone(Attending(fixed).eval(), input_shape=(1, 20, 20), classes=3)
    outcome = feature_maps(backbone, some(3, size=20))
    assert outcome.arrays["layer"].tolist() == ["patch", "pool", "head"]
    assert outcome.arrays["shape"][0].tolist() == [6, 5, 5]
    (note,) = outcome.notes
    assert note.endswith("not known to be the image's: scaled.")
    with pytest.raises(BadRequest, match="'scaled' of own gives four dimensions"):
        feature_maps(backbone, some(3, size=20), layer="scaled")
    assert not any(one._forward_hooks for one in backbone.network.modules())


@pytest.mark.parametrize("fixed", [True, False])
def test_heads_and_tokens_are_no_map_of_the_image(some, fixed):
    check_maps(some, fixed)


def test_that_check_kills_four_dimensions_alone(some, monkeypatch):
    monkeypatch.setattr(maps_module, "known_maps", lambda network, shape, layers: (layers, []))
    with pytest.raises(AssertionError):
        check_maps(some, True)
