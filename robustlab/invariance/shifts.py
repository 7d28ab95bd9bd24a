"""Shifts of images by whole and by broken pixels, and what comes in from outside: boundary modes.

A shift s = (dy, dx) moves what an image shows ``dy`` pixels down and ``dx`` to the right:
``(T_s x)[i, j] = x[i - dy, j - dx]``. Where that lies outside, the boundary mode decides. All of
it happens on the [0, 1] scale, before the network's own normalisation: black is 0.

Every image has a `ground`, a larger picture of which all its shifted images are windows. So whole
pixels are copied, never computed, and shifted images share their memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from robustlab.errors import BadRequest, choices

__all__ = [
    "MODES",
    "check_mode",
    "check_radius",
    "check_room",
    "fourier_shifted",
    "ground",
    "margins",
    "shifted",
    "tell_mode",
    "window",
]

# Each mode with what it does, as pages print it beside its number.
MODES = {
    "crop": "a window moves over a larger picture: content enters and leaves",
    "canvas": "the object moves on the margin of its own background: nothing is lost",
    "zero": "what comes in is black (0 before the network's normalisation), what leaves is lost",
    "circular": "what leaves on one side comes in on the other",
    "reflect": "what comes in is the image mirrored at its border pixel",
}


def check_mode(mode: str) -> None:
    """Refuse what is not one of `MODES`."""
    if mode not in MODES:
        raise BadRequest(f"unknown boundary mode {mode!r}{choices(mode, MODES)}")


def tell_mode(mode: str, size: tuple[int, int], radius: int, picture: tuple[int, int]) -> str:
    """The mode in words, for images of ``size`` shown to the network, out of a ``picture``."""
    told = MODES[mode]
    if mode == "crop":
        height, width = size[0] + 2 * radius, size[1] + 2 * radius
        how = "the images as they are" if picture != size else "each image enlarged (bilinear)"
        told += f"; the picture is {how}, {height}x{width} of it; shift 0 is its middle"
    return told


def check_radius(size: tuple[int, int], radius: int, mode: str) -> None:
    """Refuse shifts that leave nothing of an image of ``size`` (height, width).

    Raises:
        BadRequest: an unknown mode, or a radius that is no whole number from 1 to the shorter
            side less one pixel.
    """
    check_mode(mode)
    most = min(size) - 1
    if isinstance(radius, bool) or not isinstance(radius, int) or not 1 <= radius <= most:
        raise BadRequest(
            f"radius {radius!r} is no whole number of pixels from 1 to {most}: images of "
            f"{size[0]}x{size[1]} pixels leave no more in mode {mode!r}; give radius = {most} or "
            "less"
        )


def margins(x: Tensor) -> Tensor:
    """How many pixels of plain background surround the object, int64 [n, 4]: above, below, left,
    right.

    The background is the colour of the first pixel; an image of that colour alone has no object,
    and its margins are its sides.
    """
    other = (x != x[:, :, :1, :1]).any(dim=1)
    sides = []
    for dim in (2, 1):  # rows that hold a pixel of the object, then columns
        held = other.any(dim=dim).long()
        plain = held.sum(dim=1) == 0
        first, last = held.argmax(dim=1), held.flip(1).argmax(dim=1)
        sides += [torch.where(plain, held.shape[1], one) for one in (first, last)]
    return torch.stack(sides, dim=1)


def ground(
    x: Tensor, radius: int, mode: str, size: tuple[int, int] | None = None, start: int = 0
) -> Tensor:
    """The picture around each image, of which its shifts by up to ``radius`` are windows.

    Args:
        x: images [n, C, H, W] in [0, 1].
        radius: pixels; see `check_radius`.
        mode: one of `MODES`. "canvas" needs a margin of plain background of ``radius`` pixels
            around the object; "crop" takes its windows from larger images where ``size`` is
            smaller than theirs, and else enlarges the image to H + 2 radius by W + 2 radius
            (bilinear), as networks are tested after "resize 256, crop 224".
        size: (height, width) of the windows; the default is that of the images.
        start: number of the first image, for errors.

    Returns:
        [n, C, height + 2 radius, width + 2 radius].

    Raises:
        BadRequest: a shift larger than the canvas or the picture leaves, with the largest.
    """
    height, width = size or (x.shape[2], x.shape[3])
    check_radius((height, width), radius, mode)
    if (height, width) != tuple(x.shape[2:]) and mode != "crop":
        raise BadRequest(
            f"images of {x.shape[2]}x{x.shape[3]} pixels for windows of {height}x{width}: "
            "only mode 'crop' takes windows from larger pictures; resize them"
        )
    around = (radius, radius, radius, radius)
    if mode == "circular":
        return functional.pad(x, around, mode="circular")
    if mode == "reflect":
        return functional.pad(x, around, mode="reflect")
    if mode == "zero":
        return functional.pad(x, around)
    return _crop(x, radius, height, width) if mode == "crop" else _canvas(x, radius, start)


def _canvas(x: Tensor, radius: int, start: int) -> Tensor:
    least = margins(x).amin(dim=1)
    small = (least < radius).nonzero().flatten().tolist()
    if small:
        room = int(least.min())
        what = f"give radius = {room} or less, or" if room else "there is no plain background;"
        raise BadRequest(
            f"a shift of {radius} pixels is larger than the canvas leaves: image number "
            f"{start + small[0]} has {int(least[small[0]])} pixels of plain background around its "
            f"object, the least of these images {room}; {what} use mode 'zero', 'reflect' or "
            "'crop'"
        )
    n, channels, height, width = x.shape
    wide = x[:, :, :1, :1].expand(n, channels, height + 2 * radius, width + 2 * radius).clone()
    wide[:, :, radius : radius + height, radius : radius + width] = x
    return wide


def _crop(x: Tensor, radius: int, height: int, width: int) -> Tensor:
    tall, broad = x.shape[2:]
    if (tall, broad) == (height, width):
        target = [height + 2 * radius, width + 2 * radius]
        larger = functional.interpolate(x, target, mode="bilinear", align_corners=False)
        return larger.clamp(0.0, 1.0)
    check_room((tall, broad), (height, width), radius)
    top, left = (tall - height) // 2 - radius, (broad - width) // 2 - radius
    return x[:, :, top : top + height + 2 * radius, left : left + width + 2 * radius]


def check_room(picture: tuple[int, int], size: tuple[int, int], radius: int) -> None:
    """Refuse windows of ``size`` that leave a larger ``picture``, both (height, width); one of the
    same size is enlarged, and has room.

    Raises:
        BadRequest: with the largest radius there is room for.
    """
    room = min(whole - part for whole, part in zip(picture, size, strict=True)) // 2
    if room < radius and picture != size:
        what = f"give radius = {room} or less, or larger pictures" if room > 0 else "resize them"
        raise BadRequest(
            f"a shift of {radius} pixels is larger than the picture leaves: "
            f"{picture[0]}x{picture[1]} pixels around windows of {size[0]}x{size[1]}; {what}"
        )


def window(picture: Tensor, dy: int, dx: int, radius: int) -> Tensor:
    """T_s x as a view of its `ground`: [n, C, H, W] for a ground [n, C, H + 2r, W + 2r]."""
    if max(abs(dy), abs(dx)) > radius:
        raise BadRequest(f"a shift by ({dy}, {dx}) lies outside of the radius {radius}")
    top, left = radius - dy, radius - dx
    bottom, right = picture.shape[2] - radius - dy, picture.shape[3] - radius - dx
    return picture[:, :, top:bottom, left:right]


def shifted(x: Tensor, dy: float, dx: float, mode: str) -> Tensor:
    """Images [n, C, H, W] moved ``dy`` pixels down and ``dx`` to the right.

    Whole pixels are exact. Broken pixels are bilinear means of the whole shifts around them, and
    in mode "circular" the band-limited shift of `fourier_shifted`. In mode "crop" the picture is
    the image enlarged for the radius that this shift needs.

    Raises:
        BadRequest: an unknown mode, or a shift that leaves nothing of the image.
    """
    check_mode(mode)
    _check_rest(x, dy, dx, mode)
    whole = float(dy).is_integer() and float(dx).is_integer()
    if whole and mode in _PADS:
        return _padded(x, int(dy), int(dx), _PADS[mode])
    if mode == "circular":
        return x.roll((int(dy), int(dx)), (-2, -1)) if whole else fourier_shifted(x, dy, dx)
    radius = max(1, math.ceil(max(abs(dy), abs(dx))))
    return between(ground(x, radius, mode), dy, dx, radius)


# Modes that an image alone can be shifted in, by any whole pixels; torch's names for them.
_PADS = {"zero": "constant", "reflect": "reflect"}


def _check_rest(x: Tensor, dy: float, dx: float, mode: str) -> None:
    height, width = x.shape[2:]
    if abs(dy) >= height or abs(dx) >= width:
        raise BadRequest(
            f"a shift by ({dy:g}, {dx:g}) leaves nothing of images of {height}x{width} pixels in "
            f"mode {mode!r}; the largest are {height - 1} and {width - 1}"
        )


def _padded(x: Tensor, dy: int, dx: int, pad: str) -> Tensor:
    pads = (max(dx, 0), max(-dx, 0), max(dy, 0), max(-dy, 0))
    height, width = x.shape[2:]
    padded = functional.pad(x, pads, mode=pad)
    return padded[..., max(-dy, 0) :, max(-dx, 0) :][..., :height, :width]


def between(picture: Tensor, dy: float, dx: float, radius: int) -> Tensor:
    """A window at a broken shift: the bilinear mean of the up to four whole ones around it."""
    top, left = math.floor(dy), math.floor(dx)
    down, right = dy - top, dx - left
    parts = [
        (weight * across, top + lower, left + beside)
        for lower, weight in ((0, 1 - down), (1, down))
        for beside, across in ((0, 1 - right), (1, right))
        if weight * across > 0
    ]
    if len(parts) == 1:
        return window(picture, *parts[0][1:], radius)
    return torch.stack([share * window(picture, y, x, radius) for share, y, x in parts]).sum(0)


def fourier_shifted(x: Tensor, dy: float, dx: float) -> Tensor:
    """The band-limited circular shift: a phase on each frequency, computed in float64.

    Whole pixels come out as a roll (to rounding). The highest frequency of an even side is its own
    mirror image and takes the real part of its phase, so such a shift loses a little energy. Values
    may leave [0, 1] where edges ring; they are not clipped, for clipping is no shift.
    """
    height, width = x.shape[2:]
    spectrum = torch.fft.fft2(x.double())
    phase = _phase(height, dy, x)[:, None] * _phase(width, dx, x)
    moved: Tensor = torch.fft.ifft2(spectrum * phase).real.to(x.dtype)
    return moved


def _phase(extent: int, by: float, x: Tensor) -> Tensor:
    frequency = torch.fft.fftfreq(extent, dtype=torch.float64, device=x.device)
    phase = torch.exp(-2j * math.pi * by * frequency)
    if extent % 2 == 0:
        phase[extent // 2] = phase[extent // 2].real.to(phase.dtype)
    return phase
