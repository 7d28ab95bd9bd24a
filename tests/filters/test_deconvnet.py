"""The search for strongest patches, their fields, and the probe on a few digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab import Data
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.filters import strongest as searching
from robustlab.filters.deconvnet import deconvnet
from robustlab.filters.projection import project
from robustlab.filters.strongest import fields, strongest
from robustlab.filters.tiles import BACK, grid, reduced, signed, visible
from robustlab.hooks import counted, feature_maps, find_layers

pytestmark = pytest.mark.usefixtures("one_thread")


class Branched(nn.Module):
    """Padding, dilation, a stride, a branch and a pooling: fields of several sizes."""

    def __init__(self, channels=1):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(4, 5, 3, padding=2, dilation=2)
        self.thin = nn.Conv2d(4, 5, 1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(5, 3)
        self.eval().requires_grad_(False)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = self.pool(torch.relu(self.wide(x) + self.thin(x)))
        return self.head(x.amax((2, 3)))


def backbone(channels=1, dtype=torch.float32):
    return Backbone(
        Branched(channels).to(dtype), input_shape=(channels, 14, 18), classes=3, name="branched"
    )


def images(n=23, channels=1):
    pixels = np.random.default_rng(0).integers(0, 256, (n, channels, 14, 18), dtype=np.uint8)
    return Data(pixels, np.arange(n) % 3, classes=["0", "1", "2"])


def layers_of(one):
    x = torch.rand(2, *one.input_shape, dtype=one.dtype)
    return [x for x in find_layers(one.network, x)[0] if x.kind == "map"]


def by_gradient(network, layer, x, cell):
    """The smallest box of pixels with a gradient other than 0, over several random images and all
    channels; on a copy of the network whose rectifiers and poolings pass everything on."""
    seen = torch.zeros(x.shape[2:], dtype=torch.bool)
    for channel in range(layer.shape[0]):
        places = [(channel, *cell)] * len(x)
        found = project(network, layer, x, places, "gradient", "one")[1]
        seen |= (found != 0).any(0).any(0)
    rows, columns = (np.flatnonzero(seen.any(d).numpy()) for d in (1, 0))
    return [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]


def check_fields(found, network, layer, cells):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 14, 18, generator=generator, dtype=torch.float64)
    for cell in cells:
        assert list(found[cell]) == by_gradient(network, layer, x, cell), (layer.name, cell)


CELLS = ((0, 0), (1, 2), (2, 3))


def test_fields_are_those_of_the_gradient():
    network = Branched().double()
    layers = layers_of(backbone())
    found, passes = fields(network, layers, (1, 14, 18), batch=5)
    assert passes == 14 + 18
    for layer in layers:
        check_fields(found[layer.name], network, layer, CELLS)


@pytest.mark.parametrize("end", range(4))
def test_that_check_kills_a_patch_off_by_one(end):
    network, layer = Branched().double(), layers_of(backbone())[-1]
    found, _ = fields(network, [layer], (1, 14, 18))
    wrong = found[layer.name]
    wrong[..., end] += 1 if end % 2 else -1
    with pytest.raises(AssertionError):
        check_fields(wrong, network, layer, CELLS[1:2])


def by_sorting(one, data, layer, k):
    """All maps at once: value, row and place, sorted; the direct way."""
    x = torch.tensor(data.images).to(one.dtype) / 255
    maps = feature_maps(one.network, x, [layer])[0][layer.name].double().numpy()
    flat = maps.reshape(*maps.shape[:2], -1)
    tops, places = flat.max(2), flat.argmax(2)
    order = np.argsort(-tops, axis=0, kind="stable")[:k]
    return np.take_along_axis(tops, order, 0).T, order.T, np.take_along_axis(places, order, 0).T


def check_search(one, data, batch):
    layers = layers_of(one)
    with counted(one.network) as passes:
        found = strongest(one, data, layers, 9, batch)
    assert max(passes) <= batch  # one batch in memory
    assert sum(passes) <= 1.3 * len(data)
    for layer in layers:
        values, rows, places = by_sorting(one, data, layer, 9)
        held = found[layer.name]
        assert np.allclose(held.values[:, : values.shape[1]], values, rtol=1e-5)
        assert np.array_equal(held.rows[:, : values.shape[1]], rows)
        width = layer.shape[2]
        assert np.array_equal((held.places @ [width, 1])[:, : values.shape[1]], places)


@pytest.mark.parametrize("batch", [1, 4, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_search_finds_what_sorting_finds(batch, dtype):
    check_search(backbone(dtype=dtype), images(), batch)


@pytest.mark.parametrize("batch", [3, 64])
def test_of_equal_images_the_earlier_is_kept_also_when_the_lists_are_full(batch):
    first = images()
    twice = np.concatenate([first.images, first.images[::-1]])
    data = Data(twice, np.zeros(len(twice), int), classes=["0", "1", "2"])
    check_search(backbone(), data, batch)


class Holed(torch.nn.Module):
    """A map with a hole: its first cell is NaN, its other cells are the image."""

    def forward(self, x):
        x = x.clone()
        x[:, :, 0, 0] = torch.nan
        return x


def test_cells_that_are_no_number_are_passed_over():
    net = torch.nn.Sequential(Holed(), torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
    layer = find_layers(net, torch.rand(2, 1, 2, 2))[0][0]
    found = searching._List(layer, 2)
    maps = torch.tensor([[1.0, 2.0, 5.0, 3.0], [9.0, 0.0, 1.0, 6.0]]).view(2, 1, 2, 2)
    found.add(Holed()(maps), 10)
    told = found.found()
    assert told.values.tolist() == [[6.0, 5.0]]
    assert told.rows.tolist() == [[11, 10]]
    assert told.places.tolist() == [[[1, 1], [1, 0]]]


def test_that_check_kills_forgetting_a_batch(monkeypatch):
    right = searching._List.add

    def last_only(self, output, first):
        self.values, self.rows, self.cells = (t[:0] for t in (self.values, self.rows, self.cells))
        right(self, output, first)

    monkeypatch.setattr(searching._List, "add", last_only)
    with pytest.raises(AssertionError):
        check_search(backbone(), images(), 4)


def test_the_search_over_ten_thousand_images_costs_its_passes():
    """Passes of the whole search, fields included, over the data: well below 1.3."""
    one, n = backbone(), 10_000
    data = Data(
        np.random.default_rng(1).integers(0, 256, (n, 1, 14, 18), dtype=np.uint8),
        np.zeros(n, int),
        classes=["0", "1", "2"],
    )
    with counted(one.network) as passes:
        strongest(one, data, layers_of(one), 9, 500)
        fields(one.network, layers_of(one), data.shape)
    assert len(passes) > 20
    assert n <= sum(passes) <= 1.01 * n
    assert max(passes) == 500


@pytest.mark.parametrize("channels", [1, 3])
def test_the_probe(channels):
    one, data = backbone(channels), images(channels=channels)
    found = deconvnet(one, data, layers=("stem", "pool"), units=3, batch=8).checked(len(data))
    arrays = found.arrays
    assert arrays["layers"].tolist() == ["stem", "pool"]
    assert arrays["rows"].shape == (len(arrays["unit"]), 9)
    assert found.samples["shown"].sum() == (arrays["rows"] >= 0).sum()
    field, _ = fields(one.network, layers_of(one), data.shape)
    layer = next(x for x in layers_of(one) if x.name == "pool")
    top = strongest(one, data, [layer])["pool"]
    mine = np.flatnonzero(arrays["unit_layer"] == 1)
    picture = found.pictures[1].pixels
    height, width = (int((field["pool"][..., e] - field["pool"][..., e - 1]).max()) for e in (1, 3))
    for place, u in enumerate(mine):
        unit = arrays["unit"][u]
        assert np.array_equal(arrays["rows"][u], top.rows[unit])
        assert np.allclose(arrays["values"][u], top.values[unit])
        box = field["pool"][tuple(top.places[unit, 0])]
        assert np.array_equal(arrays["boxes"][u, 0], box)
        # The first patch of the picture is the image, cut out.
        patch = visible(data.images[arrays["rows"][u, 0]])[box[0] : box[1], box[2] : box[3]]
        y = place * (3 * height + 2 + 4)
        down = height - (box[1] - box[0]) if box[0] == 0 else 0
        right = width - (box[3] - box[2]) if box[2] == 0 else 0
        shown = picture[y + down : y + down + len(patch), right : right + patch.shape[1]]
        assert np.array_equal(shown, patch)
    # The first projection, made once more.
    x = torch.tensor(data.images[arrays["rows"][mine[0], :1]]).float() / 255
    cell = (int(arrays["unit"][mine[0]]), *top.places[arrays["unit"][mine[0]], 0].tolist())
    projection = project(one.network, layer, x, [cell])[1][0].numpy()
    box = arrays["boxes"][mine[0], 0]
    outside = projection.copy()
    outside[:, box[0] : box[1], box[2] : box[3]] = 0
    assert (outside == 0).all()  # nothing of a projection lies outside its patch
    again = deconvnet(one, data, layers=("stem", "pool"), units=3, batch=5)
    assert np.array_equal(again.arrays["rows"], arrays["rows"])
    assert np.allclose(again.arrays["randomised_likeness"], arrays["randomised_likeness"], 1e-4)


def test_what_it_is_not_asked_for():
    one, data = backbone(), images(3)
    with pytest.raises(BadRequest, match=r"no layer 'pol' .*did you mean 'pool'"):
        deconvnet(one, data, layers=("pol",))
    with pytest.raises(BadRequest, match="given twice"):
        deconvnet(one, data, layers=("pool", "pool"))
    with pytest.raises(BadRequest, match="units=0"):
        deconvnet(one, data, units=0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(252, 3)).eval()
    flat = Backbone(flat, input_shape=(1, 14, 18), classes=3)
    with pytest.raises(BadRequest, match="no maps"):
        deconvnet(flat, data)
    found = deconvnet(flat, data, layers=("1",), units=2).checked(3)
    assert (found.arrays["boxes"][:, :3] == [0, 14, 0, 18]).all()
    assert (found.arrays["rows"][:, 3:] == -1).all()
    curved = nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(384, 3)).eval()
    curved = Backbone(curved, input_shape=(1, 14, 18), classes=3, name="curved")
    with pytest.raises(BadRequest, match=r"deconvnet is not defined for layer '1' of curved.*Silu"):
        deconvnet(curved, data)
    assert deconvnet(curved, data, rule="gradient").pictures


def test_dead_units_are_named():
    module = Branched()
    module.stem.weight[1], module.stem.bias[1] = 0, -1
    one = Backbone(module, input_shape=(1, 14, 18), classes=3, name="dying")
    found = deconvnet(one, images(), layers=("stem",))
    assert 1 not in found.arrays["unit"]
    assert any("drives 1 of 4 units" in note for note in found.notes)


def test_pictures_by_numbers():
    assert signed(np.array([[[-2.0, 0.0, 1.0]]]))[0, :, 0].tolist() == [1, 128, 192]
    assert signed(np.zeros((1, 1, 2)))[0, :, 0].tolist() == [128, 128]
    assert reduced(np.arange(10.0).reshape(1, 2, 5), 3)[0].tolist() == [[3.0, 5.0, 6.5]]
    made = grid([np.full((2, 2, 3), v, np.uint8) for v in (1, 2, 3)], 2)
    assert made[..., 0].tolist() == [
        [1, 1, BACK[0], 2, 2],
        [1, 1, BACK[0], 2, 2],
        [BACK[0]] * 5,
        [3, 3, *[BACK[0]] * 3],
        [3, 3, *[BACK[0]] * 3],
    ]
