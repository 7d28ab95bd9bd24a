"""Changes of pictures against slow references; the mildest is the picture itself."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from robustlab.adversarial.rigid import rigid
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooling.readings import as_it_is, reading
from robustlab.fooling.survival import CHANGES, Change, from_picture, survival, to_picture

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def picture():
    """A smooth coloured picture with some grain, 40 high and 56 wide."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :56]
    smooth = np.stack([rows * 4, columns * 3, rows + columns * 2])
    return (smooth + rng.integers(0, 40, (3, 40, 56))).astype(np.uint8)


class Deaf(nn.Module):
    """Says the same of every picture: no change is seen in its probabilities."""

    def forward(self, x):
        return x.flatten(1)[:, :2] * 0.0 + torch.tensor([1.0, 0.0])


def leaves(change, picture):
    """Whether the mildest change leaves the picture, and the next one does not."""
    first, second = (change.apply(picture, value) for value in change.values[:2])
    return bool((first == picture).all()) and bool((second != picture).any())


@pytest.mark.parametrize("name", [name for name, change in CHANGES.items() if change.exact])
def test_the_mildest_is_the_picture_itself(name, picture):
    assert leaves(CHANGES[name], picture)


def test_values_that_change_nothing_are_counted_by_pixels(picture):
    """Zero where the mildest changes something, all where nothing does; not by probabilities."""
    network = Backbone(Deaf().eval(), input_shape=(3, 40, 56), classes=2)
    curves = survival(network, as_it_is, picture, picture, 0)
    told = {one.name: one.unchanged for one in curves}
    assert told == {name: int(change.exact) for name, change in CHANGES.items()}
    still = {"still": Change(lambda pixels, value: pixels.copy(), "", (1, 2))}
    (one,) = survival(network, as_it_is, picture, picture, 0, changes=still)
    assert one.unchanged == 2


def test_jpeg_100_is_not_and_says_so(picture):
    assert not leaves(CHANGES["JPEG quality"], picture)
    lost = CHANGES["JPEG quality"].apply(picture, 100).astype(int) - picture
    assert np.abs(lost[:, 8:-8, 8:-8]).mean() < 8


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_size_and_type_stay(name, grey, picture):
    change, before = CHANGES[name], picture[: 1 if grey else 3]
    off = []
    for value in change.values:
        made = change.apply(before, value)
        assert made.shape == before.shape
        assert made.dtype == np.uint8
        off.append(np.abs(made.astype(int) - before).mean())
    assert off[0] == min(off)
    assert off[-1] > off[0]


def test_there_and_back(picture):
    assert (from_picture(to_picture(picture)) == picture).all()
    assert to_picture(picture).getpixel((5, 7)) == tuple(picture[:, 7, 5])
    assert to_picture(picture[:1]).mode == "L"


def as_reference(name, picture, value):
    """The change made in another way, float [C, H, W]."""
    image = to_picture(picture)
    if name == "JPEG quality":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=value)  # Pillow's own default
        return from_picture(Image.open(file)).astype(float)
    if name == "blur":
        return slow_blur(picture, value)
    x = torch.from_numpy(picture[None] / 255.0)
    if name in ("shifted", "rotated"):
        pose = (0.0, float(value), 0.0) if name == "shifted" else (float(value), 0.0, 0.0)
        return rigid(x, *pose, "border")[0].numpy() * 255
    small = x
    if name == "resized and back":
        size = [round(side * value / 100) for side in picture.shape[1:]]
        small = scaled(x, size)
    if name == "cropped":
        top, left = (round(side * value / 100) for side in picture.shape[1:])
        small = x[:, :, top : 40 - top, left : 56 - left]
    return scaled(small, picture.shape[1:])[0].numpy() * 255


def slow_blur(picture, sigma):
    """Every pixel the weighted mean of a window, border pixels standing for those outside."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-9)) ** 2)
    window = np.outer(weights, weights) / weights.sum() ** 2
    wide = np.pad(picture.astype(float), ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    parts = np.lib.stride_tricks.sliding_window_view(wide, window.shape, axis=(1, 2))
    return (parts * window).sum(axis=(3, 4))


def scaled(x, size):
    return torch.nn.functional.interpolate(x, size=tuple(size), mode="bilinear", antialias=True)


# Grey levels: half a one for every pass that rounds; Pillow resizes across, then down.
SLACK = {"JPEG quality": 0, "resized and back": 2.01, "cropped": 1.01, "shifted": 1e-9}


def agrees(name, apply, picture):
    for value in CHANGES[name].values:
        off = np.abs(apply(picture, value).astype(float) - as_reference(name, picture, value))
        if not off.max() <= SLACK.get(name, 0.51):
            return False
    return True


@pytest.mark.parametrize("name", CHANGES)
def test_against_a_reference(name, picture):
    assert agrees(name, CHANGES[name].apply, picture)


def nearest_there_and_back(pixels, percent):
    image = to_picture(pixels)
    small = image.resize([round(s * percent / 100) for s in image.size], Image.Resampling.NEAREST)
    return from_picture(small.resize(image.size, Image.Resampling.BILINEAR))


MUTANTS = [
    ("JPEG quality", lambda p, v: CHANGES["JPEG quality"].apply(p, v - 5)),
    ("JPEG quality", lambda p, v: CHANGES["JPEG quality"].apply(p[::-1], v)[::-1]),
    ("resized and back", nearest_there_and_back),
    ("cropped", lambda p, v: CHANGES["cropped"].apply(p, v / 2)),
    ("cropped", lambda p, v: CHANGES["cropped"].apply(p[:, ::-1, ::-1], v)),
    ("blur", lambda p, v: CHANGES["blur"].apply(p, v * 1.5)),
    ("shifted", lambda p, v: CHANGES["shifted"].apply(p[:, :, ::-1], v)[:, :, ::-1]),
    ("shifted", lambda p, v: np.roll(p, int(v), axis=2)),
    ("rotated", lambda p, v: CHANGES["rotated"].apply(p, -v)),
    ("rotated", lambda p, v: from_picture(to_picture(p).rotate(v, Image.Resampling.BILINEAR))),
]


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_mutants_die(name, mutant, picture):
    assert not agrees(name, mutant, picture)


def asked(case, **more):
    return survival(
        case.backbone, case.read, case.original, case.changed, case.label, case.target, **more
    )


def test_curves_are_what_the_network_says_of_these_pictures(case):
    curves = asked(case)
    assert [curve.name for curve in curves] == list(CHANGES)
    for curve in curves:
        change = CHANGES[curve.name]
        assert curve.values.tolist() == list(change.values)
        assert curve.unit == change.unit
        for row, value in enumerate(change.values):
            told, clean = (
                reading(case.backbone, case.read(change.apply(p, value)), case.label, case.target)
                for p in (case.changed, case.original)
            )
            assert curve.fooled[row] == (told.index != case.label)
            assert curve.at_target[row] == (told.index == case.target)
            assert curve.label[row] == pytest.approx(told.label, rel=1e-4)
            assert curve.target[row] == pytest.approx(told.target, rel=1e-4)
            assert curve.clean[row] == (clean.index == case.label)
    assert all(curve.at_target[0] for curve in curves if CHANGES[curve.name].exact)


def test_batches_change_nothing(case):
    for one, other in zip(asked(case, batch=1), asked(case, batch=64), strict=True):
        np.testing.assert_allclose(one.target, other.target, rtol=1e-4)
        assert (one.clean == other.clean).all()


def test_pictures_are_made_when_they_are_looked_at(case, monkeypatch):
    made, most = [], []

    def apply(pixels, value):
        made.append(value)
        return pixels

    inner = type(case.backbone).__call__

    def called(self, x):
        most.append(len(made))
        return inner(self, x)

    monkeypatch.setattr(type(case.backbone), "__call__", called)
    (curve,) = asked(case, changes={"none": Change(apply, "", tuple(range(10)))}, batch=4)
    assert most == [4, 8, 12, 16, 20]
    assert curve.at_target.all()
    assert curve.clean.all()


def test_without_a_target(case):
    for curve in survival(case.backbone, case.read, case.original, case.changed, case.label):
        assert np.isnan(curve.target).all()
        assert not curve.at_target.any()


def test_bad_requests(case):
    two = np.zeros((2, 32, 32), np.uint8)
    with pytest.raises(BadRequest, match="give both alike"):
        survival(case.backbone, case.read, two, two, 0)
    with pytest.raises(BadRequest, match="no class 11"):
        survival(case.backbone, case.read, case.original, case.changed, 0, 11)


@pytest.mark.slow
def test_the_vulture_survives_little(panda):
    """What one level did is undone by strong changes, and the clean panda outlives most of them."""
    curves = {curve.name: curve for curve in asked(panda)}
    assert all(c.at_target[0] for name, c in curves.items() if CHANGES[name].exact)
    assert not curves["JPEG quality"].at_target[-3:].any()
    assert not curves["blur"].at_target[-1]
    assert curves["shifted"].clean.all()
