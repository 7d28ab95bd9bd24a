"""Small networks and images that the attack tests share."""

from __future__ import annotations

import numpy as np
import pytest

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
