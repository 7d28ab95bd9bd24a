"""Whether every step between a unit and the image is one that a deconvnet knows how to undo.

Read from the graph that autograd kept of a forward pass, so that it does not matter who called a
function or whether an exchange was forgotten: a step that is neither linear, nor a switch, nor an
exchanged rectifier refuses the whole. Factors and masks that depend on the image make a product
non-linear; they are told by comparing the graphs of several images. What a network keeps from
autograd (``detach``) is in no graph and cannot be told.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

from robustlab.errors import BadRequest
from robustlab.filters.contests import CHOICES, contest, short
from robustlab.filters.rectified import Held, Rectify, Rule

__all__ = ["check_graph", "path"]

# What a step may be, by the names of autograd without "Backward" and number.
_LINEAR = """
    AdaptiveAvgPool2D AdaptiveAvgPool1D Add Alias AsStrided AvgPool2D AvgPool1D Cat Clone
    ConstantPadNd Copy Cumsum Diagonal Expand FftC2C FftC2R FftR2C Flip Im2Col Col2Im Mean
    MkldnnAdaptiveAvgPool2D Neg Permute PixelShuffle PixelUnshuffle Real ReflectionPad2D
    Repeat ReplicationPad2D Reshape ReshapeAlias Roll Rsub Select Slice Split SplitWithSizes
    Squeeze Stack Sub Sum T ToCopy Transpose Unbind Unfold UnsafeSplit UnsafeView Unsqueeze
    UpsampleBicubic2D UpsampleBilinear2D UpsampleNearest2D View ViewAsReal ViewAsComplex
    NativeBatchNorm CudnnBatchNorm MiopenBatchNorm
"""
# Linear in one argument while the other does not depend on the image.
_BILINEAR = """
    Addmm Baddbmm Bmm Convolution CudnnConvolution Div Linear MkldnnConvolution Mm Mul Mv
    Where MaskedFill ThnnConv2D SlowConv2D Addbmm Addmv Dot
"""
# Which of several values passes was chosen in the forward pass, and stays chosen.
_KNOWN = {*_LINEAR.split(), *CHOICES}
_PRODUCTS = frozenset(_BILINEAR.split())
_CONSTANTS = ("_saved_other", "_saved_self", "_saved_condition", "_saved_mask")


def path(output: Tensor, image: Tensor) -> list[Node]:
    """The steps of the graph between a result and the image that it was computed from.

    In an order that depends on the graph alone.
    """
    reaches: dict[Node, bool] = {}
    order: list[Node] = []
    stack = [(output.grad_fn, False)] if output.grad_fn is not None else []
    while stack:
        node, done = stack.pop()
        assert node is not None
        if done:
            ahead = [n for n, _ in node.next_functions if n is not None]
            own = getattr(node, "variable", None) is image
            reaches[node] = own or any(reaches.get(n, False) for n in ahead)
            if reaches[node] and not own:
                order.append(node)
        elif node not in reaches:
            reaches[node] = False
            stack.append((node, True))
            stack += [(n, False) for n, _ in node.next_functions if n is not None]
    return order


def check_graph(outputs: Sequence[Tensor], images: Sequence[Tensor], rule: Rule, where: str) -> int:
    """Read from the graphs that some images left that every step is one the rule is defined for.

    Args:
        outputs: what a layer gives for each of some different images, computed under `Exchanged`.
        images: the leaves, at least two.
        where: who is told, as ``"layer 'conv3' of lenet5"``.

    Returns:
        How many rectifiers lie on the way; 0 of a linear path, on which all rules agree.

    Raises:
        BadRequest: a step that is not linear, no switch and no exchanged rectifier.
    """
    graphs = [path(o, i) for o, i in zip(outputs, images, strict=True)]
    on_path = set(graphs[0]) | _leaves(graphs[0], images[0])
    if not graphs[0]:
        raise BadRequest(f"{rule}: {where} does not depend on the image by any gradient")
    if len({tuple(n.name() for n in graph) for graph in graphs}) > 1:
        raise BadRequest(f"{rule}: {where} is computed by other steps for another image")
    objections = [
        _objection(node, on_path)
        or next(filter(None, (_moving(node, twin, on_path) for twin in twins)), "")
        or contest(node, twins, on_path)
        for node, *twins in zip(*graphs, strict=True)
    ]
    wrong = list(dict.fromkeys(filter(None, objections)))
    if wrong:
        raise BadRequest(
            f"{rule} is not defined for {where}: on the way to the image there is "
            f"{', and '.join(wrong)}. It is defined for ReLU and ReLU6, linear steps and max "
            "pooling; take rule='gradient', or a layer in front of that"
        )
    return sum(_is(node, Rectify) for node in graphs[0])


def _is(node: Node, step: type[torch.autograd.Function]) -> bool:
    """By the class that autograd made of the step: a name may be anybody's."""
    return isinstance(node, step._backward_cls)


def _leaves(graph: Sequence[Node], image: Tensor) -> set[Node]:
    ahead = {n for node in graph for n, _ in node.next_functions if n is not None}
    return {n for n in ahead if getattr(n, "variable", None) is image}


def _objection(node: Node, on_path: set[Node]) -> str:
    """Why a step is refused, or nothing."""
    name = short(node)
    if _is(node, Rectify) or _is(node, Held):
        return ""
    if "BatchNorm" in name and getattr(node, "_saved_training", False):
        return "a normalisation by the statistics of the batch or the image"
    if name in _KNOWN:
        return ""
    if name not in _PRODUCTS:
        return f"the step {name}"
    inputs = [n in on_path for n, _ in node.next_functions]
    if name == "Where" or sum(inputs) < 2:
        return "a division by what depends on the image" if name == "Div" and not inputs[0] else ""
    return f"the step {name} of two values that both depend on the image"


def _moving(node: Node, twin: Node, on_path: set[Node]) -> str:
    """A factor or a mask that two images do not share: a non-linear step in disguise."""
    if short(node) not in ("Mul", "Div", "Where", "MaskedFill"):
        return ""
    ahead = [n in on_path for n, _ in node.next_functions]
    for name in _CONSTANTS:
        held, other = getattr(node, name, None), getattr(twin, name, None)
        own = (name == "_saved_self" and ahead[0]) or (name == "_saved_other" and ahead[-1] > 0)
        if own and len(ahead) > 1 and short(node) in ("Mul", "Div"):
            continue  # the values themselves, kept for a gradient of the factor
        if not isinstance(held, Tensor) or not isinstance(other, Tensor):
            continue
        if not torch.equal(held, other) or (held.dtype == torch.bool and short(node) == "Mul"):
            return f"the step {short(node)} with a factor or a mask that depends on the image"
    return ""
