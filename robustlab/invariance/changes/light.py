"""Contrast, brightness, and light that comes from one side."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from robustlab.randomness import SampleRandom

__all__ = ["brightness", "contrast", "lighting"]


def contrast(x: Tensor, severity: float, rng: SampleRandom) -> Tensor:
    """``m + (1 - severity) (x - m)`` with m the mean of the image's grey levels (ITU-R 601)."""
    changed: Tensor = transforms.adjust_contrast(x, 1.0 - severity)
    return changed


def brightness(x: Tensor, severity: float, rng: SampleRandom) -> Tensor:
    """``x + severity``, cut to [0, 1]."""
    return (x + severity).clamp_(0.0, 1.0)


def lighting(x: Tensor, severity: float, rng: SampleRandom) -> Tensor:
    """``x (1 + severity g)``, cut to [0, 1], with g linear along a seeded direction, from -1 in the
    darkest corner to 1 in the lightest. Black stays black, as under a lamp.
    """
    angle = torch.tensor(rng.uniform((), 0.0, 2 * math.pi), device=x.device).view(-1, 1, 1)
    height, width = x.shape[2:]
    down = torch.linspace(-1, 1, height, dtype=torch.float64, device=x.device)[:, None]
    across = torch.linspace(-1, 1, width, dtype=torch.float64, device=x.device)[None, :]
    gradient = angle.cos() * across + angle.sin() * down
    gradient = gradient / (angle.cos().abs() + angle.sin().abs())
    light = (1 + severity * gradient).to(x.dtype)
    return (x * light[:, None]).clamp_(0.0, 1.0)
