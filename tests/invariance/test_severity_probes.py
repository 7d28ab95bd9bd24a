"""The probes severity, corruptions and seeing, against loops over images and levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import robustlab
from robustlab import Backbone, Data, Suite
from robustlab.errors import BadRequest
from robustlab.invariance import severity_answers
from robustlab.invariance.changes import CHANGES, change_images
from robustlab.invariance.changes.seen import high_pass, low_pass, patch_shuffle, silhouette
from robustlab.invariance.corrupted import corrupt
from robustlab.invariance.corruptions import corruptions
from robustlab.invariance.mce import ALEXNET
from robustlab.invariance.seeing import seeing
from robustlab.invariance.severity import severity
from robustlab.outcome import Outcome
from robustlab.randomness import SampleRandom
from robustlab.suite import BackboneSpec, ProbeSpec

pytestmark = pytest.mark.usefixtures("one_thread")


class Counting(nn.Module):
    """A small network that remembers how many images it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(600, 10)
        )
        self.largest = 0

    def forward(self, x):
        self.largest = max(self.largest, len(x))
        return 4 * self.layers(x)


@pytest.fixture
def backbone() -> Backbone:
    return Backbone(Counting().eval(), input_shape=(1, 32, 32), classes=10, name="small")


@pytest.fixture(scope="module")
def data() -> Data:
    return robustlab.load_data("digits:test").take(11)


def answered(backbone, x, labels):
    logits = backbone(x).double()
    tied = (logits == logits.amax(dim=1, keepdim=True)).sum(dim=1) > 1
    prediction = logits.argmax(dim=1).numpy()
    p = logits.softmax(dim=1)[torch.arange(len(x)), torch.tensor(labels)]
    return prediction, (prediction == labels) & ~tied.numpy(), p.numpy()


def check_severity(outcome: Outcome, backbone, data, change, levels, seed=0) -> None:
    """Image by image and level by level."""
    x = torch.tensor(data.batch(slice(None)))
    for row in range(len(data)):
        for place, level in enumerate(levels):
            changed = change_images(x[row : row + 1], change, level, data.ids[row : row + 1], seed)
            said, right, p = answered(backbone, changed, data.labels[row : row + 1])
            assert outcome.arrays["prediction"][row, place] == said[0]
            assert outcome.arrays["correct"][row, place] == right[0]
            assert outcome.samples[f"correct[level={level:g}]"][row] == right[0]
            assert abs(outcome.arrays["p_true"][row, place] - p[0]) < 1e-5
    correct = outcome.arrays["correct"]
    assert np.array_equal(outcome.samples["worst_case_correct"], correct.all(axis=1))
    assert np.array_equal(outcome.samples["clean_correct"], correct[:, list(levels).index(0)])


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_severity_image_by_image(backbone, data, change):
    levels = (0.0, *CHANGES[change].levels[-2:])
    levels = tuple(sorted(set(levels)))
    outcome = severity(backbone, data, change=change, levels=levels[1:], seed=2, batch=4)
    outcome = outcome.checked(len(data))
    check_severity(outcome, backbone, data, change, levels, seed=2)
    assert outcome.arrays["prediction"].dtype == np.int16
    assert outcome.arrays["p_true"].dtype == np.float32
    assert outcome.cost == {"forward": 11.0 * len(levels), "backward": 0.0}
    assert outcome.pictures[0].pixels.shape == (32, 32 * len(levels))
    assert ("background_told" in outcome.samples) == (change == "clutter")


@pytest.mark.parametrize("mutant", ["seed", "order", "worst"])
def test_image_by_image_kills(backbone, data, mutant):
    levels = (0.0, 0.2, 0.4)
    outcome = severity(backbone, data, change="noise", levels=levels, seed=mutant == "seed")
    if mutant == "order":
        outcome.arrays["p_true"] = outcome.arrays["p_true"][:, ::-1]
    if mutant == "worst":
        outcome.samples["worst_case_correct"] = outcome.arrays["correct"].any(axis=1)
    with pytest.raises(AssertionError):
        check_severity(outcome, backbone, data, "noise", levels)


def test_more_levels_never_raise_the_worst_case(data):
    """Over nested ranges the worst case falls image by image, and lies below every level."""
    trained = robustlab.load_backbone("mlp@digits")
    before = np.ones(len(data), bool)
    for count in range(1, 6):
        levels = (15, -15, 30, -30, 60)[:count]
        outcome = severity(trained, data, levels=levels)
        worst = outcome.samples["worst_case_correct"]
        assert not (worst & ~before).any()
        assert worst.mean() <= outcome.arrays["correct"].mean(axis=0).min()
        before = worst
    assert before.mean() < 1


PROBES = {
    "severity": lambda b, d, **k: severity(b, d, change="deformation", levels=(2, 6), **k),
    "corruptions": lambda b, d, **k: corruptions(b, d, kinds=("fog", "glass_blur"), **k),
    "seeing": lambda b, d, **k: seeing(b, d, grids=(2, 4), low=(0.25,), high=(0.25,), **k),
}


@pytest.mark.parametrize("name", PROBES)
def test_batches_shards_and_order_do_not_matter(backbone, data, name):
    probe = PROBES[name]
    whole = probe(backbone, data)
    for other, rows in (
        (probe(backbone, data, batch=3), np.arange(11)),
        (probe(backbone, data.subset([7, 2, 5])), np.array([7, 2, 5])),
        (probe(backbone, data.subset([4])), np.array([4])),
    ):
        for key, array in whole.arrays.items():
            same = np.allclose if array.dtype.kind == "f" else np.array_equal
            assert same(array[rows], other.arrays[key]), key
        for key, column in whole.samples.items():
            assert np.array_equal(column[rows], other.samples[key]), key


@pytest.mark.parametrize("name", PROBES)
def test_batches_are_bounded_and_the_network_is_left_as_it_was(backbone, data, name):
    before = backbone.fingerprint
    weights = {k: v.clone() for k, v in backbone.module.state_dict().items()}
    backbone.module.largest = 0
    PROBES[name](backbone, data, batch=4)
    assert backbone.module.largest == 4
    assert not any(p.requires_grad or p.grad is not None for p in backbone.module.parameters())
    assert all(torch.equal(v, weights[k]) for k, v in backbone.module.state_dict().items())
    assert backbone.fingerprint == before
    torch.zeros(1, requires_grad=True).sum().backward()  # gradients go on outside


@pytest.mark.parametrize("name", PROBES)
def test_float64_networks(data, name):
    twice = [
        PROBES[name](
            Backbone(Counting().to(dtype).eval(), input_shape=(1, 32, 32), classes=10), data
        )
        for dtype in (torch.float32, torch.float64)
    ]
    for key, array in twice[0].arrays.items():
        if array.dtype.kind == "f":
            assert np.allclose(array, twice[1].arrays[key], atol=2e-3), key


def test_corruptions_image_by_image(backbone, data):
    kinds = ("shot_noise", "fog", "jpeg_compression")
    outcome = corruptions(backbone, data, kinds=kinds[::-1], seed=4).checked(11)
    x = data.batch(slice(None))
    wrong = []
    for kind in kinds:
        rows = np.zeros((11, 5), bool)
        for row in range(11):
            made = [corrupt(x[row], kind, s, data.ids[row], 4) for s in range(1, 6)]
            pixels = torch.tensor(np.stack(made)).float() / 255
            said, right, p = answered(backbone, pixels, np.repeat(data.labels[row], 5))
            assert np.array_equal(outcome.arrays[f"prediction[{kind}]"][row], said)
            assert np.allclose(outcome.arrays[f"p_true[{kind}]"][row], p, atol=1e-5)
            rows[row] = ~right
        assert np.array_equal(outcome.arrays[f"correct[{kind}]"], ~rows)
        assert np.allclose(outcome.samples[f"error[{kind}]"], rows.mean(axis=1))
        wrong.append(rows)
    every = np.concatenate(wrong, axis=1)
    assert np.allclose(outcome.samples["mean_error"], every.mean(axis=1))
    assert np.array_equal(outcome.samples["worst_case_correct"], ~every.any(axis=1))
    assert [m for m in outcome.metrics if m.startswith("error[")] == [f"error[{k}]" for k in kinds]
    assert not any("mce" in m.lower() for m in outcome.metrics)
    check_told(outcome.notes, ["snow", "gaussian_noise"], kinds)


def check_told(notes, absent, asked):
    """That there is no mCE, and why: frost, and what was not asked for."""
    (told,) = (note for note in notes if "mCE" in note)
    assert "No mCE is given" in told
    assert "frost is missing here, for it is made of photographs" in told
    assert "robustlab.invariance.mean_corruption_error" in told
    _, _, rest = told.partition("not asked for: ")
    names = rest.partition(";")[0].split(", ") if rest else []
    assert not {"frost", *asked} & set(names)
    assert set(absent) <= set(names)
    assert "has other classes than the 1,000 of ImageNet" in told
    assert "32x32 pixels, not 224x224" in told


def test_the_note_names_what_is_missing(data):
    from robustlab.invariance.corruptions import _missing

    assert "not asked for" not in _missing(data, [k for k in ALEXNET if k != "frost"])
    assert "; not asked for: fog;" in _missing(
        data, [k for k in ALEXNET if k not in ("fog", "frost")]
    )
    assert "frost" not in _missing(data, list(ALEXNET))


def test_seeing_image_by_image(backbone, data):
    outcome = seeing(backbone, data, seed=1).checked(11)
    x, names = torch.tensor(data.batch(slice(None))), data.ids
    made = {
        "patch_shuffle": [
            patch_shuffle(x, k, SampleRandom(1, names, "shuffle", k)) for k in (2, 4, 8)
        ],
        "low_pass": [low_pass(x, f) for f in (0.5, 0.25, 0.125, 0.0625)],
        "high_pass": [high_pass(x, f) for f in (0.0625, 0.125, 0.25, 0.5)],
        "silhouette": [silhouette(x, k)[0] for k in ("flat", "reversed", "filled", "outline")],
    }
    for kind, versions in made.items():
        for place, version in enumerate(versions):
            _, right, p = answered(backbone, version, data.labels)
            assert np.array_equal(outcome.arrays[f"correct[{kind}]"][:, place], right)
            assert np.allclose(outcome.arrays[f"p_true[{kind}]"][:, place], p, atol=1e-5)
    assert outcome.metrics["accuracy[silhouette=flat]"].among == "background_told"
    assert outcome.metrics["accuracy[low_pass=0.125]"].among is None
    assert outcome.samples["background_told"].all()


def test_silhouettes_of_photographs_are_marked(backbone):
    noise = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32)).astype(np.uint8)
    outcome = seeing(backbone, Data(noise, [0, 1, 2], 10), grids=(), low=(), high=())
    assert not outcome.samples["background_told"].any()
    assert outcome.pictures[0].name == "silhouette"


def test_the_clean_accuracy_is_the_clean_probes(data):
    trained = robustlab.load_backbone("mlp@digits")
    from robustlab.adversarial.clean import clean

    expected = clean(trained, data).samples["clean_correct"]
    for probe in PROBES.values():
        assert np.array_equal(probe(trained, data).samples["clean_correct"], expected)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda b, d: severity(b, d, change="blurr"), "did you mean 'blur'"),
        (lambda b, d: severity(b, d, levels=(200,)), "from -180 to 180"),
        (lambda b, d: severity(b, d, levels=(5, 5)), "given twice"),
        (lambda b, d: severity(b, d, batch=0), "at least 1"),
        (lambda b, d: corruptions(b, d, kinds=("frost",)), "photographs"),
        (lambda b, d: corruptions(b, d, kinds=("fgo",)), "did you mean 'fog'"),
        (lambda b, d: corruptions(b, d, kinds=("fog", "fog")), "given twice"),
        (lambda b, d: seeing(b, d, grids=(40,)), "1 to 32"),
        (lambda b, d: seeing(b, d, low=(2.0,)), "at most 1"),
        (lambda b, d: seeing(b, d, silhouettes=("flatt",)), "did you mean 'flat'"),
        (lambda b, d: seeing(b, d, grids=(), low=(), high=(), silhouettes=()), "nothing to do"),
    ],
)
def test_bad_requests(backbone, data, call, told):
    with pytest.raises(BadRequest, match=told):
        call(backbone, data)


def test_one_class_and_other_sizes_are_refused(backbone):
    single = Backbone(nn.Flatten().eval(), input_shape=(1, 1, 1), classes=1)
    with pytest.raises(BadRequest, match="one class"):
        severity(single, Data(np.zeros((2, 1, 1, 1), np.uint8), [0, 0], 1))
    with pytest.raises(BadRequest, match="resize"):
        seeing(backbone, Data(np.zeros((2, 1, 8, 8), np.uint8), [0, 1], 10))


def test_a_change_that_does_not_exist_stops_the_suite_before_it_runs(data):
    suite = Suite(
        backbones=[BackboneSpec("mlp@digits")],
        probes=[ProbeSpec("severity", {"change": "rotatoin"})],
        source="digits:test",
    )
    with pytest.raises(BadRequest, match="rotation"):
        robustlab.run(suite, out="never")


def test_memory_holds_one_version_of_a_batch(backbone, data, monkeypatch):
    """Versions are made one after the other: none before the last was answered."""
    events = []
    answer = severity_answers._answer
    monkeypatch.setattr(
        severity_answers, "_answer", lambda *a: (events.append("answered"), answer(*a))[1]
    )

    def versions(x, ids):
        for _ in range(3):
            events.append("made")
            yield x

    severity_answers.answers(backbone, data, versions, 6)
    assert events == ["made", "answered"] * 6
