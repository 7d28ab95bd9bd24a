"""The probe `shift` as a suite runs it, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import robustlab
from robustlab import Backbone, Data, Suite, load_backbone, load_data
from robustlab.errors import BadRequest
from robustlab.invariance import shift_measures as measures
from robustlab.invariance.layers import equivariance
from robustlab.invariance.shift import shift
from robustlab.invariance.shifts import ground
from robustlab.suite import BackboneSpec, ProbeSpec

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def lenet():
    return load_backbone("lenet5-max@digits")


@pytest.fixture(scope="module")
def digits():
    return load_data("digits:test", take=12)


def test_columns_follow_from_the_arrays(lenet, digits):
    found = shift(lenet, digits, radius=3, draws=4, seed=2).checked(12)
    prediction, samples, labels = found.arrays["prediction"], found.samples, digits.labels
    assert prediction.dtype == np.int16
    assert np.array_equal(samples["clean_correct"], prediction[:, 3, 3] == labels)
    for radius in (1, 2, 3):
        inner = measures.centre(prediction, radius)
        drawn = measures.draw_shifts(digits.ids, 4, radius, 2)
        at = f"[radius={radius}]"
        true = {
            "pair_consistency": measures.pair_consistency(inner),
            "change_diagonal": measures.steps_changed(inner, "diagonal"),
            "worst_shift_accuracy": measures.right_everywhere(inner, labels),
            "worst_of_k_accuracy": measures.right_at(inner, labels, drawn),
            "mean_shift_accuracy": measures.share_right(inner, labels),
        }
        for name, column in true.items():
            assert np.array_equal(samples[name + at], column)
            assert name + at in found.metrics
        worst, drawn_worst, clean = (
            samples[name].mean()
            for name in ("worst_shift_accuracy" + at, "worst_of_k_accuracy" + at, "clean_correct")
        )
        assert worst <= drawn_worst <= clean
    place = samples["losing_dy"] + 3, samples["losing_dx"] + 3
    assert np.array_equal(prediction[np.arange(12), *place], samples["losing_prediction"])
    assert any("Boundary mode zero, radius 3: all 49 shifts" in note for note in found.notes)


@pytest.mark.slow
def test_shards_give_what_the_whole_gives(lenet, digits, tmp_path):
    def run(shard):
        suite = Suite(
            take=12,
            backbones=(BackboneSpec("lenet5-max@digits"),),
            probes=(ProbeSpec("shift", {"radius": 2, "pictures": 1, "subpixel": 2}),),
            shard=shard,
        )
        return robustlab.run(suite, out=tmp_path / str(shard))

    whole, parts = (next(g for g in run(k).groups() if g.plan["probe"] == "shift") for k in (12, 5))
    assert len(parts.cells) == 3
    for name, array in whole.outcome.arrays.items():
        if name in ("picture_row", "clean"):
            continue
        assert np.allclose(array, parts.outcome.arrays[name], rtol=1e-4, atol=1e-5, equal_nan=True)
    for name in ("worst_of_k_accuracy[radius=2]", "losing_dy", "clean_correct"):
        assert np.array_equal(whole.outcome.samples[name], parts.outcome.samples[name])
    rows, pictures = parts.outcome.arrays["picture_row"], parts.outcome.arrays["clean"]
    assert {0, 5, 10} <= set(rows.tolist())
    true = ground(torch.tensor(digits.images[rows]).float(), 2, "zero").numpy()
    assert np.array_equal(pictures, true)


def test_the_subpixel_line_agrees_with_the_map_at_whole_pixels(lenet, digits):
    for axis, along in (("x", (0, 1)), ("y", (1, 0)), ("diagonal", (1, 1))):
        found = shift(lenet, digits, radius=2, subpixel=3, axis=axis)
        line, maps = found.arrays["line_probability"], found.arrays["probability"]
        assert line.shape == (12, 13)
        for k in range(-2, 3):
            here = maps[:, 2 + k * along[0], 2 + k * along[1]]
            assert np.allclose(line[:, 6 + 3 * k], here, atol=1e-5)


def circular(padding="circular"):
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 8, 3, padding=1, padding_mode=padding)
    layers = [
        conv,
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    ]
    return Backbone(
        nn.Sequential(*layers).eval(), input_shape=(1, 32, 32), classes=10, name="circle"
    )


def test_circular_shifts_need_a_circle_or_the_word(lenet, digits):
    with pytest.raises(BadRequest, match=r"meaningless here.*seams = true"):
        shift(lenet, digits, radius=2, mode="circular")
    with pytest.raises(BadRequest, match="meaningless here"):
        shift(circular("zeros"), digits, radius=2, mode="circular")
    found = shift(lenet, digits, radius=2, mode="circular", seams=True)
    assert [one.level for one in found.findings] == ["amber"]
    assert "12 of 12" in found.findings[0].sentence
    whole = shift(circular(), digits, radius=2, mode="circular", subpixel=2)
    assert not whole.findings
    assert set(whole.samples["period"].tolist()) == {2}
    assert any("repeat every 2 pixels" in note for note in whole.notes)
    assert any("Fourier" in note for note in whole.notes)


def test_the_canvas_is_as_large_as_the_digits_leave_it(lenet, digits):
    assert shift(lenet, digits, radius=6, mode="canvas").samples["clean_correct"].any()
    with pytest.raises(BadRequest, match="larger than the canvas leaves"):
        shift(lenet, digits, radius=8, mode="canvas")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"radius": 32}, "from 1 to 31"),
        ({"radius": 0}, "from 1 to 31"),
        ({"mode": "zeros"}, "did you mean 'zero'"),
        ({"axis": "diag"}, "did you mean 'diagonal'"),
        ({"draws": 0}, "draws 0"),
        ({"subpixel": 0}, "subpixel 0"),
        ({"pictures": -1}, "pictures -1"),
        ({"batch": 0}, "batch 0"),
    ],
)
def test_bad_parameters_are_refused(lenet, digits, bad, said):
    with pytest.raises(BadRequest, match=said):
        shift(lenet, digits, **bad)


def test_one_class_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    one = Backbone(module, input_shape=(1, 8, 8), classes=1)
    data = Data(np.zeros((2, 1, 8, 8), np.uint8), [0, 0], classes=1)
    with pytest.raises(BadRequest, match="know one class"):
        shift(one, data, radius=1)


def untrained():
    """Lenet-like and never trained: 100 % consistent, for its bias decides every answer."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU()]
    module = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 10))
    return Backbone(module.eval(), input_shape=(1, 32, 32), classes=10, name="untrained")


EVERY = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))


def check_error(relative, digits):
    """The logit error is that of `equivariance` at the same shifts, not one of its own."""
    network = untrained()
    found = shift(network, digits, radius=1).arrays
    other = equivariance(network, digits, shifts=EVERY, images=0)
    mine = relative(found["logit_change"], found["logits"])
    assert np.allclose(mine, other.samples["logit_error"], rtol=1e-4)
    embedded = relative(found["embedding_change"], found["embedding"])
    before = other.arrays["layers"].tolist().index("7") - 1  # what goes into the linear layer
    assert other.arrays["kinds"][before] == "vector"
    assert np.allclose(embedded, other.arrays["in_place"][:, :, before].mean(axis=1), rtol=1e-4)
    assert mine.mean() > 0.2


def test_both_probes_agree_on_an_untrained_network(digits):
    found = shift(untrained(), digits, radius=1)
    assert found.samples["pair_consistency[radius=1]"].mean() > 0.9
    check_error(measures.relative_error, digits)


def test_that_check_kills_the_spread_of_the_components(digits):
    """Mutant: the vector about its own mean, which rewards one that is the same for all images."""

    def own(change, vectors):
        about = np.linalg.norm(vectors - vectors.mean(axis=1, keepdims=True), axis=1)
        return measures.mean_elsewhere(change) / about

    with pytest.raises(AssertionError):
        check_error(own, digits)


def test_shards_add_up_to_the_same_error(lenet, digits):
    """Numerators and vectors are kept, so the mean is that over all images, whatever the shards."""
    whole = shift(lenet, digits, radius=1).arrays
    parts = [
        shift(lenet, digits.subset(rows), radius=1).arrays for rows in (range(5), range(5, 12))
    ]
    for name, change in (("logits", "logit_change"), ("embedding", "embedding_change")):
        joined = [np.concatenate([p[key] for p in parts]) for key in (change, name)]
        found = measures.relative_error(*joined)
        true = measures.relative_error(whole[change], whole[name])
        assert np.allclose(found, true, rtol=1e-4)
        apart = [measures.relative_error(p[change], p[name]) for p in parts]
        assert not np.allclose(np.concatenate(apart), true, rtol=1e-2)


def test_crop_looks_at_larger_pictures(lenet):
    rng = np.random.default_rng(0)
    large = Data(rng.integers(0, 256, (3, 1, 40, 44), dtype=np.uint8), [1, 2, 3], classes=10)
    found = shift(lenet, large, radius=4, mode="crop", pictures=5)
    middle = large.images[:, :, 4:36, 6:38].astype(np.float32) / 255
    still = lenet(torch.tensor(middle)).argmax(1).numpy()
    assert np.array_equal(found.samples["clean_prediction"], still)
    with pytest.raises(BadRequest, match="larger than the picture leaves"):
        shift(lenet, large, radius=5, mode="crop")
    with pytest.raises(BadRequest, match="resize them"):
        shift(lenet, large, radius=4, mode="zero")
