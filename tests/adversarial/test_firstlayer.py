"""The gradient by the image through the first convolution: oneDNN's own, by a shorter way."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from robustlab.adversarial import firstlayer
from robustlab.adversarial.fastpath import search_copy
from robustlab.adversarial.firstlayer import ImageConv2d, with_image_gradients

SHAPES: list[dict[str, Any]] = [
    {"in_channels": 1, "kernel_size": 5},
    {"in_channels": 1, "kernel_size": 5, "padding": 2},
    {"in_channels": 3, "kernel_size": 7, "stride": 2, "padding": 3},
    {"in_channels": 3, "kernel_size": (3, 5), "stride": (2, 1), "padding": (0, 2), "bias": False},
    {"in_channels": 3, "kernel_size": 4, "stride": 4},
    {"in_channels": 4, "kernel_size": 3, "padding": 4},
]
LEFT: list[dict[str, Any]] = [
    {"in_channels": 8, "kernel_size": 3},
    {"in_channels": 4, "kernel_size": 3, "groups": 2},
    {"in_channels": 3, "kernel_size": 3, "dilation": 2},
    {"in_channels": 3, "kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"in_channels": 3, "kernel_size": 3, "padding": "same"},
]


def _network(**params: Any) -> nn.Sequential:
    torch.manual_seed(0)
    first = nn.Conv2d(out_channels=6, **params)
    head = [nn.ReLU(), nn.Conv2d(6, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    return nn.Sequential(first, *head).eval().requires_grad_(False)


def _gradient(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(network(x).square().sum(), x)[0]


@pytest.mark.parametrize("params", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_the_same(params: Any, dtype: Any, layout: Any) -> None:
    plain = _network(**params).to(dtype)
    shorter = copy.deepcopy(plain).to(memory_format=layout)
    assert with_image_gradients(shorter)
    assert isinstance(shorter[0], ImageConv2d)
    assert type(shorter[2]) is nn.Conv2d
    x = torch.rand(3, params["in_channels"], 21, 18, dtype=dtype)
    exact = 1e-5 if dtype == torch.float32 else 1e-12
    for images in (x, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(
            _gradient(shorter, images), _gradient(plain, images), rtol=exact, atol=exact
        )
        torch.testing.assert_close(shorter(images), plain(images), rtol=exact, atol=exact)


@pytest.mark.parametrize("params", LEFT, ids=str)
def test_other_convolutions_stay_as_they_are(params: Any) -> None:
    network = _network(**params)
    assert not with_image_gradients(network)
    assert type(network[0]) is nn.Conv2d


def test_weights_that_learn_still_learn() -> None:
    network = _network(in_channels=1, kernel_size=3)
    with_image_gradients(network)
    network.requires_grad_(True)
    network(torch.rand(2, 1, 9, 9)).sum().backward()
    assert isinstance(network[0], ImageConv2d)
    assert network[0].weight.grad is not None


@pytest.mark.parametrize("wrong", ["a sign", "an error"])
def test_a_gradient_that_differs_is_left_out(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutants: a build of torch whose kernel answers something else, or has none."""
    module = _network(in_channels=1, kernel_size=3)
    assert isinstance(search_copy(module, (1, 9, 9))[0].get_submodule("0"), ImageConv2d)
    assert type(module[0]) is nn.Conv2d  # a copy, not the network itself
    true = firstlayer._Convolve.backward

    def astray(ctx: Any, gradient: torch.Tensor) -> Any:
        if wrong == "an error":
            raise RuntimeError("no such kernel")
        return (-true(ctx, gradient)[0], None, None, None, None)

    monkeypatch.setattr(firstlayer._Convolve, "backward", staticmethod(astray))
    assert type(search_copy(module, (1, 9, 9))[0].get_submodule("0")) is nn.Conv2d
