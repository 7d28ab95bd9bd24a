"""Changes of images against direct references, and references against broken changes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
import torchvision.transforms.v2.functional as transforms
from torch import Tensor

from robustlab.adversarial.rigid import rigid
from robustlab.errors import BadRequest
from robustlab.invariance.changes import CHANGES, change_images, cover, geometry, light, sharpness
from robustlab.invariance.changes.background import background
from robustlab.invariance.changes.cover import clutter, occlusion
from robustlab.randomness import SampleRandom

NAMES = sorted(CHANGES)
SHAPES = ((1, 12, 12), (3, 10, 14))


def images(n: int = 3, shape: tuple[int, int, int] = (3, 10, 14), dtype=torch.float32) -> Tensor:
    rng = np.random.default_rng(3)
    return torch.tensor(rng.uniform(0.05, 0.95, (n, *shape))).to(dtype)


def digits(n: int = 3) -> Tensor:
    """A bright cross on black, away from the border."""
    x = torch.zeros(n, 1, 16, 16)
    x[:, 0, 4:12, 7] = torch.linspace(0.3, 1, n)[:, None]
    x[:, 0, 7, 4:12] = 0.8
    return x


def ids(n: int) -> list[str]:
    return [f"own/{i}" for i in range(n)]


def draws(n: int, name: str = "x") -> SampleRandom:
    return SampleRandom(0, ids(n), "change", name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_severity_0_is_the_image_itself(name, shape, dtype):
    x = images(3, shape, dtype)
    assert torch.equal(change_images(x, name, 0.0, ids(3)), x)
    assert 0 in CHANGES[name].levels


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"clutter", "occlusion"}))
def test_a_small_severity_is_a_small_change(name):
    """Also without the shortcut at 0: the functions themselves begin at the image."""
    x = images(3, (1, 12, 12), torch.float64)
    near = CHANGES[name].apply(x, 1e-7, draws(3))
    assert (near - x).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["clutter", "occlusion"])
def test_nothing_hides_nothing(name):
    x = images(3, (1, 12, 12))
    assert torch.equal(CHANGES[name].apply(x, 0.0, draws(3)), x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_box_shape_and_type(name, shape):
    x = images(3, shape, torch.float64)
    for level in CHANGES[name].levels:
        changed = change_images(x, name, level, ids(3))
        assert changed.shape == x.shape
        assert changed.dtype == x.dtype
        assert changed.min() >= 0
        assert changed.max() <= 1
    assert not torch.equal(changed, x)  # at the last level


def check_alone(change) -> None:
    """An image's change hangs on its id and the seed, not on what stands beside it."""
    x, names = images(4, (1, 12, 12), torch.float64), ids(4)
    together = change(x, names, 0)
    order = [2, 0, 3, 1]
    moved = change(x[order], [names[i] for i in order], 0)
    for place, row in enumerate(order):
        alone = change(x[row : row + 1], names[row : row + 1], 0)
        assert torch.allclose(alone[0], together[row], rtol=0, atol=1e-12)
        assert torch.allclose(moved[place], together[row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_batch_order_and_shards_do_not_matter(name):
    level = CHANGES[name].levels[-1]
    check_alone(lambda x, names, seed: change_images(x, name, level, names, seed))


def test_alone_kills_randomness_of_a_batch():
    def shared(x, names, seed):
        return sharpness.noise(x, 0.2, SampleRandom(seed, [names[0]] * len(x), "noise"))

    with pytest.raises(AssertionError):
        check_alone(shared)


DRAWN = ["lighting", "deformation", "occlusion", "clutter", "noise"]


@pytest.mark.parametrize("name", DRAWN)
def test_the_seed_and_the_id_decide(name):
    x, level = images(1, (1, 12, 12)).expand(3, 1, 12, 12), CHANGES[name].levels[-2]
    first = change_images(x, name, level, ids(3), seed=0)
    assert not torch.equal(first[:1].expand_as(first), first)
    assert not torch.equal(first, change_images(x, name, level, ids(3), seed=1))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(DRAWN)))
def test_nothing_is_drawn_where_nothing_has_to_be(name):
    x = images(1, (1, 12, 12)).expand(2, 1, 12, 12)
    first = change_images(x, name, CHANGES[name].levels[-1], ids(2))
    assert torch.equal(first[0], first[1])


def test_one_draw_for_all_severities():
    """Noise twice as strong is the same noise doubled; squares and pieces lie inside each other."""
    x = torch.full((2, 1, 12, 12), 0.5, dtype=torch.float64)
    weak, strong = (change_images(x, "noise", s, ids(2)) - x for s in (0.02, 0.04))
    assert torch.allclose(strong, 2 * weak)
    x = images(2, (1, 12, 12))
    hidden = [change_images(x, "occlusion", s, ids(2)) == 0.5 for s in (20, 40, 60, 80, 100)]
    pieces = [change_images(x, "clutter", s, ids(2)) != x for s in (1, 4, 9, 16)]
    for nested in (hidden, pieces):
        assert all(not (a & ~b).any() for a, b in itertools.pairwise(nested))
        assert nested[0].any()
    assert hidden[-1].all()


# Geometry.


def check_turn(turn) -> None:
    x = images(2, (3, 9, 9), torch.float64)
    for quarter in (-2, -1, 1, 2):
        assert torch.equal(turn(x, 90.0 * quarter, draws(2)), torch.rot90(x, quarter, (2, 3)))


def test_quarter_turns_are_rot90():
    check_turn(geometry.rotation)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda x, s, rng: rigid(x, -s, 0.0, 0.0),
        lambda x, s, rng: rigid(x, s + 1, 0.0, 0.0),
        lambda x, s, rng: rigid(x, s, 1.0, 0.0),
    ],
)
def test_quarter_turns_kill(mutant):
    with pytest.raises(AssertionError):
        check_turn(mutant)


def at_points(x: Tensor, down, across, outside: str) -> np.ndarray:
    """Every pixel by itself: the mean of the four pixels around its point."""
    n, channels, height, width = x.shape
    pixels, made = x.numpy(), np.zeros(x.shape)

    def pixel(i, c, row, column):
        if outside == "border":
            row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
        inside = 0 <= row < height and 0 <= column < width
        return pixels[i, c, row, column] if inside else 0.0

    for i in range(n):
        for row in range(height):
            for column in range(width):
                d, a = down(row, column), across(row, column)
                top, left = math.floor(d), math.floor(a)
                for c in range(channels):
                    made[i, c, row, column] = sum(
                        (1 - abs(d - r)) * (1 - abs(a - k)) * pixel(i, c, r, k)
                        for r in (top, top + 1)
                        for k in (left, left + 1)
                    )
    return made


@pytest.mark.parametrize("outside", ["zeros", "border"])
@pytest.mark.parametrize("severity", [-1, -0.4, 0.3, 1])
def test_scale_pixel_by_pixel(severity, outside):
    x = images(1, (1, 7, 10), torch.float64)
    f = 2.0**severity
    expected = at_points(x, lambda r, c: (r - 3) / f + 3, lambda r, c: (c - 4.5) / f + 4.5, outside)
    found = change_images(x, "scale", severity, ids(1), padding=outside)
    assert np.abs(found.numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("angle", [-50.0, 17.0, 45.0])
def test_rotation_is_scipys(angle):
    """SciPy turns by the same angle in the plane of (row, column); inside, where no fill enters."""
    x = images(2, (1, 15, 15), torch.float64)
    expected = scipy.ndimage.rotate(
        x.numpy(), angle, axes=(3, 2), reshape=False, order=1, mode="constant"
    )
    other = scipy.ndimage.rotate(
        x.numpy(), -angle, axes=(3, 2), reshape=False, order=1, mode="constant"
    )
    found = change_images(x, "rotation", angle, ids(2)).numpy()
    inner = np.s_[:, :, 4:11, 4:11]
    assert np.abs(found[inner] - other[inner]).max() > 0.05
    assert np.abs(found[inner] - expected[inner]).max() < 1e-9


@pytest.mark.parametrize("angle", [-50.0, 17.0])
def test_rotation_is_torchvisions(angle):
    x = images(2, (3, 15, 15))
    expected = transforms.rotate(x, angle, transforms.InterpolationMode.BILINEAR)
    assert (change_images(x, "rotation", angle, ids(2)) - expected).abs().max() < 1e-4


def test_scale_is_scipys_and_the_other_way_is_not():
    x = images(1, (1, 15, 15), torch.float64)
    found = change_images(x, "scale", 0.5, ids(1))[0, 0].numpy()
    for factor, same in ((2**0.5, True), (2**-0.5, False)):
        offset = 7 - 7 / factor
        expected = scipy.ndimage.affine_transform(
            x[0, 0].numpy(), np.eye(2) / factor, offset, order=1, mode="constant"
        )
        assert (np.abs(found - expected).max() < 1e-9) == same


def test_deformation_pixel_by_pixel():
    x = images(1, (1, 12, 16), torch.float64)
    drawn = draws(1).normal((2, 12, 16))[0]
    smooth = np.stack([scipy.ndimage.gaussian_filter(d, 12 * 4 / 29, mode="wrap") for d in drawn])
    smooth *= 0.05 * 12 / np.sqrt((smooth**2).sum(axis=0).mean())
    expected = at_points(
        x, lambda r, c: r + smooth[1, r, c], lambda r, c: c + smooth[0, r, c], "border"
    )
    found = geometry.deformation(x, 5.0, draws(1), padding="border").numpy()
    assert np.abs(found - expected).max() < 1e-12


# Light.


def check_contrast(contrast) -> None:
    x = images(2, (3, 8, 8), torch.float64)
    grey = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    mean = grey.mean(dim=(1, 2)).view(-1, 1, 1, 1)
    for s in (0.25, 0.8, 1.0):
        assert torch.allclose(contrast(x, s, draws(2)), mean + (1 - s) * (x - mean), atol=3e-4)


def test_contrast_arithmetic():
    check_contrast(light.contrast)
    x = images(2, (1, 8, 8), torch.float64)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    assert torch.allclose(light.contrast(x, 0.7, draws(2)), mean + 0.3 * (x - mean))


@pytest.mark.parametrize(
    "mutant",
    [
        lambda x, s, rng: 0.5 + (1 - s) * (x - 0.5),
        lambda x, s, rng: light.contrast(x, s / 2, rng),
        lambda x, s, rng: x.mean() + (1 - s) * (x - x.mean()),  # one mean for the batch
    ],
)
def test_contrast_kills(mutant):
    with pytest.raises(AssertionError):
        check_contrast(mutant)


def check_brightness(brightness) -> None:
    x = images(2)
    for s in (-0.3, 0.3):
        assert torch.equal(brightness(x, s, draws(2)), torch.clamp(x + s, 0, 1))


def test_brightness_arithmetic():
    check_brightness(light.brightness)
    for mutant in (
        lambda x, s, rng: (x * (1 + s)).clamp(0, 1),
        lambda x, s, rng: x + s,
        lambda x, s, rng: (x - s).clamp(0, 1),
    ):
        with pytest.raises(AssertionError):
            check_brightness(mutant)


def test_lighting_is_linear_and_reaches_its_ends():
    """On even grey: a plane, from 1 - s to 1 + s over the corners, black stays black."""
    grey = torch.full((4, 1, 9, 13), 0.4, dtype=torch.float64)
    lit = light.lighting(grey, 0.5, draws(4)) / 0.4
    assert torch.allclose(lit.flatten(1).amin(dim=1), torch.tensor(0.5).double())
    assert torch.allclose(lit.flatten(1).amax(dim=1), torch.tensor(1.5).double())
    for axis in (2, 3):
        assert lit.diff(dim=axis).diff(dim=axis).abs().max() < 1e-12
    steps = lit.diff(dim=3)[:, 0, 0, 0]
    assert len(set(steps.tolist())) == 4  # each image its own direction
    assert torch.equal(light.lighting(grey * 0, 1.0, draws(4)), grey * 0)


# Sharpness.


def check_blur(blur) -> None:
    x = images(1, (1, 40, 40), torch.float64)
    for s in (2.0, 5.0):
        expected = scipy.ndimage.gaussian_filter(x[0, 0].numpy(), s / 100 * 40, truncate=8)
        found = blur(x, s, draws(1))[0, 0].numpy()
        assert np.abs(found - expected)[12:-12, 12:-12].max() < 2e-4


def test_blur_is_scipys():
    check_blur(sharpness.blur)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda x, s, rng: sharpness.blur(x, s * 1.1, rng),
        lambda x, s, rng: transforms.gaussian_blur(x, [3, 3], [s / 100 * 40] * 2),
    ],
)
def test_blur_kills(mutant):
    with pytest.raises(AssertionError):
        check_blur(mutant)


def test_blur_mirrors_at_the_border():
    x = images(1, (1, 40, 40), torch.float64)
    expected = scipy.ndimage.gaussian_filter(x[0, 0].numpy(), 2.0, mode="mirror")
    found = change_images(x, "blur", 5.0, ids(1))[0, 0].numpy()
    assert np.abs(found - expected).max() < 1e-9


@pytest.mark.parametrize("side", [1, 2, 3, 8])
def test_blur_of_small_images(side):
    change_images(images(1, (1, side, side)), "blur", 10.0, ids(1))


def test_noise_has_its_deviation():
    x = torch.full((4, 3, 40, 40), 0.5, dtype=torch.float64)
    added = change_images(x, "noise", 0.1, ids(4)) - x
    assert abs(added.std().item() - 0.1) < 2e-3
    assert abs(added.mean().item()) < 2e-3
    assert abs(np.corrcoef(added[0].flatten(), added[1].flatten())[0, 1]) < 0.05


# Cover.


@pytest.mark.parametrize("share", [0, 10, 35, 80, 100])
def test_a_square_of_grey(share):
    x = images(6, (3, 20, 30), torch.float64)
    changed = occlusion(x, share, draws(6))
    side = round(share / 100 * 20)
    for before, after in zip(x, changed, strict=True):
        hidden = (after != before).all(dim=0)
        rows, columns = hidden.any(dim=1).nonzero(), hidden.any(dim=0).nonzero()
        assert hidden.sum() == side**2
        assert len(rows) == len(columns) == side
        assert (after[:, hidden] == 0.5).all()
    places = {
        tuple((a != b).nonzero()[0].tolist()) for a, b in zip(x, changed, strict=True) if share
    }
    assert share in (0, 100) or len(places) > 1


def test_squares_reach_every_corner():
    x = torch.zeros(400, 1, 6, 6)
    hidden = occlusion(x, 50, SampleRandom(0, ids(400)))[:, 0] == 0.5
    assert hidden.any(dim=0).all()
    assert {
        (r[0].item(), c[0].item())
        for h in hidden
        for r, c in [(h.any(1).nonzero()[0], h.any(0).nonzero()[0])]
    } == {(r, c) for r in range(4) for c in range(4)}


def check_behind(clutter) -> None:
    """Not a pixel of a digit changes; much of the background does."""
    x = digits()
    changed = clutter(x, 16, draws(3))
    assert torch.equal(changed[x > 0], x[x > 0])
    assert ((changed != x).flatten(1).double().mean(dim=1) > 0.1).all()


def test_clutter_lies_behind_a_digit():
    check_behind(clutter)
    ringed = digits() + 0.1  # another even ground
    assert background(ringed).told.all()
    assert torch.equal(clutter(ringed, 16, draws(3))[digits() > 0], ringed[digits() > 0])


def test_behind_kills(monkeypatch):
    def nothing_there(x):
        return replace(background(x), object=torch.zeros(len(x), *x.shape[2:], dtype=torch.bool))

    with monkeypatch.context() as patch:
        patch.setattr(cover, "background", nothing_there)
        with pytest.raises(AssertionError):
            check_behind(clutter)
    check_behind(clutter)
    with pytest.raises(AssertionError):
        check_behind(lambda x, s, rng: occlusion(x, 60, rng))


def test_clutter_spares_the_middle_of_a_photograph():
    x = images(3, (3, 20, 28))
    changed = (clutter(x, 16, draws(3)) != x).any(dim=1)
    assert not background(x).told.any()
    assert not changed[:, 3:17, 4:24].any()
    assert changed.flatten(1).any(dim=1).all()
    area = 14 * 20 / (20 * 28)
    assert abs(area - 0.5) < 0.01


def test_background():
    x = digits()
    ground = background(torch.cat([x, torch.zeros(1, 1, 16, 16), images(1, (1, 16, 16))]))
    assert ground.told.tolist() == [True] * 3 + [False, False]
    assert torch.equal(ground.object[:3], x[:, 0] > 0)
    assert ground.object[3:].all()
    touching = x.clone()
    touching[0, 0, 0, 3] = 0.2
    assert background(touching).told.tolist() == [False, True, True]


# What is asked for.


@pytest.mark.parametrize(
    ("name", "severity", "told"),
    [
        ("rotatoin", 10, "did you mean 'rotation'"),
        ("rotation", 181, "from -180 to 180 (degrees)"),
        ("scale", -1.5, "from -1 to 1"),
        ("noise", float("nan"), "from 0 to 1"),
        ("clutter", 2.5, "whole number"),
        ("contrast", -0.1, "from 0 to 1"),
    ],
)
def test_bad_requests(name, severity, told):
    with pytest.raises(BadRequest, match=told.replace("(", r"\(").replace(")", r"\)")):
        change_images(images(), name, severity, ids(3))


def test_levels():
    found = CHANGES["rotation"].settled("rotation", (30, -10.5))
    assert found == (-10.5, 0.0, 30.0)
    assert CHANGES["rotation"].settled("rotation", (-0.0, 5)) == (0.0, 5.0)
    with pytest.raises(BadRequest, match="given twice"):
        CHANGES["rotation"].settled("rotation", (30, 30.0))
    for name, change in CHANGES.items():
        assert change.settled(name, ()) == tuple(sorted(change.levels))
    with pytest.raises(BadRequest, match="padding"):
        change_images(images(), "rotation", 10, ids(3), padding="mirror")
