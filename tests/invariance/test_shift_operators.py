"""Boundary modes against a loop over every pixel, with mutants that the loop must kill."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustlab.errors import BadRequest
from robustlab.invariance.shifts import (
    MODES,
    fourier_shifted,
    ground,
    margins,
    shifted,
    window,
)


def source(mode, image, i, j, picture, radius):
    """The pixel at (i, j) of the infinite picture around one channel, by hand."""
    height, width = image.shape
    if mode == "circular":
        return image[i % height, j % width]
    if mode == "reflect":
        i = abs(i) if i < height else 2 * (height - 1) - i
        j = abs(j) if j < width else 2 * (width - 1) - j
        return image[i, j]
    if mode == "crop":
        return picture[i + radius, j + radius]
    inside = 0 <= i < height and 0 <= j < width
    return image[i, j] if inside else {"zero": 0.0, "canvas": image[0, 0]}[mode]


def by_hand(x, dy, dx, mode, radius):
    """(T_s x)[i, j] = x[i - dy, j - dx], pixel by pixel."""
    out = np.empty_like(x)
    picture = enlarged(x, radius)
    for n, c, i, j in np.ndindex(*x.shape):
        out[n, c, i, j] = source(mode, x[n, c], i - dy, j - dx, picture[n, c], radius)
    return out


def enlarged(x, radius):
    """Bilinear enlargement by hand: pixel centres line up, border pixels repeated."""
    n, channels, height, width = x.shape
    tall, broad = height + 2 * radius, width + 2 * radius
    out = np.empty((n, channels, tall, broad))
    for i, j in np.ndindex(tall, broad):
        y = min(max((i + 0.5) * height / tall - 0.5, 0), height - 1)
        z = min(max((j + 0.5) * width / broad - 0.5, 0), width - 1)
        top, left = int(y), int(z)
        low, right = min(top + 1, height - 1), min(left + 1, width - 1)
        a, b = y - top, z - left
        upper = (1 - b) * x[..., top, left] + b * x[..., top, right]
        lower = (1 - b) * x[..., low, left] + b * x[..., low, right]
        out[..., i, j] = (1 - a) * upper + a * lower
    return out


def images(margin=0):
    rng = np.random.default_rng(3)
    x = rng.uniform(0.2, 0.9, (2, 3, 7, 6))
    if margin:
        x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)), constant_values=0.25)
    return x


def check(operator, mode):
    """Compare an operator with the loop at every shift of radius 2."""
    x = images(margin=2 if mode == "canvas" else 0)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            true = by_hand(x, dy, dx, mode, 2)
            mine = operator(torch.tensor(x), dy, dx, mode).numpy()
            assert mine.shape == x.shape
            tolerance = 1e-12 if mode == "crop" else 0.0
            assert np.abs(mine - true).max() <= tolerance, (mode, dy, dx)


def ours(x, dy, dx, mode):
    return window(ground(x, 2, mode), dy, dx, 2)


MUTANTS = {
    "off by one": lambda x, dy, dx, mode: window(ground(x, 3, mode), dy + 1, dx, 3),
    "wrong sign": lambda x, dy, dx, mode: ours(x, -dy, -dx, mode),
    "axes swapped": lambda x, dy, dx, mode: ours(x, dx, dy, mode),
    "no shift": lambda x, dy, dx, mode: x,
    "zero-fill": lambda x, dy, dx, mode: ours(x, dy, dx, "zero"),
    "roll": lambda x, dy, dx, mode: torch.roll(x, (dy, dx), (2, 3)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_pixel_is_where_the_loop_puts_it(mode):
    check(ours, mode)


@pytest.mark.parametrize("mode", ["circular", "crop", "reflect", "canvas"])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_loop_kills(mutant, mode):
    if (mutant, mode) in {("roll", "circular"), ("roll", "canvas")}:
        check(MUTANTS[mutant], mode)  # no mutant: inside the margin a roll is the canvas's shift
        return
    if (mutant, mode) == ("off by one", "canvas"):
        mode = "zero"  # a larger radius is refused on this canvas
    with pytest.raises(AssertionError):
        check(MUTANTS[mutant], mode)


def test_shifts_are_windows_of_one_picture_and_exact():
    x = torch.tensor(images(), dtype=torch.float32)
    picture = ground(x, 2, "zero")
    assert (
        window(picture, 1, -2, 2).untyped_storage().data_ptr()
        == picture.untyped_storage().data_ptr()
    )
    assert torch.equal(window(picture, 0, 0, 2), x)
    assert torch.equal(shifted(x, 1, -2, "zero"), window(picture, 1, -2, 2))


def test_crop_takes_windows_of_larger_pictures_as_they_are():
    x = torch.tensor(images())
    picture = ground(x, 1, "crop", size=(4, 3))
    assert torch.equal(window(picture, 1, 1, 1), x[:, :, 0:4, 0:3])
    assert torch.equal(window(picture, -1, 0, 1), x[:, :, 2:6, 1:4])
    with pytest.raises(BadRequest, match=r"larger than the picture leaves.*radius = 1"):
        ground(x, 2, "crop", size=(4, 3))
    with pytest.raises(BadRequest, match="only mode 'crop'"):
        ground(x, 1, "zero", size=(4, 3))


def test_margins_are_counted():
    x = torch.full((3, 2, 9, 8), 0.5)
    x[0, 1, 2, 3] = 0.6
    x[1, 0, 4:7, 0:2] = 0.1
    assert margins(x).tolist() == [[2, 6, 3, 4], [4, 2, 0, 6], [9, 9, 8, 8]]


def test_a_canvas_too_small_is_refused_with_the_largest_radius():
    x = torch.tensor(images(margin=2))
    with pytest.raises(
        BadRequest, match=r"image number 7 .*the least of these images 2; give radius = 2"
    ):
        ground(x, 3, "canvas", start=7)
    with pytest.raises(BadRequest, match="no plain background"):
        ground(torch.tensor(images()), 1, "canvas")


@pytest.mark.parametrize("radius", [0, -1, 6, 2.0, True, "2"])
def test_a_radius_that_leaves_nothing_is_refused(radius):
    with pytest.raises(BadRequest, match="from 1 to 5"):
        ground(torch.tensor(images()), radius, "zero")


def test_an_unknown_mode_is_told_the_nearest():
    with pytest.raises(BadRequest, match="did you mean 'circular'"):
        shifted(torch.tensor(images()), 1, 1, "circle")


@pytest.mark.parametrize("size", [(7, 6), (8, 9)])
def test_fourier_shifts_whole_pixels_as_a_roll_and_waves_exactly(size):
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.uniform(size=(2, 1, *size)))
    rolled = torch.roll(x, (2, -1), (2, 3))
    assert (fourier_shifted(x, 2, -1) - rolled).abs().max() < 1e-12
    # A wave below the highest frequency is moved as its formula says.
    rows, columns = np.mgrid[: size[0], : size[1]]

    def wave(dy, dx):
        phase = 2 * np.pi * (2 * (rows - dy) / size[0] - (columns - dx) / size[1])
        return torch.tensor(0.5 + 0.3 * np.cos(phase))[None, None]

    assert (shifted(wave(0, 0), 0.3, -1.6, "circular") - wave(0.3, -1.6)).abs().max() < 1e-12
    assert (shifted(wave(0, 0), 0.3, -1.6, "circular") - wave(-0.3, 1.6)).abs().max() > 0.1


@pytest.mark.parametrize("mode", ["zero", "reflect", "crop"])
def test_broken_shifts_are_bilinear_means_of_whole_ones(mode):
    x = torch.tensor(images())
    picture = ground(x, 2, mode)
    whole = {(y, z): window(picture, y, z, 2) for y in (-2, -1) for z in (0, 1)}
    # -1.25 down is 0.75 of -1 and 0.25 of -2; 0.5 to the right is half of each.
    true = 0.375 * (whole[-1, 0] + whole[-1, 1]) + 0.125 * (whole[-2, 0] + whole[-2, 1])
    assert (shifted(x, -1.25, 0.5, mode) - true).abs().max() < 1e-12
    assert (shifted(x, -1.75, 0.5, mode) - true).abs().max() > 1e-3
