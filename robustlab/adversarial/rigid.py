"""Rotation and translation of images, bilinear, exact where nothing has to be interpolated."""

from __future__ import annotations

import torch
from torch import Tensor

from robustlab.errors import BadRequest, choices

__all__ = ["PADDINGS", "bilinear", "check_padding", "rigid"]

# What lies outside the image: black, its border pixels repeated, or itself mirrored.
PADDINGS = ("zeros", "border", "reflect")

# A source point this close to a pixel is that pixel: cos(90 degrees) is 6e-17 and not 0.
_SNAP = 1e-9
_FAR = 1e6  # further outside than this, a point is as good as here


def rigid(
    x: Tensor,
    angle: Tensor | float,
    dx: Tensor | float,
    dy: Tensor | float,
    padding: str = "zeros",
) -> Tensor:
    """Images turned about their centre, then moved (Engstrom et al. 2019, section 2).

    Every pixel takes the bilinear mean of the four pixels around the point that it comes from. That
    point is computed in float64 and in pixels, not on a scale of -1 to 1, where halves and wholes
    are rounded: so the identity, moves by whole pixels, and quarter turns of square images copy
    pixels to the bit.

    Args:
        x: images [n, C, H, W] in [0, 1].
        angle: degrees, counter-clockwise as one sees it; a number, or [n].
        dx, dy: pixels to the right and down; numbers, or [n].
        padding: outside the image lies black ("zeros"), its border repeated ("border"), or the
            image mirrored, border pixels twice ("reflect").

    Returns:
        Images of the same shape, type and box.

    Raises:
        BadRequest: no such padding.
    """
    check_padding(padding)
    return bilinear(x, *_sources(x, angle, dx, dy), padding)


def bilinear(x: Tensor, across: Tensor, down: Tensor, padding: str = "zeros") -> Tensor:
    """Images [n, C, H, W] read at points ``across`` and ``down``: pixels, float64 [n or 1, H, W].

    A point within 1e-9 of a pixel is that pixel. What lies outside is told by ``padding`` as in
    `rigid`; the result has the type and the box of ``x``.
    """
    height, width = x.shape[2:]
    across, down = (_snapped(point.clamp(-_FAR, _FAR)) for point in (across, down))
    left, top = across.floor(), down.floor()
    pixels, moved = x.flatten(2), torch.zeros_like(x).flatten(2)
    for lower in (0, 1):
        for right in (0, 1):
            row, row_inside = _place(top + lower, height, padding)
            column, column_inside = _place(left + right, width, padding)
            weight = (1 - (down - top - lower).abs()) * (1 - (across - left - right).abs())
            weight = (weight * row_inside * column_inside).flatten(1).to(x.dtype)
            index = (row * width + column).flatten(1)[:, None].expand(moved.shape)
            moved += weight[:, None] * pixels.gather(2, index)
    return moved.view_as(x).clamp_(0.0, 1.0)  # rounded weights may add up to 1 + 6e-8


def check_padding(padding: str) -> None:
    """Refuse what is not one of `PADDINGS`."""
    if padding not in PADDINGS:
        raise BadRequest(f"unknown padding {padding!r}{choices(padding, PADDINGS)}")


def _sources(x: Tensor, *pose: Tensor | float) -> tuple[Tensor, Tensor]:
    """Where each pixel comes from, across and down in pixels, float64 [n or 1, H, W]."""
    angle, dx, dy = (
        torch.as_tensor(one, dtype=torch.float64, device=x.device).reshape(-1, 1, 1) for one in pose
    )
    height, width = x.shape[2:]
    turn = torch.deg2rad(angle)
    columns, rows = torch.arange(width, device=x.device), torch.arange(height, device=x.device)
    across = columns - (width - 1) / 2 - dx  # from the centre, moved back
    down = rows[:, None] - (height - 1) / 2 - dy
    return (
        turn.cos() * across - turn.sin() * down + (width - 1) / 2,
        turn.sin() * across + turn.cos() * down + (height - 1) / 2,
    )


def _snapped(point: Tensor) -> Tensor:
    nearest = point.round()
    return torch.where((point - nearest).abs() < _SNAP, nearest, point)


def _place(place: Tensor, extent: int, padding: str) -> tuple[Tensor, Tensor]:
    """The pixel at ``place`` along one side of ``extent`` pixels, and whether it counts."""
    inside = torch.ones_like(place, dtype=torch.bool)
    if padding == "zeros":
        inside = (place >= 0) & (place < extent)
    if padding == "reflect":
        place = place.remainder(2 * extent)
        place = torch.where(place >= extent, 2 * extent - 1 - place, place)
    return place.clamp(0, extent - 1).long(), inside
