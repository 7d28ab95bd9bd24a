"""Layers of the copy that windows run on, by a shorter way to the same values on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from robustlab.backbones.lectures.pooling import Subsample
from robustlab.pooling.geometry import Pair, extended
from robustlab.pooling.maximum import Max
from robustlab.pooling.pool import Pooling

__all__ = [
    "POINTWISE",
    "LeafTracer",
    "along",
    "is_convolution",
    "plain_pool",
    "sliced_pools",
    "square",
    "thinned",
]

POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid),
    *(nn.Softplus, nn.Hardswish, nn.Identity, nn.Dropout, nn.BatchNorm2d),
)


class LeafTracer(fx.Tracer):  # type: ignore[misc, unused-ignore]
    """Looks into no module without children: a layer is a layer, whoever wrote it."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return next(module.children(), None) is None


def square(value: Any) -> int | None:
    """The one number of a size that is equal in both directions; None of any other."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    return int(both[0]) if len(both) == 2 and both[0] == both[1] else None


def is_convolution(module: nn.Module) -> bool:
    """Whether it computes as `torch.nn.Conv2d` does. A subclass may not, but for the lab's own that
    gives gradients a shorter way.
    """
    return type(module) is nn.Conv2d or type(module).__name__ == "ImageConv2d"


# Pooling as slices -----------------------------------------------------------------------------


def _highest(x: Tensor, dim: int, kernel: int, stride: int) -> Tensor:
    """The maximum of windows along the rows (2) or the columns (3) of maps [n, C, H, W]."""
    many = (x.shape[dim] - kernel) // stride + 1
    return reduce(torch.maximum, (_slice(x, dim, at, many, stride) for at in range(kernel)))


def _slice(x: Tensor, dim: int, start: int, many: int, stride: int) -> Tensor:
    one = x.narrow(dim, start, stride * (many - 1) + 1)
    return one[:, :, ::stride] if dim == 2 else one[..., ::stride]


def _first(pool: Subsample) -> int:
    """Which row and column a plain one keeps first."""
    return (pool.kernel_size - 1) // 2


def _kept(sample: Callable[[Tensor], Tensor], rows: int, columns: int) -> tuple[int, int]:
    """How many rows and columns it keeps of a map."""
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
        many = _kept(pool.forward, x.shape[dim], kernel)[0]
        return _slice(x, dim, _first(pool), many, stride)
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


# Convolutions of which a part is kept ----------------------------------------------------------


class ThinnedConv2d(nn.Conv2d):
    """A convolution at the places alone that a `Subsample` behind it keeps."""

    sample: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, H, W] to [n, K, H', W'], as the convolution and the `Subsample` in turn."""
        made = super().forward(x)
        assert not isinstance(self.padding, str)
        sizes = []
        for axis in (0, 1):
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1)
            sizes.append(x.shape[axis + 2] + 2 * self.padding[axis] - reach)
        rows, columns = _kept(self.sample, *sizes)
        return made[..., :rows, :columns]


def thinned(network: nn.Module) -> nn.Module:
    """The network without the values that a `Subsample` behind a convolution would throw away;
    pixel by pixel functions between the two see fewer. Itself where it cannot be traced.
    """
    try:
        traced = fx.GraphModule(network, LeafTracer().trace(network))
    except Exception:  # tracing runs the user's own forward: anything may be raised there
        return network
    layers = dict(traced.named_modules())
    for number, node in enumerate([n for n in traced.graph.nodes if n.op == "call_module"]):
        sample = layers[str(node.target)]
        if type(sample) is not Subsample or plain_pool(sample) == (0, 0) or _first(sample) != 0:
            continue
        source = _behind(node, layers)
        if source is not None:
            traced.add_submodule(f"thinned{number}", _thin(layers[str(source.target)], sample))
            source.target = f"thinned{number}"
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.eval()


def _behind(node: fx.Node, layers: dict[str, nn.Module]) -> fx.Node | None:
    """The convolution of stride 1 that a node thins out, if nobody else sees its values."""
    source: Any = node.args[0]
    while isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1:
        module = layers[str(source.target)]
        if isinstance(module, nn.Conv2d):
            whole = is_convolution(module) and square(module.stride) == 1
            return source if whole and not isinstance(module.padding, str) else None
        if type(module) not in POINTWISE:
            return None
        source = source.args[0]
    return None


def _thin(conv: nn.Module, sample: Subsample) -> ThinnedConv2d:
    made = copy.copy(conv)  # its weights are shared
    made.__class__ = ThinnedConv2d
    assert isinstance(made, ThinnedConv2d)
    made.stride, made.sample = (sample.stride, sample.stride), sample.forward
    return made
