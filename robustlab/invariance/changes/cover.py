"""What hides an object, and what lies around it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustlab.invariance.changes.background import background
from robustlab.randomness import SampleRandom

__all__ = ["PIECES", "clutter", "occlusion"]

PIECES = 16  # of clutter, at most
_GREY = 0.5
_DRAWS = 5  # numbers drawn for a piece, and one a channel for its colour


def occlusion(x: Tensor, severity: float, rng: SampleRandom) -> Tensor:
    """A square of grey (0.5), its side ``severity`` per cent of the shorter side, rounded to whole
    pixels, wholly inside the image. Squares of one image lie inside each other as they grow.
    """
    height, width = x.shape[2:]
    side = round(severity / 100 * min(height, width))
    place = torch.tensor(rng.uniform((2,)), device=x.device)
    top = (place[:, 0] * (height - side + 1)).floor().view(-1, 1, 1)
    left = (place[:, 1] * (width - side + 1)).floor().view(-1, 1, 1)
    rows = torch.arange(height, device=x.device).view(1, -1, 1)
    columns = torch.arange(width, device=x.device).view(1, 1, -1)
    hidden = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return x.masked_fill(hidden[:, None], _GREY)


def clutter(x: Tensor, severity: float, rng: SampleRandom) -> Tensor:
    """The first ``severity`` of an image's `PIECES` seeded bars, discs and squares.

    They are painted over the background alone where it can be told (see `background`), so that not
    a pixel of the object changes; elsewhere outside the middle half of the area, where photographs
    mostly have their object. Shapes and not pieces of other images: what happens to an image must
    not depend on which images stand beside it.
    """
    height, width = x.shape[2:]
    drawn = torch.tensor(rng.uniform((PIECES, _DRAWS + x.shape[1])), device=x.device)
    ground = background(x)
    free = torch.where(ground.told[:, None, None], ~ground.object, ~_middle_half(x))
    rows = torch.arange(height, dtype=torch.float64, device=x.device).view(1, -1, 1)
    columns = torch.arange(width, dtype=torch.float64, device=x.device).view(1, 1, -1)
    changed = x
    for piece in drawn[:, : int(severity)].unbind(dim=1):
        kind, row, column, angle, size = (v.view(-1, 1, 1) for v in piece[:, :_DRAWS].unbind(1))
        down, across = rows - row * (height - 1), columns - column * (width - 1)
        shape = _inside(kind, down, across, angle * math.pi, size, min(height, width))
        colour = piece[:, _DRAWS:, None, None].to(x.dtype)
        changed = torch.where((shape & free)[:, None], colour, changed)
    return changed


def _inside(
    kind: Tensor, down: Tensor, across: Tensor, angle: Tensor, size: Tensor, side: int
) -> Tensor:
    """Whether pixels lie in a bar, a disc or a square; ``size`` in [0, 1) goes from 1/16 to 1/8 of
    the side as a radius; a bar is as thick as that and three times as long as a disc is wide.
    """
    radius = (1 + size) / 16 * side
    along = angle.cos() * across + angle.sin() * down
    beside = angle.cos() * down - angle.sin() * across
    bar = (along.abs() <= 3 * radius) & (beside.abs() <= radius / 2)
    disc = along**2 + beside**2 <= radius**2
    square = torch.maximum(along.abs(), beside.abs()) <= radius
    return torch.where(kind < 1 / 3, bar, torch.where(kind < 2 / 3, disc, square))


def _middle_half(x: Tensor) -> Tensor:
    """The middle rectangle that holds half of the area, bool [1, H, W]."""
    height, width = x.shape[2:]
    inner = torch.zeros(1, height, width, dtype=torch.bool, device=x.device)
    top, left = (round(extent * (1 - math.sqrt(0.5)) / 2) for extent in (height, width))
    inner[:, top : height - top, left : width - left] = True
    return inner
