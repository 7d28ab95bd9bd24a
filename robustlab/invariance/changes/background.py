"""Where the background of an image can be told: its border ring has one colour, as in digits.

Decided image by image, so that it depends on no other image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Ground", "background"]

# How far a pixel may be from the background's colour and still be background: two 8-bit levels.
_TOLERANCE = 2 / 255 + 1e-6


@dataclass(frozen=True)
class Ground:
    """The backgrounds of n images.

    Attributes:
        told: bool [n], whether the border ring has one colour and something lies on it.
        colour: [n, C], the median of the ring; of no meaning where not told.
        distance: [n, H, W], the largest difference from that colour over the channels.
        object: bool [n, H, W], pixels that are not background; all where it is not told.
    """

    told: Tensor
    colour: Tensor
    distance: Tensor
    object: Tensor


def background(x: Tensor) -> Ground:
    """The background of images [n, C, H, W] in [0, 1], where it can be told."""
    ring = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, :, 0], x[:, :, :, -1]], dim=2)
    colour = ring.median(dim=2).values
    even = ((ring - colour[:, :, None]).abs() <= _TOLERANCE).flatten(1).all(dim=1)
    distance = (x - colour[:, :, None, None]).abs().amax(dim=1)
    apart = distance > _TOLERANCE
    told = even & apart.flatten(1).any(dim=1)
    return Ground(told, colour, distance, apart | ~told[:, None, None])
