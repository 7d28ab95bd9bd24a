"""Frost of the user's own photographs, and the mCE that follows where AlexNet's errors apply."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robustlab
from robustlab import Backbone, Data, Suite
from robustlab.data.imagenet import class_names
from robustlab.errors import BadRequest
from robustlab.invariance.corrupted import corrupt, read_frost
from robustlab.invariance.corrupted.frost import frost
from robustlab.invariance.corruptions import comparable, corruptions
from robustlab.invariance.mce import ALEXNET, mean_corruption_error, weighed
from robustlab.randomness import SampleRandom
from robustlab.suite import ProbeSpec

pytestmark = pytest.mark.usefixtures("one_thread")

SHARES = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))


def folder_of(path, sizes=((300, 240), (260, 250), (400, 230)), seed=0):
    """Pictures whose every window differs."""
    path.mkdir()
    for number, (width, height) in enumerate(sizes):
        random = np.random.default_rng([seed, number])
        pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("own") / "frost")


def images(n=3, side=224, seed=1):
    return np.random.default_rng(seed).uniform(0, 1, (n, 3, side, side))


def check_laid(laid, pictures):
    """Severity by severity: shares of the image and of one window, the same at all severities."""
    known = read_frost(pictures, (224, 224))
    for row, image in enumerate(images()):
        x = image.transpose(1, 2, 0)
        windows = []
        for severity, (kept, added) in enumerate(SHARES, 1):
            rng = SampleRandom(5, [f"own/{row}"], "corruption", "frost")
            windows.append((laid(x, severity, rng, known) - kept * x) / added)
        first = windows[0]
        assert all(np.allclose(first, other, atol=1e-9) for other in windows)
        assert first.min() >= -1e-9
        assert first.max() <= 1 + 1e-9
        levels = np.rint(first * 255).astype(np.uint8)
        assert any(_holds(one, levels) for one in known)


def _holds(picture, window):
    """Whether a window of the picture is this one."""
    size = window.shape[:2]
    places = np.argwhere((picture == window[0, 0]).all(axis=2))
    return any(np.array_equal(picture[i : i + size[0], j : j + size[1]], window) for i, j in places)


def test_frost_is_a_window_of_a_photograph(pictures):
    check_laid(frost, pictures)


def stretched(image, severity, rng, pictures):
    made = Image.fromarray(pictures[0]).resize((224, 224))
    kept, added = SHARES[severity - 1]
    return kept * image + added * np.asarray(made) / 255


def new_window_each_time(image, severity, rng, pictures):
    return frost(image, severity, SampleRandom(severity, ["x"], "frost"), pictures)


def wrong_shares(image, severity, rng, pictures):
    return frost(image, 6 - severity, rng, pictures)


@pytest.mark.parametrize("mutant", [stretched, new_window_each_time, wrong_shares])
def test_the_check_kills(pictures, mutant):
    with pytest.raises(AssertionError):
        check_laid(mutant, pictures)


def test_all_photographs_and_places_are_drawn(pictures):
    known = read_frost(pictures, (224, 224))
    black, found = np.zeros((224, 224, 3)), set()
    for row in range(60):
        rng = SampleRandom(0, [f"own/{row}"], "corruption", "frost")
        window = np.rint(frost(black, 1, rng, known) / 0.4 * 255).astype(np.uint8)
        found.add(next(k for k, one in enumerate(known) if _holds(one, window)))
    assert found == {0, 1, 2}


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 36), (3, 8, 8), (1, 224, 224)])
def test_any_size_grey_and_coloured(pictures, shape):
    image = np.full(shape, 0.25)
    known = read_frost(pictures, shape[1:])
    made = corrupt(image, "frost", 3, "a", frosts=known)
    assert made.shape == shape
    assert np.array_equal(made, corrupt(image, "frost", 3, "a", frosts=known))
    assert not np.array_equal(made, corrupt(image, "frost", 3, "b", frosts=known))
    assert np.array_equal(image, np.full(shape, 0.25))


def test_large_photographs_are_made_smaller(tmp_path):
    folder = folder_of(tmp_path / "large", sizes=((2200, 2048),))
    assert read_frost(folder, (224, 224))[0].shape == (1024, 1100, 3)
    assert read_frost(folder, (56, 56))[0].shape == (256, 275, 3)


def _broken(path):
    folder_of(path)
    (path / "9.png").write_bytes(b"no picture")


def _deep(path):
    path.mkdir()
    Image.fromarray(np.zeros((300, 300), np.uint16)).save(path / "deep.png")


def _bomb(path):
    path.mkdir()
    Image.new("1", (20000, 9500)).save(path / "bomb.png")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "there is no such folder; give one with photographs"),
        (lambda path: path.mkdir(), "no photographs of frost lie there"),
        (_broken, "9.png: no readable image"),
        (_deep, "more than 8 bits"),
        (_bomb, "decompression bomb"),
        (lambda path: folder_of(path, ((300, 200),)), "too small for images of 224x224"),
        (lambda path: folder_of(path, ((230, 230),) * 17), "17 pictures; give at most 16"),
    ],
)
def test_what_cannot_be_read(tmp_path, make, told):
    make(tmp_path / "frost")
    with pytest.raises(BadRequest, match=told):
        read_frost(tmp_path / "frost", (224, 224))


# The probe ----------------------------------------------------------------------------------------


class Thin(nn.Module):
    """A network of 1,000 classes that costs next to nothing."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(3 * 14 * 14, 1000)

    def forward(self, x):
        return 30 * self.last(x[:, :, ::16, ::16].flatten(1))


def network():
    names = class_names()
    return Backbone(Thin().eval(), input_shape=(3, 224, 224), classes=names, name="thin")


def photographs(backbone, n=2):
    pixels = np.rint(255 * images(n, seed=3)).astype(np.uint8)
    said = backbone(torch.tensor(pixels).float() / 255).argmax(1).numpy()
    return Data(pixels, said, classes=class_names(), name="own")


@pytest.fixture(scope="module")
def measured(pictures):
    backbone = network()
    data = photographs(backbone)
    return corruptions(backbone, data, frost=str(pictures)), data


@pytest.mark.slow
def test_mce_of_all_fifteen(measured):
    outcome, data = measured
    outcome.checked(len(data))
    errors = {k: 1 - outcome.arrays[f"correct[{k}]"].mean(axis=0) for k in ALEXNET}
    assert outcome.samples["mce"].mean() == pytest.approx(mean_corruption_error(errors))
    assert outcome.metrics["mce"].column == "mce"
    assert any("these are made anew" in n for n in outcome.notes)
    assert not any("No mCE" in n for n in outcome.notes)


def test_each_image_adds_its_share():
    rng = np.random.default_rng(0)
    wrong = {k: rng.integers(0, 2, (7, 5)) for k in ALEXNET}
    shares = weighed({k: w.mean(axis=1) for k, w in wrong.items()})
    whole = mean_corruption_error({k: w.mean(axis=0) for k, w in wrong.items()})
    assert shares.mean() == pytest.approx(whole)


def test_where_alexnets_errors_apply():
    backbone = network()
    data = photographs(backbone)
    assert comparable(data, list(ALEXNET))
    assert not comparable(data, list(ALEXNET)[1:])
    shuffled = Data(data.images, data.labels, classes=class_names()[::-1])
    assert not comparable(shuffled, list(ALEXNET))
    small = data.middle(112, 112)
    assert not comparable(small, list(ALEXNET))
    ten = Data(data.images, [0, 1], classes=10)
    assert not comparable(ten, list(ALEXNET))


def test_elsewhere_the_plain_mean(pictures):
    digits = robustlab.load_data("digits:test", take=3)
    lenet = robustlab.load_backbone("mlp@digits")
    outcome = corruptions(lenet, digits, kinds=("frost", "fog"), frost=str(pictures))
    assert "mce" not in outcome.samples
    told = next(n for n in outcome.notes if "mCE" in n)
    assert "No mCE is given" in told
    assert "frost is missing" not in told
    known = read_frost(pictures, (32, 32))
    x = digits.batch(slice(None))
    for row in range(3):
        made = [corrupt(x[row], "frost", s, digits.ids[row], 0, known) for s in range(1, 6)]
        said = lenet(torch.tensor(np.stack(made)).float() / 255).argmax(1)
        assert said.tolist() == outcome.arrays["prediction[frost]"][row].tolist()


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"kinds": ("frost",)}, "give a folder of your own"),
        ({"frost": "/nowhere"}, "there is no such folder"),
        ({"kinds": ("fog",), "frost": "here"}, "'frost' is not among the kinds"),
    ],
)
def test_bad_requests(params, told):
    digits = robustlab.load_data("digits:test", take=3)
    with pytest.raises(BadRequest, match=told):
        corruptions(robustlab.load_backbone("mlp@digits"), digits, **params)


SUITE = """
schema = 1
[data]
source = "digits:test"
take = 3
[[backbone]]
ref = "mlp@digits"
[[probe]]
use = "corruptions"
kinds = ["frost"]
frost = "mine"
"""


def test_a_suite_finds_the_folder_beside_it_and_knows_its_pictures(tmp_path):
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    with pytest.raises(BadRequest, match=r"frost 'mine': there is no such folder"):
        robustlab.run(tmp_path / "suite.toml", out=tmp_path / "none")
    folder_of(tmp_path / "mine", sizes=((240, 230),))
    first = robustlab.run(tmp_path / "suite.toml", out=tmp_path / "run")
    cells = [c["cell"] for c in first.about["plan"]]
    assert first.complete
    assert "frost" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    Image.new("RGB", (240, 230), (9, 99, 200)).save(tmp_path / "mine" / "0.png")
    other = robustlab.run(tmp_path / "suite.toml", out=tmp_path / "other")
    changed = [a != c["cell"] for a, c in zip(cells, other.about["plan"], strict=True)]
    assert changed == [False, True]


def test_a_suite_made_in_python_takes_it_too(pictures, tmp_path):
    probe = ProbeSpec("corruptions", {"kinds": ["frost"], "frost": str(pictures)})
    suite = Suite(take=2, probes=(probe,))
    backbone = robustlab.load_backbone("mlp@digits")
    run = robustlab.run(suite, backbones=[backbone], out=tmp_path / "run")
    assert run.complete
