"""Small networks and images that the attack tests share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from robustlab.backbones import Backbone, load_backbone
from robustlab.data import Data, load_data


@pytest.fixture(scope="session")
def lenet() -> Backbone:
    return load_backbone("lenet5-max@digits")


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits:test", take=40, seed=0)


@pytest.fixture(scope="session")
def near_grey() -> Data:
    """Float images near grey, where the box is far from any small perturbation."""
    rng = np.random.default_rng(0)
    images = (0.5 + 0.02 * rng.standard_normal((60, 1, 8, 8))).astype(np.float32)
    return Data(images, np.zeros(60, dtype=np.int64), classes=2, name="near-grey")


@pytest.fixture(scope="session")
def by_scipy() -> Callable[..., Tensor]:
    """Images turned and moved by scipy in float64: ``(x, angle, dx, dy, padding)``."""
    return _by_scipy


_MODES = {"zeros": "grid-constant", "border": "nearest", "reflect": "reflect"}


def _by_scipy(x: Tensor, angle: float, dx: float, dy: float, padding: str) -> Tensor:
    """Every channel by scipy in float64: rows down, columns to the right."""
    turn = np.deg2rad(angle)
    back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    centre = (np.array(x.shape[2:]) - 1) / 2
    offset = centre - back @ (centre + np.array([dy, dx]))
    moved = [
        [ndimage.affine_transform(c, back, offset, order=1, mode=_MODES[padding]) for c in image]
        for image in x.double().numpy()
    ]
    return torch.tensor(np.array(moved))
