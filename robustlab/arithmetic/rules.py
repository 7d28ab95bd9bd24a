"""What each of torch's operators does: fields, multiply-adds, windows. One rule an operator.

An operator without a rule here is either one of the kinds at the end (value by value, over
dimensions, a change of shape) or not known: then its multiply-adds and fields are told as not
known, never guessed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from robustlab.arithmetic import rules_products, rules_windows
from robustlab.arithmetic.fields import Lost
from robustlab.arithmetic.operation import RULES, But, Found, Operation, Rule, many, over_all
from robustlab.arithmetic.rules_shapes import indexed
from robustlab.arithmetic.seen import Seen, image, joined, lost

__all__ = ["apply", "rule_of", "unknown"]

_WITH_RULES = (rules_products, rules_windows)  # imported for what they register

# Value by value, though torch does not tag them so; most keep what they are given.
_SAME = {"alias", "clone", "contiguous", "detach", "to", "_to_copy", "dropout", "feature_dropout"}
_SAME |= {"native_dropout", "alpha_dropout", "type_as", "float", "double", "half", "lift_fresh"}
_SAME |= {"conj", "resolve_conj", "resolve_neg", "requires_grad", "positive", "view_dtype"}
_ACTIVATIONS = {"relu", "relu6", "hardtanh", "gelu", "silu", "elu", "leaky_relu", "sigmoid", "tanh"}
_ACTIVATIONS |= {"hardsigmoid", "hardswish", "mish", "softplus", "celu", "selu", "prelu", "clamp"}
_ACTIVATIONS |= {"log_sigmoid", "softsign", "hardshrink", "threshold", "rrelu", "clamp_min"}
_ACTIVATIONS |= {"abs", "neg", "square", "pow", "sqrt", "rsqrt", "exp", "log"}
_REDUCED = {"mean", "sum", "amax", "amin", "var", "std", "linalg_vector_norm", "norm", "prod"}
_REDUCED |= {"logsumexp", "nansum"}
_ALONG = {"softmax", "log_softmax", "_softmax", "_log_softmax"}
_SUMS = {"add": "addition", "sub": "addition", "mul": "multiplication", "div": "multiplication"}


def pointwise(one: Operation) -> Found:
    """Each value of the result looks at one value of each argument, broadcast."""
    looked = [one.given["src"]] if one.name == "copy" else one.following
    parts = [seen for tensor in looked if (seen := one.seen(tensor)) is not None]
    out = one.out[0]
    if not parts:
        raise Lost("a constant is written over it")
    if one.name in _SAME or one.name == "copy":
        return Found("shape", [joined(parts, out.shape)], quiet=True)
    kind = _SUMS.get(one.name, "activation" if one.name in _ACTIVATIONS else "other")
    biased = one.name == "add" and len(one.tensors) == 2 and len(parts) == 1
    connections = out.numel() if biased else 0
    return Found(kind, [joined(parts, out.shape)], other=out.numel(), connections=connections)


def reduced(one: Operation) -> Found:
    x, seen = one.source("self")
    dims = one.given.get("dim")
    axes = range(x.ndim) if dims is None or dims == [] else many(dims, 1)
    over = sorted({dim % x.ndim for dim in axes})
    found = seen.mixed(over)
    keep = bool(one.given.get("keepdim"))
    if keep:
        for dim in over:
            found = found.sized(dim, 1)
    else:
        found = found.without(over)
    found = Seen(found.layout, found.fields, found.several and 1 not in over)
    kind = "pooling" if any(seen.axes(dim) for dim in over) else "reduction"
    return Found(kind, [found], other=x.numel(), connections=x.numel())


def along(one: Operation) -> Found:
    x, seen = one.source("self")
    over = [int(one.given["dim"]) % x.ndim]
    return Found("activation", [over_all(seen, over)], other=3 * x.numel())


def unknown(one: Operation) -> Found:
    """No rule: whether it multiplies is not known either."""
    raise But(Found("other", multiply_adds=None, note=f"no rule for {one.name}"), one.name)


# Operators that multiply nothing, but whose fields are not followed.
_MOVES = {"roll", "flip", "rot90", "gather", "scatter", "masked_fill", "where", "topk", "sort"}
_MOVES |= {"argmax", "argmin", "max", "min", "cumsum", "fold", "im2col", "col2im", "as_strided"}
_MOVES |= {"repeat_interleave", "index_put", "tril", "triu", "median", "aminmax"}


def moved(one: Operation) -> Found:
    raise But(Found("other", other=one.out[0].numel()), f"through {one.name}")


def rule_of(func: Any, name: str) -> Rule | None:
    """The rule of an operator; None where there is none and torch may take it apart."""
    if name in RULES:
        return RULES[name]
    if name in _ALONG:
        return along
    if name in _REDUCED:
        return reduced
    if name in _MOVES and name not in ("masked_fill", "where"):
        return moved
    if name in _SAME or name in _ACTIVATIONS or name == "copy" or torch.Tag.pointwise in func.tags:
        return pointwise
    packet = getattr(torch.ops.aten, name, None)
    overloads = [getattr(packet, o) for o in packet.overloads()] if packet is not None else []
    return pointwise if any(torch.Tag.pointwise in o.tags for o in overloads) else None


def apply(made: Rule, one: Operation) -> Found:
    """The rule's word, with fields told as lost where they cannot be followed."""
    # By number, values are picked and not computed with: what numbers see does not matter.
    looked = [one.given["self"]] if made is indexed else one.following
    gone = next((s for t in looked if (s := one.seen(t)) is not None and s.lost), None)
    plain = _plain(one) if gone is not None else one
    try:
        found = made(plain)
    except But as error:
        found = error.found
        found.seen = [lost(str(error))]
    except Lost as error:
        found = _counted(made, one)
        found.seen = [lost(str(error))]
    if gone is not None:
        found.seen = [gone]
    if len(found.seen) < len(one.out):
        found.seen = found.seen * len(one.out)
    pairs = zip(found.seen, one.out, strict=True)
    found.seen = [s if s.lost or _matches(s, t) else lost(f"through {one.name}") for s, t in pairs]
    return found


def _matches(seen: Seen, tensor: Tensor) -> bool:
    """A net under all rules: the shape that was followed is the tensor's."""
    sizes = [math.prod(size for size, _ in factors) for factors in seen.layout]
    return sizes == list(tensor.shape)


def _plain(one: Operation) -> Operation:
    """The same operation on tensors whose dimensions are nothing in particular, for the counts."""

    def seen(tensor: Tensor) -> Seen | None:
        if one.seen(tensor) is None:
            return None
        layout = tuple(((int(size), None),) for size in tensor.shape)
        return Seen(layout, image((1, 1, 1, 1)).fields)

    return Operation(one.name, one.given, one.out, seen)


def _counted(made: Rule, one: Operation) -> Found:
    """Multiply-adds where fields are lost: counts need no fields."""
    try:
        return made(_plain(one))
    except Lost:
        return Found("other", multiply_adds=None, note=f"no rule for this use of {one.name}")
