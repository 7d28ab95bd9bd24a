"""Small networks and images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone
from robustlab.data import Data


def network(channels=1, size=12, seed=0, stride=1, dtype=torch.float32):
    torch.manual_seed(seed)
    layers = (nn.Conv2d(channels, 4, 3, stride=stride), nn.ReLU(), nn.MaxPool2d(2))
    deep = (nn.Conv2d(4, 6, 2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    module = nn.Sequential(*layers, *deep, nn.Linear(24, 3)).eval().to(dtype)
    statistics = {"mean": [0.4] * channels, "std": [0.3] * channels}
    return Backbone(module, input_shape=(channels, size, size), classes=3, **statistics)


def images(n=6, channels=1, size=12, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), np.uint8)
    return Data(pixels, np.arange(n) % 3, classes=3)


@pytest.fixture
def tiny():
    """``tiny(channels=3)``: a network; `data` its images."""
    return network


@pytest.fixture
def some():
    """``some(6, channels=3)``: images."""
    return images


def state(backbone):
    """What a view must leave as it was: hooks, mode, gradients, weights."""
    modules = list(backbone.network.modules())
    return (
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
        [len(m._backward_hooks) for m in modules],
        [m.training for m in modules],
        [(p.requires_grad, p.grad) for p in backbone.network.parameters()],
        {k: v.tolist() for k, v in backbone.network.state_dict().items()},
        torch.is_grad_enabled(),
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.deterministic,
    )


@pytest.fixture
def standing():
    """A function from a backbone to what a view must leave as it was."""
    return state
