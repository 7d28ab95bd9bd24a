"""What overlapping windows share: the first layers, computed once on the picture around an image.

All shifts of an image are windows of one picture (see `shifts`), and a layer that neither pads nor
looks at the whole map gives each window a part of what it makes of the picture. A layer of stride t
is taken from each of its t x t starting points, so that windows at any pixel find their own grid
("shift and stitch", Long et al. 2015, section 3.2). From the first layer that pads, flattens or
branches on, windows go their own way, in batches. What changes is rounding.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from robustlab.invariance.shift_layers import POINTWISE, LeafTracer, is_convolution, square
from robustlab.invariance.shift_pools import SlicedMaxPool2d

__all__ = ["Shared", "rest_of", "share", "step_of", "windows"]

_FUNCTIONS = (torch.relu, functional.relu, torch.tanh, torch.sigmoid)
_ARITHMETIC = (operator.sub, operator.truediv, operator.add, operator.mul)

Step = Callable[[Tensor], Tensor]


@dataclass
class Shared:
    """A network cut in two: ``steps`` on the picture, ``rest`` on the windows of what they make.

    Attributes:
        size: (height, width) of a window where the cut is.
        grid: pixels between two values of it.
    """

    rest: nn.Module
    size: tuple[int, int]
    steps: list[tuple[int, Step]] = field(default_factory=list)
    grid: int = 1

    def features(self, picture: Tensor) -> Tensor:
        """Of a picture [n, C, H + 2r, W + 2r], what windows share: [n, grid, grid, c, h, w], the
        second and third axis by the window's first pixel modulo ``grid``.
        """
        maps = picture[:, None, None]
        for step, call in self.steps:
            maps = _stepped(maps, step, call)
        return maps

    def cut(self, features: Tensor, image: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """What ``rest`` takes of each window; see `windows`."""
        return windows(features, self.size, image, top, left)


def _stepped(maps: Tensor, step: int, call: Step) -> Tensor:
    n, phases = maps.shape[:2]
    if step == 1:
        made = call(maps.flatten(0, 2))
        return made.view(n, phases, phases, *made.shape[1:])
    height, width = maps.shape[-2:]
    flat = functional.pad(maps.flatten(0, 2), (0, step - 1, 0, step - 1))
    starts = [
        call(flat[:, :, a : a + height, b : b + width]) for a in range(step) for b in range(step)
    ]
    made = torch.stack(starts).view(step, step, n, phases, phases, *starts[0].shape[1:])
    many = step * phases
    return made.permute(2, 0, 3, 1, 4, 5, 6, 7).reshape(n, many, many, *made.shape[5:])


def windows(
    features: Tensor, size: tuple[int, int], image: Tensor, top: Tensor, left: Tensor
) -> Tensor:
    """Windows [m, c, height, width] of `Shared.features`: the image, and the first pixel of each
    window in the picture, all int64 [m].
    """
    grid = features.shape[1]
    view = features.unfold(4, size[0], 1).unfold(5, size[1], 1).permute(0, 1, 2, 4, 5, 3, 6, 7)
    found: Tensor = view[image, top % grid, left % grid, top // grid, left // grid]
    return found


def share(network: nn.Module, size: tuple[int, int], radius: int) -> Shared | None:
    """Cut a network where sharing ends; None where it cannot be traced or nothing is shared.

    Args:
        network: in evaluation mode, from images [n, C, H, W] to logits.
        size: (height, width) of an image.
        radius: of the shifts; sharing stops where it would cost more than it saves.
    """
    try:
        traced = fx.GraphModule(network, LeafTracer().trace(network))
    except Exception:  # tracing runs the user's own forward: anything may be raised there
        return None
    nodes = [n for n in traced.graph.nodes if n.op != "get_attr"]
    cut, found = nodes[0], Shared(nn.Identity(), size)
    worth = False
    for node in nodes[1:]:
        if len(cut.users) != 1 or node not in cut.users:
            break
        step = step_of(traced, node, cut, found.size)
        if step is None:
            break
        stride, call, after = step
        grid = found.grid * stride
        whole = [2 * radius + grid * side for side in after]
        if whole[0] * whole[1] > (2 * radius + 1) ** 2 * after[0] * after[1]:
            break
        worth |= after != found.size
        found.steps.append((stride, call))
        found.size, found.grid, cut = after, grid, node
    if not worth:
        return None
    found.rest = rest_of(traced, cut)
    return found


def rest_of(traced: fx.GraphModule, cut: fx.Node) -> nn.Module:
    """What comes after ``cut``, as a module of its own."""
    graph, after = fx.Graph(), False
    known: dict[fx.Node, fx.Node] = {}
    for node in traced.graph.nodes:
        if node.op == "get_attr" or after:
            known[node] = graph.node_copy(node, lambda one: known[one])
        if node is cut:
            known[node], after = graph.placeholder("maps"), True
    rest = fx.GraphModule(traced, graph).eval()
    rest.graph.eliminate_dead_code()
    rest.recompile()
    return rest


def step_of(
    traced: fx.GraphModule, node: fx.Node, before: fx.Node, size: tuple[int, int]
) -> tuple[int, Step, tuple[int, int]] | None:
    """The stride of a node, the node as a function of maps, the window's size after it."""
    if node.op == "call_module" and node.args == (before,) and not node.kwargs:
        return _module(traced.get_submodule(str(node.target)), size)
    if node.op == "call_function" and node.target in _FUNCTIONS and node.args == (before,):
        function: Any = node.target
        return 1, lambda maps: function(maps), size
    if node.op == "call_function" and node.target in _ARITHMETIC and node.args[0] is before:
        operation: Any = node.target
        other = _constant(traced, node.args[1])
        if other is not None and not node.kwargs:
            return 1, lambda maps: operation(maps, other), size
    return None


def _constant(traced: fx.GraphModule, value: Any) -> Any:
    """A number, or a tensor of the network that is the same at every pixel; else None."""
    if isinstance(value, int | float):
        return value
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    found: Any = traced
    for name in str(value.target).split("."):
        found = getattr(found, name)
    plain = isinstance(found, Tensor) and (found.ndim == 0 or found.shape[-2:] == (1, 1))
    return found if plain else None


def _module(module: nn.Module, size: tuple[int, int]) -> tuple[int, Step, tuple[int, int]] | None:
    if type(module) in POINTWISE:
        return 1, module, size
    if is_convolution(module):
        return _sliding(module, size, square(module.dilation))
    if type(module) in (nn.MaxPool2d, SlicedMaxPool2d) and not module.return_indices:
        return _sliding(module, size, square(module.dilation))
    if type(module) is nn.AvgPool2d:
        return _sliding(module, size, 1)
    return None


def _sliding(
    module: Any, size: tuple[int, int], dilation: int | None
) -> tuple[int, Step, tuple[int, int]] | None:
    """A layer that moves a window without padding it."""
    kernel, stride = square(module.kernel_size), square(module.stride)
    padding = module.padding if isinstance(module.padding, str) else square(module.padding)
    plain = padding in (0, "valid") and not getattr(module, "ceil_mode", False)
    if not plain or kernel is None or stride is None or dilation is None:
        return None
    reach = dilation * (kernel - 1) + 1
    after = (size[0] - reach) // stride + 1, (size[1] - reach) // stride + 1
    return (stride, module, after) if min(after) > 0 else None
