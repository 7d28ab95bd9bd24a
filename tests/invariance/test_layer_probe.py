"""The probe `equivariance`: its arrays against the measures by hand, and that nothing leaks in."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.hooks import feature_maps, find_layers
from robustlab.invariance import layer_measures, layer_survey
from robustlab.invariance.layer_errors import aligned_error, vector_error
from robustlab.invariance.layers import _chosen, equivariance


def net(seed=0, dtype=torch.float32, size=16):
    torch.manual_seed(seed)
    after = ((size - 2) // 2 - 2) ** 2 * 6
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU())
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(after, 3)).eval().to(dtype)
    return Backbone(module, input_shape=(1, size, size), classes=3, mean=[0.4], std=[0.3])


def data(n=6, seed=0, size=16):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 1, size, size), dtype=np.uint8)
    return Data(pixels, np.arange(n) % 3, classes=3)


SHIFTS = ((0, 1), (2, 0), (-2, 4))


@pytest.fixture(scope="module")
def found():
    return equivariance(net(), data(), shifts=SHIFTS).checked(6)


def test_layers_are_named(found):
    arrays = found.arrays
    assert arrays["layers"].tolist() == ["0", "1", "2", "3", "4", "5", "6"]
    assert arrays["modules"].tolist()[2] == "MaxPool2d"
    assert arrays["kinds"].tolist() == ["map"] * 5 + ["vector"] * 2
    assert arrays["strides"].tolist()[:5] == [[1, 1], [1, 1], [2, 2], [2, 2], [2, 2]]
    assert arrays["shifts"].tolist() == [list(s) for s in SHIFTS]
    assert arrays["aligned"].shape == (6, 3, 7)


def test_measures_against_those_by_hand(found):
    backbone, images = net(), data()
    x = torch.tensor(images.batch(slice(None)))
    moved = torch.zeros_like(x)
    moved[..., 2:, :] = x[..., :-2, :]
    layers, _ = find_layers(backbone.network, x)
    (before, clean), (after, logits) = (
        feature_maps(backbone.network, y, layers) for y in (x, moved)
    )
    rows = torch.zeros(14, 14, dtype=torch.bool)
    rows[2:] = True  # a valid convolution sees row 2 on; what it compares with left by the bottom
    error = aligned_error(after["0"], before["0"], (2, 0), rows)
    assert found.arrays["aligned"][:, 1, 0] == pytest.approx(error.numpy(), abs=1e-6)
    in_place = aligned_error(after["0"], before["0"], (0, 0), rows)
    assert found.arrays["in_place"][:, 1, 0] == pytest.approx(in_place.numpy(), rel=1e-5)
    assert found.arrays["kept_cells"][1, 0] == pytest.approx(12 / 14)
    mean = before["6"].double().mean(dim=0)
    left = vector_error(after["6"], before["6"], mean).numpy()
    assert found.arrays["in_place"][:, 1, 6] == pytest.approx(left, rel=1e-5)
    assert found.arrays["predictions"][:, 0].tolist() == clean.argmax(1).tolist()
    assert found.arrays["predictions"][:, 2].tolist() == logits.argmax(1).tolist()
    p = logits.softmax(1)[torch.arange(6), torch.tensor(images.labels)]
    assert found.arrays["probabilities"][:, 2] == pytest.approx(p.numpy(), rel=1e-5)


def check_facts(arrays):
    """Convolutions move along; pooling by 2 breaks at one pixel and holds at two."""
    assert np.nanmax(arrays["aligned"][:, :, :2]) < 1e-5
    assert np.nanmin(arrays["best_roll"][:, 0, 2:5]) > 0.05
    assert np.isnan(arrays["aligned"][:, 0, 2:]).all()
    assert np.nanmax(arrays["aligned"][:, 1:, 2:5]) < 1e-5
    assert np.nanmin(arrays["changed"][:, :, 0]) > 0.99


def test_facts(found):
    check_facts(found.arrays)


def test_circular_shifts_of_a_network_that_does_not_wrap_break_the_facts():
    outcome = equivariance(net(), data(), shifts=SHIFTS, mode="circular", seams=True)
    with pytest.raises(AssertionError):
        check_facts(outcome.arrays)
    assert any("seam" in note for note in outcome.notes)


def slow_error(other, mine, roll, cells):
    """Channel by channel and cell by cell: error at one roll over the kept cells; NaN for none."""
    squares = energy = 0.0
    for theirs, own in zip(other.tolist(), mine.tolist(), strict=True):
        pairs = [
            (theirs[i][j], own[i - roll[0]][j - roll[1]])
            for i, j in cells
            if 0 <= i - roll[0] < len(own) and 0 <= j - roll[1] < len(own[0])
        ]
        if not pairs:
            return math.nan
        mean = sum(b for _, b in pairs) / len(pairs)
        squares += sum((a - b) ** 2 for a, b in pairs)
        energy += sum((b - mean) ** 2 for _, b in pairs)
    return math.sqrt(squares / energy)


def sees(shift, place, size=16):
    """Of the `net`: rows (or columns) of a layer that see no pixel made up, and none that left."""
    reach, stride = ((3, 1), (3, 1), (4, 2), (8, 2), (8, 2))[place]
    cells = range((size - reach) // stride + 1)
    seen = {
        i for i in cells if i * stride >= shift and i * stride + reach - 1 < size + min(shift, 0)
    }
    back = -shift
    stays = {
        i for i in cells if i * stride >= back and i * stride + reach - 1 < size + min(back, 0)
    }
    return seen, stays, stride


def slow_unrelated(other, mine, shift, place):
    """In place over the seen cells; at the best of the rolls near s / stride over the kept ones."""
    (rows, rows_stay, stride), (columns, columns_stay, _) = (sees(s, place) for s in shift)
    in_place = slow_error(other, mine, (0, 0), list(itertools.product(rows, columns)))
    near = [[t for t in range(-9, 10) if abs(t - s / stride) < 1.5] for s in shift]
    errors = []
    for a, b in itertools.product(*near):
        kept = [
            (i, j) for i in rows if i - a in rows_stay for j in columns if j - b in columns_stay
        ]
        errors.append(slow_error(other, mine, (a, b), kept))
    left = [e for e in errors if not math.isnan(e)]
    return in_place, min(left) if left else math.nan


def check_unrelated(arrays, images, order, partners):
    """Against a direct slow reference, layer by layer and shift by shift."""
    backbone = net()
    x = torch.tensor(images.batch(slice(None)))
    layers, _ = find_layers(backbone.network, x)
    maps, _ = feature_maps(backbone.network, x, layers)
    for row, other in zip(order, partners, strict=True):
        assert row != other
        for place in range(5):
            mine, theirs = (maps[layers[place].name][i] for i in (row, other))
            for s, shift in enumerate(SHIFTS):
                in_place, best = slow_unrelated(theirs, mine, shift, place)
                held = [arrays[k][row, s, place] for k in ("unrelated", "unrelated_best_roll")]
                assert held == pytest.approx([in_place, best], rel=1e-4)
                assert in_place > 0.3


def test_unrelated_images(found):
    check_unrelated(found.arrays, data(), *_chosen(data(), 0))


def test_that_check_kills_the_same_image(monkeypatch):
    """Mutant: the line of unrelated images measured on the image itself."""
    right = layer_survey.Survey.add

    def same(self, ruler, places, partners):
        return right(self, ruler, places, list(self.rows))

    monkeypatch.setattr(layer_survey.Survey, "add", same)
    arrays = equivariance(net(), data(), shifts=SHIFTS).arrays
    with pytest.raises(AssertionError):
        check_unrelated(arrays, data(), *_chosen(data(), 0))


@pytest.mark.parametrize("mutant", ["every cell", "every roll", "first shift"])
def test_that_check_kills_what_is_not_like_for_like(monkeypatch, mutant):
    """Mutants: unmasked cells, the best of all rolls, one shift's cells for all."""
    right = layer_measures.Ruler._unrelated

    def wrong(self, others, clean, shift, borders):
        found, best = right(self, others, clean, shift, borders)
        if mutant == "first shift":
            one = SHIFTS[0]
            return right(self, others, clean, one, self._borders[one])
        loose_found, loose_best = right(self, others, clean, shift, {})
        return (loose_found, best) if mutant == "every cell" else (found, loose_best)

    monkeypatch.setattr(layer_measures.Ruler, "_unrelated", wrong)
    arrays = equivariance(net(), data(), shifts=SHIFTS).arrays
    with pytest.raises(AssertionError):
        check_unrelated(arrays, data(), *_chosen(data(), 0))


def test_circular_shifts_compare_unrelated_images_over_all_cells_and_rolls():
    arrays = equivariance(net(), data(), shifts=SHIFTS, mode="circular", seams=True).arrays
    x = torch.tensor(data().batch(slice(None)))
    layers, _ = find_layers(net().network, x)
    maps, _ = feature_maps(net().network, x, layers)
    for row, other in zip(*_chosen(data(), 0), strict=True):
        mine, theirs = (maps["2"][[i]] for i in (row, other))
        rolls = itertools.product(range(7), range(7))
        best = min(float(aligned_error(theirs, mine, roll)) for roll in rolls)
        for s in range(len(SHIFTS)):
            held = arrays["unrelated"][row, s, 2], arrays["unrelated_best_roll"][row, s, 2]
            assert held == pytest.approx((float(aligned_error(theirs, mine)), best), rel=1e-4)


def test_that_check_kills_a_forgotten_mask(monkeypatch):
    from robustlab.invariance.layer_measures import Borders

    monkeypatch.setattr(Borders, "kept", lambda self, roll: torch.ones_like(self.seen))
    with pytest.raises(AssertionError):
        check_facts(equivariance(net(), data(), shifts=SHIFTS).arrays)


def test_pictures_are_never_their_own_partners():
    one = data(4)
    pixels = one.images.copy()
    pixels[1:3] = pixels[0]
    twins = Data(pixels, one.labels, classes=3)
    order, partners = _chosen(twins, 0)
    for row, other in zip(order, partners, strict=True):
        assert not np.array_equal(pixels[row], pixels[other])


def test_neither_batch_nor_order_changes_an_image(monkeypatch, found):
    images = data()
    back = list(reversed(range(6)))
    monkeypatch.setattr(layer_survey, "ROOM", 1)
    other = equivariance(net(), images.subset(back), shifts=SHIFTS).checked(6)
    for name in ("aligned", "best_roll", "in_place", "changed", "unrelated", "probabilities"):
        assert other.arrays[name][back] == pytest.approx(found.arrays[name], abs=2e-5, nan_ok=True)


def test_passes_are_those_that_were_made(monkeypatch):
    made, backbone = [], net()
    right = nn.Conv2d.forward

    def counting(self, x):
        if self.in_channels == 1:
            made.append(len(x))
        return right(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", counting)
    outcome = equivariance(backbone, data(), shifts=SHIFTS)
    assert outcome.cost == {"forward": float(sum(made)), "backward": 0.0}
    assert sum(made) < 6 * (3 + 2 * 3) + 20


def test_a_limit_of_images_leaves_the_others_unmeasured():
    outcome = equivariance(net(), data(), shifts=SHIFTS, images=2).checked(6)
    measured = outcome.samples["measured"]
    assert measured.sum() == 2
    assert np.isnan(outcome.samples["logit_error"][~measured]).all()
    assert np.isfinite(outcome.samples["logit_error"][measured]).all()
    assert not outcome.samples["prediction_kept"][~measured].any()


PER_IMAGE = ("aligned", "best_roll", "in_place", "cosine", "changed", "changed_at_all", "rolls")
PER_IMAGE = (*PER_IMAGE, "unrelated", "unrelated_best_roll", "predictions", "probabilities")


def check_rows(outcome, whole, measured):
    """Arrays hold the measured images alone, each in the row that ``measured_row`` names."""
    at = outcome.arrays["measured_row"]
    assert at.tolist() == np.flatnonzero(outcome.samples["measured"]).tolist()
    assert len(at) == measured
    for name in PER_IMAGE:
        assert len(outcome.arrays[name]) == measured
        if name.startswith("unrelated"):
            continue  # its partner is another one among fewer images
        held, wanted = outcome.arrays[name], whole.arrays[name][at]
        if held.ndim > 2:  # vectors are measured about the mean of fewer images
            held, wanted = held[:, :, :5], wanted[:, :, :5]
        assert held == pytest.approx(wanted, abs=2e-5, nan_ok=True), name
    said = outcome.arrays["predictions"]
    kept = (said == said[:, :1]).all(axis=1)
    assert outcome.samples["prediction_kept"][at].tolist() == kept.tolist()


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_memory_grows_with_the_measured_images_alone(found, limit):
    check_rows(equivariance(net(), data(), shifts=SHIFTS, images=limit).checked(6), found, limit)


def test_that_check_kills_rows_in_the_order_drawn(found, monkeypatch):
    right = layer_survey.Survey.__init__

    def drawn(self, *given):
        right(self, *given)
        self.place = {row: i for i, row in enumerate(self.rows)}

    monkeypatch.setattr(layer_survey.Survey, "__init__", drawn)
    outcome = equivariance(net(), data(), shifts=SHIFTS, images=4).checked(6)
    with pytest.raises(AssertionError):
        check_rows(outcome, found, 4)


def test_one_image_has_nobody_to_compare_with():
    outcome = equivariance(net(), data(1), shifts=SHIFTS).checked(1)
    assert np.isnan(outcome.arrays["unrelated"]).all()
    assert any("no second picture" in note for note in outcome.notes)


def test_float64_is_exact_and_a_limit_of_layers_holds():
    outcome = equivariance(net(dtype=torch.float64), data(), shifts=SHIFTS, layers=3)
    assert outcome.arrays["layers"].tolist() == ["0", "3", "6"]
    assert np.nanmax(outcome.arrays["aligned"][:, :, 0]) < 1e-12


def test_the_network_is_left_as_it_was():
    backbone = net()
    equivariance(backbone, data(), shifts=SHIFTS)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.network.modules())


def test_maps_for_the_page(found):
    arrays = found.arrays
    assert arrays["layers"][arrays["maps_layer"]].tolist() == ["1", "2", "4"]
    assert arrays["maps_before_0"].shape == (3, 14, 14)
    assert arrays["maps_after_1"].shape == (3, 7, 7)
    before, after = arrays["maps_before_0"], arrays["maps_after_0"]
    assert after[..., 1:] == pytest.approx(before[..., :-1], abs=1e-6)
    image = arrays["maps_image_before"]
    assert np.array_equal(arrays["maps_image_after"][..., 1:], image[..., :-1])


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"shifts": ()}, "at least one shift"),
        ({"shifts": ((0, 0),)}, r"\[0, 0\]"),
        ({"shifts": ((1,),)}, "no \\(dy, dx\\)"),
        ({"shifts": ((0, 16),)}, "leaves nothing of images of 16x16"),
        ({"shifts": ((0, 1), (0, 1))}, "twice"),
        ({"images": -1}, "below 0"),
    ],
)
def test_bad_input(params, told):
    with pytest.raises(BadRequest, match=told):
        equivariance(net(), data(), **params)


def test_what_no_module_gives_is_seen_at_the_output():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3)

        def forward(self, x):
            return self.conv(x).mean(dim=(2, 3))

    backbone = Backbone(Odd().eval(), input_shape=(1, 16, 16), classes=3)
    outcome = equivariance(backbone, data(), shifts=((0, 1),))
    assert outcome.arrays["layers"].tolist() == ["conv", "output"]
