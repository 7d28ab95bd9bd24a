"""Whether a choice among values is max pooling, or a rectifier in disguise.

Max pooling chooses among values of one tensor that stand in different places. A maximum over x and
a constant is a ReLU, over x and x / 10 a leaky one, though autograd calls all of them a maximum: so
the graph is followed from the choice back to where its candidates come from. Each has to be an
untouched value of one and the same tensor, or to stand in another channel than those it is held
against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

__all__ = ["CHOICES", "contest", "short"]

_POOLS = {"AdaptiveMaxPool2D", "FractionalMaxPool2D", "MaxPool2D", "MaxPool2DWithIndices"}
_EXTREMES = {"Amax", "Max"}
# These choose where their index depends on the image, and else only rearrange.
_INDEXED = {"Gather", "Index", "IndexSelect", "Take", "TakeAlongDim"}
CHOICES = {*_POOLS, *_EXTREMES, *_INDEXED}
_SAME_ORDER = {"Alias", "Clone", "Reshape", "ReshapeAlias", "UnsafeView", "View"}
_ELSEWHERE = """
    AsStrided Diagonal Flip Permute ReflectionPad2D ReplicationPad2D Roll Select Slice Split
    SplitWithSizes Squeeze T Transpose Unbind Unfold UnsafeSplit Unsqueeze
"""
_MOVES = {*_SAME_ORDER, *_INDEXED, *_ELSEWHERE.split()}
_JOINS = {"Cat", "Stack"}
_VALUEWISE = {"Add", "Div", "MaskedFill", "Mul", "Neg", "Rsub", "Sub", "ToCopy", "Where"}

Edge = tuple[Node | None, int]
Axes = tuple[int, ...]


def short(node: Node) -> str:
    """The name of a step without what autograd puts behind it."""
    return str(node.name()).rstrip("0123456789").removesuffix("Backward")


def contest(node: Node, twins: Sequence[Node], on_path: set[Node]) -> str:
    """Why a choice is no pooling; nothing where it is, or where the step is no choice.

    Args:
        twins: the same step of other images, which tell whether an index moves.
        on_path: the steps that depend on the image, and the image itself.
    """
    name = short(node)
    if name in _INDEXED and not any(_moves(node, twin) for twin in twins):
        return ""
    if name not in CHOICES:
        return ""
    found: set[Edge] = set()
    for edge in node.next_functions[:1]:
        if not _follow(edge, node, on_path, found, tuple(_axes(node))):
            return f"the step {name} of values that are not places of one map"
    return f"the step {name} of values of several steps" if len(found) > 1 else ""


def _moves(node: Node, twin: Node) -> bool:
    for name in ("_saved_index", "_saved_indices"):
        pair = [getattr(one, name, None) for one in (node, twin)]
        if all(isinstance(one, Tensor) for one in pair):
            pair = [(one,) for one in pair]
        for a, b in zip(*(one or () for one in pair), strict=True):
            if isinstance(a, Tensor) and not (a.shape == b.shape and torch.equal(a, b)):
                return True
    return False


def _axes(node: Node) -> Iterator[int]:
    """The axes that candidates are apart in, of the choice's own input; those of a map's places for
    pooling; none where that is not known.
    """
    held = getattr(node, "_saved_dim", None)
    size = _size(node.next_functions[0])
    if short(node) in _POOLS and size is not None:
        yield from (len(size) - 2, len(size) - 1)
    elif held is not None and size is not None:
        for axis in held if isinstance(held, tuple | list) else (held,):
            yield _signed(axis) % len(size)


def _follow(edge: Edge, choice: Node, on_path: set[Node], found: set[Edge], axes: Axes) -> bool:
    """Collect where the candidates come from; False where one of them is not what it was there."""
    # Whether all axes are where they were, nothing was padded, and candidates were put together.
    stack: list[tuple[Edge, bool, bool, bool]] = [(edge, True, True, False)]
    while stack:
        (node, place), in_order, plain, joined = stack.pop()
        if node is None or node not in on_path:
            return False  # a constant is held against the image
        name = short(node)
        ahead = list(node.next_functions)
        if name in _JOINS:
            axis = _signed(getattr(node, "_saved_dim", 0))
            apart = name == "Cat" and axis in (0, 1) and in_order and axes and min(axes) >= 2
            if apart:
                continue  # joined by channels, chosen by places
            stack += [(one, False, False, True) for one in ahead]
        elif name == "ConstantPadNd":
            if not (plain and short(choice) in _POOLS):
                return False
            stack.append((ahead[0], in_order, False, joined))
        elif name in _MOVES:
            if name == "Unsqueeze" and not plain:
                return False
            stack.append((ahead[0], in_order and name in _SAME_ORDER, plain, joined))
        elif name in _VALUEWISE and not joined:
            own = [one for one in ahead if one[0] in on_path]
            if len(own) != 1:
                found.add((node, place))
            elif _size(own[0]) != _size((node, place)):
                return False  # one value became several candidates
            else:
                stack.append((own[0], in_order, plain, joined))
        elif name in ("Expand", "Repeat"):
            return False
        else:
            found.add((node, place))
    return True


def _signed(axis: int) -> int:
    return axis - 2**64 if axis >= 2**63 else axis


def _size(edge: Edge) -> tuple[int, ...] | None:
    """The shape of what a step gives; None where it is not known."""
    node, place = edge
    variable = getattr(node, "variable", None)
    if isinstance(variable, Tensor):
        return tuple(variable.shape)
    held = getattr(node, "_input_metadata", ())
    return tuple(int(x) for x in held[place].shape) if place < len(held) else None
