"""Which grid each map of a network is sampled on: what must share a choice, what must spread.

Both are followed through the graph. Maps that meet (are added, multiplied, concatenated) lie on one
grid; numbers without a place, as those behind a global pool, meet anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

from robustlab.backbones.lectures.normalisation import ResponseNorm
from robustlab.errors import BadRequest
from robustlab.pooling.geometry import Pair
from robustlab.pooling.reading import Read
from robustlab.pooling.tracing import Walk

__all__ = ["groups", "spreads"]


@dataclass
class _Grid:
    """A grid: chosen by ``sites`` that must agree, out of the grid ``parent``."""

    parent: _Grid | None = None
    stride: Pair = (1, 1)
    sites: list[fx.Node] = field(default_factory=list)
    joined: _Grid | None = None

    def found(self) -> _Grid:
        return self if self.joined is None else self.joined.found()


def groups(walk: Walk, sites: Collection[fx.Node]) -> list[list[fx.Node]]:
    """Sites whose outputs meet, in the order in which they run; of those that meet none, alone.

    Raises:
        BadRequest: branches meet that are sampled a different number of times.
    """
    at: dict[fx.Node, _Grid] = {}
    start = _Grid()
    for node in walk.graph.nodes:
        grid = start if node.op == "placeholder" else _meeting(node, at)
        if grid is None or _placeless(node, walk):
            continue
        if node in sites:
            read = _read(walk, node)
            stride = read.geometry.stride if read.geometry else (1, 1)
            grid = _Grid(grid, stride, [node])
        at[node] = grid
    order = {node: place for place, node in enumerate(walk.graph.nodes)}
    ends = {id(grid.found()): grid.found() for grid in at.values()}.values()
    return [sorted(grid.sites, key=order.__getitem__) for grid in ends if grid.sites]


def _meeting(node: fx.Node, at: Mapping[fx.Node, _Grid]) -> _Grid | None:
    grids = [at[one].found() for one in node.all_input_nodes if one in at]
    for other in grids[1:]:
        _join(grids[0].found(), other.found(), node)
    return grids[0].found() if grids else None


def _join(one: _Grid, other: _Grid, node: fx.Node) -> None:
    if one is other:
        return
    alike = one.parent is not None and other.parent is not None and one.stride == other.stride
    if not alike or one.parent.found() is not other.parent.found():  # type: ignore[union-attr]
        raise BadRequest(
            f"branches that meet in {node.name!r} are sampled a different number of times, so that "
            "no choice of components fits both; take a kind without a choice, as blur3"
        )
    one.sites += other.sites
    other.joined = one


def _placeless(node: fx.Node, walk: Walk) -> bool:
    """Numbers without a place: of the whole map, or no map at all."""
    step = walk.steps.get(node)
    whole = step is not None and step.read is not None and step.read.what == "global"
    return whole or len(walk.shapes.get(node, ())) < 3


def _read(walk: Walk, node: fx.Node) -> Read:
    read = walk.steps[node].read
    assert read is not None
    return read


# Dense maps ---------------------------------------------------------------------------------------

_POINTWISE = (
    *(nn.BatchNorm2d, nn.LayerNorm, nn.LocalResponseNorm, ResponseNorm, nn.Identity, nn.Linear),
    *(nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.Softmax2d),
)
_ACTIVATIONS = "torch.nn.modules.activation"
_WORDS = """
    add sub mul truediv div neg iadd imul relu relu_ relu6 hardtanh hardtanh_ sigmoid tanh silu gelu
    elu leaky_relu hardswish hardsigmoid softplus clamp clamp_min dropout dropout2d stochastic_depth
    cat concat permute contiguous clone layer_norm linear batch_norm exp pow square sqrt rsqrt
    detach to float size getattr chunk split getitem
"""
_FUNCTIONS = frozenset(_WORDS.split())


def spreads(root: nn.Module, walk: Walk) -> dict[fx.Node, Pair]:
    """Of each node whose input is a map, how far apart the values of one grid lie in it.

    Raises:
        BadRequest: an operation on a spread map that looks at places and is no convolution or
            pooling.
    """
    at: dict[fx.Node, Pair] = {}
    given: dict[fx.Node, Pair] = {}
    for node in walk.graph.nodes:
        met = {at[one] for one in node.all_input_nodes if one in at}
        if len(met) > 1:
            raise BadRequest(f"maps of different density meet in {node.name!r}")
        spread = met.pop() if met else (1, 1)
        given[node] = spread
        step = walk.steps.get(node)
        read = step.read if step is not None else None
        if spread != (1, 1) and read is None and node.op != "output":
            _check_pointwise(root, node)
        if node.op == "get_attr" or (node.op != "placeholder" and _placeless(node, walk)):
            continue
        if read is not None and read.geometry is not None:
            stride = read.geometry.stride
            spread = (spread[0] * stride[0], spread[1] * stride[1])
        if node.op != "output":
            at[node] = spread
    return given


def _check_pointwise(root: nn.Module, node: fx.Node) -> None:
    if node.op == "call_module":
        layer = root.get_submodule(str(node.target))
        activation = type(layer).__module__ == _ACTIVATIONS
        known = isinstance(layer, _POINTWISE) or (
            activation and not isinstance(layer, nn.MultiheadAttention)
        )
        name = type(layer).__name__
    else:
        name = str(getattr(node.target, "__name__", node.target)).removeprefix("_")
        known = name in _FUNCTIONS or (name == "pad" and not _spatial(node.args, node.kwargs))
    if not known:
        raise BadRequest(
            f"{name} in {node.name!r} looks at places, and is not known on a dense map; take "
            "another kind than 'dense'"
        )


def _spatial(args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of ``pad`` pads rows or columns."""
    widths = kwargs.get("pad", args[1] if len(args) > 1 else ())
    return any(widths[:4])


def chains(found: list[list[fx.Node]]) -> Iterator[list[fx.Node]]:
    """Groups of more than one."""
    return (one for one in found if len(one) > 1)
