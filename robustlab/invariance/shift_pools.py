"""Pooling as slices of the map: the same values, faster on a CPU, and one axis after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustlab.backbones.lectures.pooling import Subsample
from robustlab.invariance.shift_layers import square
from robustlab.pooling.geometry import Pair, extended
from robustlab.pooling.maximum import Max
from robustlab.pooling.pool import Pooling

__all__ = ["SlicedMax", "SlicedMaxPool2d", "along", "first", "kept", "plain_pool", "sliced_pools"]


def _highest(x: Tensor, dim: int, kernel: int, stride: int) -> Tensor:
    """The maximum of windows along the rows (2) or the columns (3) of maps [n, C, H, W]."""
    many = (x.shape[dim] - kernel) // stride + 1
    return reduce(torch.maximum, (_slice(x, dim, at, many, stride) for at in range(kernel)))


def _slice(x: Tensor, dim: int, start: int, many: int, stride: int) -> Tensor:
    one = x.narrow(dim, start, stride * (many - 1) + 1)
    return one[:, :, ::stride] if dim == 2 else one[..., ::stride]


def first(pool: Subsample) -> int:
    """Which row and column it keeps first, without padding."""
    return (pool.kernel_size - 1) // 2


def kept(sample: Callable[[Tensor], Tensor], rows: int, columns: int) -> tuple[int, int]:
    """How many rows and columns a `Subsample` keeps of a map.

    It is asked, on a tensor without values: a method that tells would change its source, and with
    that the fingerprints of all networks that have one.
    """
    height, width = sample(torch.empty(rows, columns, device="meta")).shape
    return height, width


class SlicedMaxPool2d(nn.MaxPool2d):
    """Max pooling as the maximum of slices: the same values, without the places of the maxima,
    which torch's kernel finds too and which cost it most of its time on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, H, W] to [n, C, H', W']."""
        return along(self, along(self, x, 2), 3)


@dataclass(frozen=True)
class SlicedMax(Max):
    """As `SlicedMaxPool2d`, of the lab's own pooling."""

    def __call__(self, x: Tensor, rows: Pair, columns: Pair, padding: str, **grid: Any) -> Tensor:
        if grid["dilation"] != (1, 1):
            return super().__call__(x, rows, columns, padding, **grid)
        x = extended(x, rows, columns, padding, fill=float("-inf"))
        for dim in (2, 3):
            x = _highest(x, dim, grid["kernel"][dim - 2], grid["stride"][dim - 2])
        return x[..., : grid["count"][0], : grid["count"][1]]


def plain_pool(module: nn.Module) -> tuple[int, int]:
    """Kernel and stride of a square pooling without padding, which can be done along one axis after
    the other; (0, 0) of anything else.
    """
    if type(module) is nn.AvgPool2d:
        plain = square(module.padding) == 0 and not (module.ceil_mode or module.divisor_override)
    elif type(module) in (nn.MaxPool2d, SlicedMaxPool2d):
        assert isinstance(module, nn.MaxPool2d)
        plain = square(module.padding) == 0 and square(module.dilation) == 1
        plain = plain and not (module.ceil_mode or module.return_indices)
    elif type(module) is Subsample:
        plain = module.padding == 0 and not module.ceil_mode
    else:
        return 0, 0
    kernel, stride = square(module.kernel_size), square(module.stride)
    return (kernel, stride) if plain and kernel and stride else (0, 0)


def along(pool: nn.Module, x: Tensor, dim: int) -> Tensor:
    """A `plain_pool` along the rows (2) or the columns (3) of maps [n, C, H, W] alone."""
    kernel, stride = plain_pool(pool)
    if isinstance(pool, Subsample):
        many = kept(pool.forward, x.shape[dim], kernel)[0]
        return _slice(x, dim, first(pool), many, stride)
    if isinstance(pool, nn.AvgPool2d):
        both = ((kernel, 1), (stride, 1)) if dim == 2 else ((1, kernel), (1, stride))
        return functional.avg_pool2d(x, *both)
    return _highest(x, dim, kernel, stride)


def sliced_pools(network: nn.Module) -> nn.Module:
    """Let max pooling run as the maximum of slices, in place, on a CPU."""
    for module in network.modules():
        kernel, stride = plain_pool(module)
        if type(module) is nn.MaxPool2d and kernel:
            module.kernel_size, module.stride = kernel, stride
            module.__class__ = SlicedMaxPool2d
        if type(module) is Pooling and type(module.window) is Max:
            module.window = SlicedMax()
    return network
