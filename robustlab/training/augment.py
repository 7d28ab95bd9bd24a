"""Random shift, rotation, scale and mirroring of training images, from an explicit generator.

By hand rather than torchvision.transforms.v2, which draws from the global generator only and one
image at a time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from robustlab.training.recipe import Augment

__all__ = ["augmented", "mirrored", "warped"]


def augmented(images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Each image under an affine map of its own, bilinear, black beyond the edge.

    Args:
        images: float [n, C, H, W], H = W (a rotation would shear other grids).
        augment: the largest shift (pixels), rotation (degrees) and change of scale (share).
        generator: four numbers an image are drawn from it, whatever ``augment`` says, so that
            recipes that differ in it keep the same order of images.
    """
    drawn = torch.rand(len(images), 4, generator=generator)
    if not (augment.shift or augment.rotate or augment.scale):
        return images
    draws = (2 * drawn - 1).to(images.device)
    angle = draws[:, 0] * math.radians(augment.rotate)
    return warped(images, angle, 1 + draws[:, 1] * augment.scale, draws[:, 2:] * augment.shift)


def mirrored(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability ``share``; one number an image is drawn.

    Args:
        images: float [n, C, H, W].
    """
    turned = torch.rand(len(images), generator=generator) < share
    return torch.where(turned.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)


def warped(images: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each image scaled and turned about its centre, then moved; bilinear, black beyond the edge.

    Args:
        images: float [n, C, H, W], H = W.
        angle: radians [n], clockwise as the picture is seen.
        scale: factors [n] of the drawn size.
        shift: pixels [n, 2], to the right and down.
    """
    width = images.shape[3]
    # affine_grid maps places of the output (-1 to 1) to places of the input: everything inverse.
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    right, down = (shift * 2 / width).unbind(1)
    x = torch.stack([cos, sin, -(cos * right + sin * down)], dim=1)
    y = torch.stack([-sin, cos, sin * right - cos * down], dim=1)
    grid = functional.affine_grid(torch.stack([x, y], 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
