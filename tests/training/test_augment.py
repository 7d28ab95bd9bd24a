"""The affine change of training images against exact moves of the pixel grid."""

import math

import pytest
import torch
from torch.nn import functional

from robustlab.training.augment import augmented, mirrored, warped
from robustlab.training.recipe import Augment

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
FULL = Augment(2.0, 10.0, 0.1)


def moved(images, right, down):
    """Whole-pixel shift, black where nothing was: slices alone."""
    out = torch.zeros_like(images)
    size = images.shape[-1]
    rows = slice(max(down, 0), size + min(down, 0)), slice(max(-down, 0), size + min(-down, 0))
    columns = (
        slice(max(right, 0), size + min(right, 0)),
        slice(max(-right, 0), size - max(right, 0)),
    )
    out[..., rows[0], columns[0]] = images[..., rows[1], columns[1]]
    return out


def numbers(angle=0.0, scale=1.0, right=0.0, down=0.0):
    n = len(IMAGES)
    return (
        torch.full((n,), angle),
        torch.full((n,), scale),
        torch.tensor([[right, down]]).repeat(n, 1).float(),
    )


def check_exact(warp):
    """Quarter turns, whole-pixel shifts, both together (turned first) and halving are exact."""
    close = {"rtol": 0, "atol": 1e-5}
    quarter = torch.rot90(IMAGES, -1, (2, 3))  # clockwise
    torch.testing.assert_close(warp(IMAGES, *numbers()), IMAGES, **close)
    torch.testing.assert_close(warp(IMAGES, *numbers(math.pi / 2)), quarter, **close)
    for right, down in ((2, 0), (0, -3), (-1, 2)):
        shifted = warp(IMAGES, *numbers(right=right, down=down))
        torch.testing.assert_close(shifted, moved(IMAGES, right, down), **close)
    both = warp(IMAGES, *numbers(math.pi / 2, right=1, down=2))
    torch.testing.assert_close(both, moved(quarter, 1, 2), **close)
    half = functional.pad(functional.avg_pool2d(IMAGES, 2), (2, 2, 2, 2))
    torch.testing.assert_close(
        warp(IMAGES, *numbers(scale=0.5))[..., 2:6, 2:6], half[..., 2:6, 2:6], **close
    )


def test_exact():
    check_exact(warped)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda images, angle, scale, shift: warped(images, -angle, scale, shift),
        lambda images, angle, scale, shift: warped(images, angle, 1 / scale, shift),
        lambda images, angle, scale, shift: warped(images, angle, scale, shift.flip(1)),
        lambda images, angle, scale, shift: warped(images, angle, scale, -shift),
        lambda images, angle, scale, shift: images,
    ],
    ids=["turned back", "inverse scale", "axes swapped", "moved back", "nothing"],
)
def test_that_check_kills(mutant):
    with pytest.raises(AssertionError):
        check_exact(mutant)


def draw(augment, seed=0):
    return augmented(IMAGES, augment, torch.Generator().manual_seed(seed))


def test_chance_is_the_generators_alone():
    assert torch.equal(draw(FULL), draw(FULL))
    assert not torch.equal(draw(FULL), draw(FULL, seed=1))
    state = torch.get_rng_state()
    draw(FULL)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_drawn_does_not_depend_on_the_amount():
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    for generator, augment in zip(generators, (FULL, Augment()), strict=True):
        augmented(IMAGES, augment, generator)
    after = [torch.rand(1, generator=generator) for generator in generators]
    assert after[0] == after[1]


def test_no_augmentation_changes_nothing():
    assert torch.equal(draw(Augment()), IMAGES)


def test_each_image_has_its_own_and_stays_in_range():
    same = IMAGES[:1].repeat(3, 1, 1, 1)
    found = augmented(same, FULL, torch.Generator().manual_seed(0))
    assert not torch.equal(found[0], found[1])
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


def check_mirrored(mirror):
    """About the asked share of the images is turned, the others are as they were."""
    images = torch.rand(400, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    found = mirror(images, 0.25, torch.Generator().manual_seed(0))
    same = (found == images).flatten(1).all(1)
    turned = (found == images.flip(3)).flatten(1).all(1)
    assert (same ^ turned).all()
    assert 70 <= int(turned.sum()) <= 130  # 100, three standard deviations either way


def test_mirrored():
    check_mirrored(mirrored)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda images, share, generator: images,
        lambda images, share, generator: images.flip(3),
        lambda images, share, generator: mirrored(images, 1 - share, generator),
        lambda images, share, generator: mirrored(images.transpose(2, 3), share, generator),
    ],
    ids=["nothing", "all", "the others", "upside down"],
)
def test_that_check_kills_a_wrong_mirror(mutant):
    with pytest.raises(AssertionError):
        check_mirrored(mutant)
