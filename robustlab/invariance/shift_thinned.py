"""Convolutions at the places alone that a stride behind them keeps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn

from robustlab.backbones.lectures.pooling import Subsample
from robustlab.invariance.shift_layers import POINTWISE, LeafTracer, is_convolution, square
from robustlab.invariance.shift_pools import first, kept, plain_pool

__all__ = ["ThinnedConv2d", "thinned"]


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
        rows, columns = kept(self.sample, *sizes)
        return made[..., :rows, :columns]


def thinned(network: nn.Module) -> nn.Module:
    """The network without the values that a `Subsample` behind a convolution would throw away;
    pixel by pixel functions between the two see fewer. Itself where there are none, or where it
    cannot be traced: a trace may leave out what a forward does beside its layers.
    """
    try:
        traced = fx.GraphModule(network, LeafTracer().trace(network))
    except Exception:  # tracing runs the user's own forward: anything may be raised there
        return network
    nodes = [n for n in traced.graph.nodes if n.op == "call_module"]
    done = [_thin(traced, node, f"thinned{number}") for number, node in enumerate(nodes)]
    if not any(done):
        return network
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.eval()


def _thin(traced: fx.GraphModule, node: fx.Node, name: str) -> bool:
    """Let the convolution in front of a `Subsample` do its work, if there is one."""
    sample = traced.get_submodule(str(node.target))
    if type(sample) is not Subsample or plain_pool(sample) == (0, 0) or first(sample) != 0:
        return False
    front, source = _only_input(node), _convolution(traced, node)
    if front is None or source is None:
        return False
    made = copy.copy(traced.get_submodule(str(source.target)))  # its weights are shared
    made.__class__ = ThinnedConv2d
    assert isinstance(made, ThinnedConv2d)
    made.stride, made.sample = (sample.stride, sample.stride), sample.forward
    traced.add_submodule(name, made)
    source.target = name
    node.replace_all_uses_with(front)
    traced.graph.erase_node(node)
    return True


def _convolution(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The convolution of stride 1 in front of a node, if nobody else sees its values."""
    while (source := _only_input(node)) is not None and len(source.users) == 1:
        if source.op != "call_module" or _only_input(source) is None:
            return None
        module = traced.get_submodule(str(source.target))
        if isinstance(module, nn.Conv2d):
            whole = is_convolution(module) and square(module.stride) == 1
            return source if whole and not isinstance(module.padding, str) else None
        if type(module) not in POINTWISE:
            return None
        node = source
    return None


def _only_input(node: fx.Node) -> fx.Node | None:
    """What a layer is called with, if with that alone."""
    source: Any = node.args[0] if len(node.args) == 1 and not node.kwargs else None
    return source if isinstance(source, fx.Node) else None
