"""Shifts by parts of a pixel, along one line through the unshifted image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.invariance.shift_measures import check_axis
from robustlab.invariance.shifts import between, fourier_shifted, ground

__all__ = ["Line", "line_maps"]

Array = NDArray[Any]

_IMAGES = 32  # at work, at most


@dataclass(frozen=True)
class Line:
    """Answers at the positions -radius, ..., radius in steps of a pixel's parts, of n images.

    Attributes:
        prediction: top-1, int16 [n, L]; probability: of the true class, float32 [n, L].
        changed: P(top-1 changes) in one step, [n]; dp: mean ``|p(k; s) - p(k; s + step)|`` of the
            top-1 k at s, [n].
    """

    prediction: Array
    probability: Array
    changed: Array
    dp: Array
    passes: int


def line_maps(
    backbone: Backbone, data: Data, radius: int, mode: str, axis: str, parts: int, batch: int
) -> Line:
    """Every position of the line on the original network; "circular" shifts by Fourier, others
    bilinearly.
    """
    step = check_axis(axis)
    places = [k / parts for k in range(-radius * parts, radius * parts + 1)]
    n, size = len(data), backbone.input_shape[1:]
    line = Line(
        np.zeros((n, len(places)), np.int16),
        np.zeros((n, len(places)), np.float32),
        np.zeros(n),
        np.zeros(n),
        n * len(places),
    )
    many = max(1, min(_IMAGES, batch))
    for begin in range(0, n, many):
        rows = np.arange(begin, min(begin + many, n))
        x = load_pixels(data, rows, backbone)[0]
        picture = None if mode == "circular" else ground(x, radius, mode, size, begin)

        def moved(by: float, x: Tensor = x, picture: Tensor | None = picture) -> Tensor:
            dy, dx = by * step[0], by * step[1]
            if picture is None:
                return fourier_shifted(x, dy, dx)
            return between(picture, dy, dx, radius)

        with torch.inference_mode():
            logits = [backbone(moved(by).contiguous()).double().cpu() for by in places]
        p = torch.stack(logits, dim=1).softmax(dim=2)
        _write(line, rows, p, torch.tensor(data.labels[rows]))
    return line


def _write(line: Line, rows: Array, p: Tensor, labels: Tensor) -> None:
    top = p.argmax(dim=2)
    line.prediction[rows] = top.numpy()
    line.probability[rows] = p.gather(2, labels.view(-1, 1, 1).expand(*top.shape, 1))[..., 0]
    line.changed[rows] = (top[:, 1:] != top[:, :-1]).double().mean(dim=1)
    here, there = (part.gather(2, top[:, :-1, None]) for part in (p[:, :-1], p[:, 1:]))
    line.dp[rows] = (here - there).abs().mean(dim=(1, 2))
