"""Turned, magnified, bent: bilinear in float64 coordinates, exact where pixels fall on pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustlab.adversarial.rigid import bilinear, rigid
from robustlab.randomness import SampleRandom

__all__ = ["SMOOTHNESS", "deformation", "rotation", "scale"]

# Standard deviation of the Gaussian that smooths a field of displacements, of the shorter side:
# 4 of 29 pixels in Simard et al. (2003).
SMOOTHNESS = 4 / 29


def rotation(x: Tensor, severity: float, rng: SampleRandom, padding: str = "zeros") -> Tensor:
    """Turned about the centre by ``severity`` degrees, counter-clockwise as one sees it."""
    return rigid(x, severity, 0.0, 0.0, padding)


def scale(x: Tensor, severity: float, rng: SampleRandom, padding: str = "zeros") -> Tensor:
    """Magnified about the centre by ``2 ** severity``; nothing is smoothed beforehand, which keeps
    the image free of aliasing down to about half its size.
    """
    rows, columns = _middle(x)
    factor = 2.0**severity
    height, width = x.shape[2:]
    across = (columns / factor + (width - 1) / 2).expand(1, height, width)
    down = (rows / factor + (height - 1) / 2).expand(1, height, width)
    return bilinear(x, across, down, padding)


def deformation(x: Tensor, severity: float, rng: SampleRandom, padding: str = "zeros") -> Tensor:
    """Bent by a smooth random field of displacements (Simard et al. 2003, section 2).

    Normal noise is smoothed by a Gaussian of 4/29 of the shorter side (periodically, so that the
    field is alike everywhere), and each image's field is scaled to a root mean square length of
    ``severity`` per cent of the shorter side.
    """
    from scipy.ndimage import gaussian_filter

    height, width = x.shape[2:]
    side = min(height, width)
    drawn = rng.normal((2, height, width))
    smooth = gaussian_filter(drawn, SMOOTHNESS * side, mode="wrap", axes=(2, 3))
    length = np.sqrt((smooth**2).sum(axis=1).mean(axis=(1, 2)))
    field = torch.tensor(smooth * (severity / 100 * side / length)[:, None, None, None])
    field = field.to(x.device)
    rows, columns = _middle(x)
    across = columns + (width - 1) / 2 + field[:, 0]
    down = rows + (height - 1) / 2 + field[:, 1]
    return bilinear(x, across, down, padding)


def _middle(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [1, H, 1] and columns [1, 1, W] counted from the centre, float64."""
    height, width = x.shape[2:]
    rows = torch.arange(height, dtype=torch.float64, device=x.device) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64, device=x.device) - (width - 1) / 2
    return rows[None, :, None], columns[None, None, :]
