"""Feature maps, the filter bank and retrieval against slow sums, scipy and the attack itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal
from torch import nn

import robustlab
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters import convolving, retrieval_told, whereabouts
from robustlab.filters import feature_maps as maps_module
from robustlab.filters.convolving import (
    KERNELS,
    correlate,
    flip,
    flip_and_filter,
    translate_and_scale,
)
from robustlab.filters.feature_maps import feature_maps
from robustlab.filters.filter_bank import filter_bank
from robustlab.filters.first_layer import first_layer
from robustlab.filters.kernels import kernels
from robustlab.filters.retrieval import Neighbours, features, retrieval
from robustlab.hooks import feature_maps as maps_of
from robustlab.hooks import find_layers

# Feature maps ----------------------------------------------------------------------------------


def check_strongest(outcome, backbone, data):
    """Unit, value and place of every image and layer, by a search through the whole map."""
    x = torch.tensor(data.batch(slice(None)))
    layers, _ = find_layers(backbone.network, x)
    maps, _ = maps_of(backbone.network, x, layers)
    arrays = outcome.arrays
    assert arrays["layer"].tolist() == [one.name for one in layers]
    behind = [maps[one.name].flatten(2).amax(2) > 0 for one in layers if one.module == "ReLU"]
    assert outcome.samples["active"] == pytest.approx(torch.cat(behind, 1).double().mean(1).numpy())
    for place, layer in enumerate(layers):
        held = maps[layer.name].numpy()
        held = held if held.ndim == 4 else held[..., None, None]
        high = held.max(axis=(2, 3))
        assert arrays["silent"][place] == (high.max(axis=0) <= 0).sum()
        for row in range(len(data)):
            value, unit = arrays["value"][row, place], arrays["unit"][row, place]
            there = min(3, held.shape[1])
            assert value[:there] == pytest.approx(np.sort(high[row])[::-1][:there], rel=1e-5)
            assert (unit[there:] == -1).all()
            for k in range(there):
                cell = arrays["row"][row, place, k], arrays["column"][row, place, k]
                assert held[row, unit[k]][cell] == pytest.approx(value[k], rel=1e-5)


def test_the_strongest_units(tiny, some):
    check_strongest(feature_maps(tiny(), some(), units=3, batch=4), tiny(), some())


@pytest.mark.parametrize("mutant", ["smallest", "turned", "one image"])
def test_that_check_kills(tiny, some, monkeypatch, mutant):
    right = maps_module._Strongest._take

    def wrong(self, place, rows, output):
        if mutant == "smallest":
            output = -output
        elif mutant == "turned" and output.ndim == 4:
            output = output.swapaxes(2, 3)
        elif mutant == "one image":
            output = output[:1].expand_as(output)
        right(self, place, rows, output)

    monkeypatch.setattr(maps_module._Strongest, "_take", wrong)
    with pytest.raises((AssertionError, IndexError)):
        check_strongest(feature_maps(tiny(), some(), units=3), tiny(), some())


def check_boxes(outcome, backbone, data):
    """Every pixel alone is set to NaN: the strongest cell's box is all pixels that reach it."""
    x = torch.tensor(data.batch([0])).repeat(144, 1, 1, 1)
    for pixel in range(144):
        x[pixel, :, pixel // 12, pixel % 12] = torch.nan
    layers, _ = find_layers(backbone.network, torch.tensor(data.batch([0, 1])))
    maps, _ = maps_of(backbone.network, x, layers)
    checked = 0
    for place, layer in enumerate(layers):
        box = outcome.arrays["box"][place]
        if layer.kind != "map" or box[0] < 0:
            continue
        unit, row, column = (outcome.arrays[k][0, place, 0] for k in ("unit", "row", "column"))
        reached = maps[layer.name][:, unit, row, column].isnan().reshape(12, 12).numpy()
        rows, columns = (np.flatnonzero(reached.any(axis=a)) for a in (1, 0))
        assert box.tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]
        checked += 1
    assert checked >= 5


def test_where_the_strongest_cell_looks(tiny, some):
    check_boxes(feature_maps(tiny(), some()), tiny(), some())


@pytest.mark.parametrize("mutant", ["one less", "swapped", "elsewhere"])
def test_that_check_of_boxes_kills(tiny, some, monkeypatch, mutant):
    right = whereabouts.boxes_of

    def wrong(backbone, data, layers, cells):
        if mutant == "elsewhere":
            cells = [(c, max(0, r - 1), k) if r else (c, 1, k) for c, r, k in cells]
        boxes = right(backbone, data, layers, cells)
        if mutant == "swapped":
            return boxes[:, [1, 0, 3, 2]]
        return boxes - [0, 0, 1, 0] if mutant == "one less" else boxes

    monkeypatch.setattr(maps_module, "boxes_of", wrong)
    with pytest.raises((AssertionError, IndexError)):
        check_boxes(feature_maps(tiny(), some()), tiny(), some())


def test_neither_batch_nor_companions_change_an_image(tiny, some):
    all_six, two = (
        feature_maps(tiny(), some(), batch=1),
        feature_maps(tiny(), some().subset([4, 5])),
    )
    for name in ("unit", "row", "column"):
        assert np.array_equal(all_six.arrays[name][4:], two.arrays[name])
    limited = feature_maps(tiny(), some(), images=2)
    assert (limited.arrays["unit"][2:] == -1).all()
    assert limited.arrays["looked_at"] == 2


def test_a_dead_unit_is_counted(tiny, some):
    backbone = tiny()
    with torch.no_grad():
        backbone.module[0].bias[2] = -100.0
    found = feature_maps(backbone, some())
    assert found.arrays["silent"][1] == 1
    assert feature_maps(tiny(), some()).arrays["silent"][1] == 0
    fewer = feature_maps(backbone, some(), images=4).samples
    assert fewer["measured"].tolist() == [True] * 4 + [False] * 2
    assert np.isnan(fewer["active"]).tolist() == (~fewer["measured"]).tolist()
    assert fewer["active"][:4] == pytest.approx(9 / 10)  # one of 4 + 6 channels is dead


# The filter bank -------------------------------------------------------------------------------

IMAGE = torch.tensor(np.random.default_rng(1).normal(size=(2, 9, 7)))


def check_against_scipy(name):
    kernel = torch.tensor(KERNELS[name], dtype=torch.float64)
    for channel in range(2):
        plane, k = IMAGE[channel].numpy(), kernel.numpy()
        for mode, padding in (("valid", 0), ("full", 2)):
            rows, columns = kernel.shape
            cut = (slice(3 - rows, None if rows == 3 else rows - 3),) if padding else (slice(None),)
            cut += (slice(3 - columns, None if columns == 3 else columns - 3),) if padding else ()
            mine = correlate(IMAGE, kernel, padding=padding)[channel].numpy()[cut]
            assert mine == pytest.approx(signal.correlate2d(plane, k, mode), abs=1e-12)
            mine = flip_and_filter(IMAGE, kernel, padding=padding)[channel].numpy()[cut]
            assert mine == pytest.approx(signal.convolve2d(plane, k, mode), abs=1e-12)
        whole = translate_and_scale(IMAGE, kernel)[channel].numpy()
        assert whole == pytest.approx(signal.convolve2d(plane, k), abs=1e-12)


@pytest.mark.parametrize("name", list(KERNELS))
def test_convolution_is_scipys(name):
    check_against_scipy(name)


def test_that_check_kills_a_flip_of_rows_alone(monkeypatch):
    monkeypatch.setattr(convolving, "flip", lambda kernel: kernel.flip(-2))
    with pytest.raises(AssertionError):
        check_against_scipy("difference")


def test_that_check_kills_a_copy_that_is_flipped(monkeypatch):
    """Mutant: translate-and-scale with the kernel turned, which is correlation."""
    right = translate_and_scale
    monkeypatch.setitem(globals(), "translate_and_scale", lambda x, k: right(x, flip(k)))
    with pytest.raises(AssertionError):
        check_against_scipy("upright edges")


def test_what_the_kernels_of_the_lectures_do():
    """On a step from 0 to 1, [-1, 1] answers at the edge alone; edges and blur as they should."""
    step = torch.zeros(1, 6, 6, dtype=torch.float64)
    step[..., 3:] = 1
    kernels = {name: torch.tensor(k, dtype=torch.float64) for name, k in KERNELS.items()}
    found = correlate(step, kernels["difference"])[0]
    assert found.tolist() == [[0, 0, 1, 0, 0]] * 6
    assert flip_and_filter(step, kernels["difference"])[0].tolist() == [[0, 0, -1, 0, 0]] * 6
    assert correlate(step, kernels["level edges"]).abs().max() == 0
    assert correlate(step, kernels["upright edges"])[0].tolist() == [[0, -4, -4, 0]] * 4
    flat = torch.ones(1, 5, 5, dtype=torch.float64)
    for name, value in (("blur", 1), ("sharpen", 1), ("edges", 0), ("difference", 0)):
        assert torch.equal(correlate(flat, kernels[name]).unique(), torch.tensor([value]).double())


def test_stride_padding_and_fill():
    kernel = torch.tensor(KERNELS["edges"], dtype=torch.float64)
    assert correlate(IMAGE, kernel, stride=2).shape == (2, 4, 3)
    assert torch.equal(correlate(IMAGE, kernel, stride=2), correlate(IMAGE, kernel)[:, ::2, ::2])
    assert correlate(IMAGE, kernel, padding=1).shape == IMAGE.shape
    round_ = correlate(IMAGE, kernel, padding=1, fill="circular")
    assert round_.sum().abs() < 1e-12  # the kernel sums to 0, and every pixel is seen as often
    with pytest.raises(BadRequest, match="does not fit on 2 pixels"):
        correlate(IMAGE[:, :2], kernel)


def check_correlates(outcome):
    assert outcome.samples["correlates"].max() < 1e-5
    assert outcome.samples["convolves"].min() > 0.05


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_a_network_correlates(some, mode):
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 4, 3, stride=2, padding=1, padding_mode=mode, groups=1)
    module = nn.Sequential(nn.Identity(), conv, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(1, 1, 12, 12))
    backbone = Backbone(module.eval(), input_shape=(1, 12, 12), classes=3, mean=[0.3], std=[0.2])
    check_correlates(filter_bank(backbone, some()))


def test_that_check_kills_a_network_that_convolves(some):
    class Flipped(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight.flip((-2, -1)), self.bias)

    torch.manual_seed(0)
    module = nn.Sequential(Flipped(1, 4, 3), nn.Flatten(), nn.Linear(400, 3)).eval()
    backbone = Backbone(module, input_shape=(1, 12, 12), classes=3)
    with pytest.raises(AssertionError):
        check_correlates(filter_bank(backbone, some()))


class Padded(nn.Conv2d):
    """Pads as much as its stride asks for, more behind than in front."""

    def forward(self, x):
        return self._conv_forward(nn.functional.pad(x, (0, 1, 0, 1)), self.weight, self.bias)


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


def test_a_layer_that_pads_in_a_way_of_its_own(some):
    module = nn.Sequential(Padded(1, 4, 3, 2), nn.Flatten(), nn.Linear(144, 3)).eval()
    outcome = filter_bank(Backbone(module, input_shape=(1, 12, 12), classes=3), some())
    check_correlates(outcome)
    assert any("0 (Padded) may run with other weights" in note for note in outcome.notes)


def test_a_layer_that_makes_other_weights_of_its_own_is_told(some, tiny):
    torch.manual_seed(0)
    conv = Standardised(1, 4, 3)
    with torch.no_grad():
        conv.weight += 0.3
    module = nn.Sequential(conv, nn.Flatten(), nn.Linear(400, 3)).eval()
    backbone = Backbone(module, input_shape=(1, 12, 12), classes=3)
    with pytest.raises(AssertionError):
        check_correlates(filter_bank(backbone, some()))
    for view in (filter_bank, first_layer, kernels):
        (note,) = view(backbone, some()).notes
        assert note.startswith("0 (Standardised) may run with other weights than it keeps")
        assert not view(tiny(), some()).notes


def test_numbers_of_the_lectures_kernels(tiny, some):
    samples = filter_bank(tiny(), some()).samples
    for name, kernel in KERNELS.items():
        even = np.allclose(kernel, np.flip(kernel))
        assert (samples[f"differs[{name}]"] == 0).all() == even
        assert samples[f"methods[{name}]"].max() < 1e-12


# Retrieval -------------------------------------------------------------------------------------


def check_neighbours(outcome, backbone, data, pixels=None):
    """By all distances, sorted; of attacked images too, whose pixels are given."""
    x = torch.tensor(data.batch(slice(None)))
    layers, _ = find_layers(backbone.network, x)
    name = str(outcome.arrays["layer"])

    def space(images):
        held = maps_of(backbone.network, images, layers)[0][name].double()
        return (held if held.ndim == 2 else held.mean((2, 3))).numpy()

    known = space(x)
    for which, asked in (("before", x), ("after", pixels)):
        if asked is None:
            continue
        far = np.linalg.norm(space(asked)[:, None] - known[None], axis=2)
        np.fill_diagonal(far, np.inf)
        ranked = np.argsort(far, axis=1)[:, :2]
        assert np.array_equal(outcome.arrays[which], ranked)
        expected = np.take_along_axis(far, ranked, axis=1)
        assert outcome.arrays[f"distance_{which}"] == pytest.approx(expected, rel=1e-4)
        same = (data.labels[ranked] == data.labels[:, None]).mean(axis=1)
        assert outcome.samples[f"same_class_{which}"] == pytest.approx(same)


def attacked(tiny, some):
    data = some(12)
    found = robustlab.attack("pgd", tiny(), data, eps="0.2", norm="linf", steps=4, seed=3)
    return data, found, torch.tensor(found.images_8bit[0] / np.float32(255))


PARAMS = {"queries": 0, "nearest": 2, "eps": "0.2", "steps": 4, "seed": 3}


@pytest.mark.parametrize("layer", ["", "4"])
def test_neighbours_before_and_after_the_labs_own_attack(tiny, some, layer):
    data, found, pixels = attacked(tiny, some)
    outcome = retrieval(tiny(), data, layer=layer, **PARAMS).checked(12)
    check_neighbours(outcome, tiny(), data, pixels)
    assert outcome.samples["fooled"].tolist() == found.verified_8bit[0].tolist()
    assert outcome.samples["fooled"].any()
    prediction = tiny()(pixels).argmax(1).numpy()
    wrong = (data.labels[outcome.arrays["after"]] == prediction[:, None]).mean(axis=1)
    assert outcome.samples["wrong_class_after"] == pytest.approx(wrong)
    for row in range(12):
        both = set(outcome.arrays["before"][row]) & set(outcome.arrays["after"][row])
        assert outcome.samples["kept"][row] == len(both) / 2


@pytest.mark.parametrize("mutant", ["itself", "unattacked", "first"])
def test_that_check_of_neighbours_kills(tiny, some, monkeypatch, mutant):
    data, _, pixels = attacked(tiny, some)
    right = Neighbours.beside
    calls = []

    def wrong(self, asked, own, nearest):
        calls.append(asked)
        if mutant == "itself":
            return right(self, asked, own * 0 - 1, nearest)
        if mutant == "unattacked":
            return right(self, calls[0], own, nearest)
        rows, far = right(self, asked, own, nearest)
        return rows[:, ::-1], far[:, ::-1]

    monkeypatch.setattr(Neighbours, "beside", wrong)
    with pytest.raises(AssertionError):
        check_neighbours(retrieval(tiny(), data, **PARAMS), tiny(), data, pixels)


def test_cosine_looks_at_directions_alone(tiny, some):
    space = features(
        tiny(), some(), find_layers(tiny().network, torch.zeros(2, 1, 12, 12))[0][4], 4
    )
    scaled = space * np.linspace(1, 9, 6, dtype=np.float32)[:, None]
    own = np.arange(6)
    assert np.array_equal(
        Neighbours(space, "cosine").beside(space, own, 3)[0],
        Neighbours(scaled, "cosine").beside(scaled, own, 3)[0],
    )


def test_some_queries_and_no_attack(tiny, some):
    outcome = retrieval(tiny(), some(9), queries=3, nearest=2, attack="none").checked(9)
    measured = outcome.samples["measured"]
    assert measured.sum() == 3
    assert measured[0]
    assert np.isnan(outcome.samples["same_class_before"][~measured]).all()
    assert (outcome.arrays["before"][~measured] == -1).all()
    assert "after" not in outcome.arrays
    assert list(outcome.metrics) == ["same_class_before"]


def test_equal_pictures_are_each_others_neighbours(tiny, some):
    one = some(6)
    pixels = one.images.copy()
    pixels[3] = pixels[1]
    twins = Data(pixels, one.labels, classes=3)
    outcome = retrieval(tiny(), twins, queries=0, nearest=1, attack="none")
    assert outcome.arrays["before"][[1, 3], 0].tolist() == [3, 1]
    assert outcome.arrays["distance_before"][[1, 3], 0] == pytest.approx(0, abs=1e-6)


def test_the_picture_of_neighbours(tiny, some):
    """Image, neighbours in order, framed where the class is another."""
    data = some(9)
    outcome = retrieval(tiny(), data, queries=0, nearest=2, attack="none")
    pixels, side, gap = outcome.pictures[0].pixels, 48, 3
    frame = list(retrieval_told.BOX)
    drawn = [0, *range(1, 8)]
    for place, row in enumerate(drawn):
        top = gap + place * (side + gap)
        first = pixels[top : top + side, gap : gap + side]
        assert np.array_equal(first[2::4, 2::4, 0], data.images[row, 0])
        for k, other in enumerate(outcome.arrays["before"][row].tolist()):
            left = 3 * gap + side + k * (side + gap)
            tile = pixels[top : top + side, left : left + side]
            assert np.array_equal(tile[6:-4:4, 6:-4:4, 0], data.images[other, 0][1:-1, 1:-1])
            framed = tile[0, 0].tolist() == frame
            assert framed == (data.labels[other] != data.labels[row])
