"""Gaussian blur and Gaussian noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from robustlab.randomness import SampleRandom

__all__ = ["blur", "noise"]

_REACH = 4  # standard deviations at which the Gaussian is cut


def blur(x: Tensor, severity: float, rng: SampleRandom) -> Tensor:
    """Convolved with a Gaussian of ``severity`` per cent of the shorter side, cut at four standard
    deviations; outside the image lies its mirror image, the border pixel once.
    """
    side = min(x.shape[2:])
    sigma = severity / 100 * side
    reach = min(math.ceil(_REACH * sigma), side - 1)
    if reach == 0:
        return x
    smooth = x
    for kernel in ([2 * reach + 1, 1], [1, 2 * reach + 1]):  # along the rows, then the columns
        smooth = transforms.gaussian_blur(smooth, kernel, [sigma] * 2)
    return smooth.clamp(0.0, 1.0)


def noise(x: Tensor, severity: float, rng: SampleRandom) -> Tensor:
    """``x + severity z`` with z standard normal in every pixel and channel, cut to [0, 1]."""
    drawn = torch.tensor(rng.normal(tuple(x.shape[1:]))).to(x.device, x.dtype)
    return (x + severity * drawn).clamp_(0.0, 1.0)
