"""Rules of what only moves values about: views, slices, concatenations, picks by number."""

from __future__ import annotations

from typing import Any

import torch

from robustlab.arithmetic import fields
from robustlab.arithmetic.fields import Lost
from robustlab.arithmetic.operation import Found, Operation, rule
from robustlab.arithmetic.seen import Seen, joined

__all__ = ["PICKED", "indexed"]

PICKED = "what is picked depends on the image; that is not counted to the field"


@rule("view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "view_as", "ravel")
def viewed(one: Operation) -> Found:
    seen = one.source("self" if "self" in one.given else "input")[1]
    return Found("shape", [seen.viewed(one.out[0].shape)], quiet=True)


@rule("unsqueeze")
def unsqueezed(one: Operation) -> Found:
    x, seen = one.source("self")
    return Found("shape", [seen.inserted(one.given["dim"] % (x.ndim + 1))], quiet=True)


@rule("permute", "transpose", "t", "swapaxes", "movedim", "numpy_T", "mT")
def permuted(one: Operation) -> Found:
    x, seen = one.source("self")
    order = list(range(x.ndim))
    if one.name == "permute":
        order = [dim % x.ndim for dim in one.given["dims"]]
    elif one.name in ("transpose", "swapaxes"):
        names = ("dim0", "dim1") if "dim0" in one.given else ("axis0", "axis1")
        a, b = (one.given[name] % x.ndim for name in names)
        order[a], order[b] = order[b], order[a]
    elif one.name in ("t", "mT"):
        order[-2:] = order[-2:][::-1]
    else:
        raise Lost(f"through {one.name}")
    return Found("shape", [seen.permuted(order)], quiet=True)


@rule("expand", "broadcast_to", "expand_as", "repeat")
def expanded(one: Operation) -> Found:
    seen = one.source("self")[1]
    if one.name == "repeat" and any(seen.axes(dim) for dim in range(len(seen.layout))):
        raise Lost("maps are repeated")
    return Found("shape", [joined([seen], one.out[0].shape)], quiet=True)


@rule("slice", "narrow", "select", "unbind", "split", "split_with_sizes", "chunk", "tensor_split")
def sliced(one: Operation) -> Found:
    x, seen = one.source("self")
    dim = int(one.given.get("dim", 0)) % x.ndim
    size = x.shape[dim]
    if one.name == "select":
        return Found("shape", [seen.at(dim, int(one.given["index"]) % size)], quiet=True)
    if one.name == "unbind":
        return Found("shape", [seen.at(dim, place) for place in range(size)], quiet=True)
    start, step, parts = 0, 1, []
    if one.name == "slice":
        step = int(one.given.get("step") or 1)
        start = int(one.given.get("start") or 0)
    elif one.name == "narrow":
        start = int(one.given["start"])
    start = max(0, start + size if start < 0 else start)
    for made in one.out:
        parts.append(seen.cut(dim, start, step, made.shape[dim]))
        start += made.shape[dim]
    return Found("shape", parts, quiet=True)


@rule("unfold")
def unfolded(one: Operation) -> Found:
    """`Tensor.unfold`: windows along one dimension, their values in a new last one."""
    if "dimension" not in one.given:
        raise Lost("through unfold")
    x, seen = one.source("self")
    dim, size = int(one.given["dimension"]) % x.ndim, int(one.given["size"])
    taps = fields.window(size, int(one.given["step"]))
    read = seen.read(dim, taps, one.out[0].shape[dim]).inserted(x.ndim, size)
    return Found("shape", [Seen(read.layout, read.fields, several=True)], quiet=True)


@rule("cat", "concat", "concatenate")
def concatenated(one: Operation) -> Found:
    tensors = list(one.given["tensors"])
    dim = int(one.given.get("dim", 0)) % tensors[0].ndim
    parts = [seen for tensor in tensors if (seen := one.seen(tensor)) is not None]
    size = one.out[0].shape[dim]
    if any(part.axes(dim) for part in parts):
        raise Lost("rows or columns are put together from pieces")
    found = joined([part.sized(dim, size) for part in parts], one.out[0].shape)
    alike = len(parts) == len(tensors) and all(part.fields == parts[0].fields for part in parts)
    several = not alike or any(part.several for part in parts)
    return Found("concatenation", [Seen(found.layout, found.fields, several)])


@rule("stack")
def stacked(one: Operation) -> Found:
    tensors = list(one.given["tensors"])
    dim = int(one.given.get("dim", 0)) % (tensors[0].ndim + 1)
    parts = [seen.inserted(dim) for tensor in tensors if (seen := one.seen(tensor)) is not None]
    size = one.out[0].shape[dim]
    found = joined([part.sized(dim, size) for part in parts], one.out[0].shape)
    return Found("concatenation", [Seen(found.layout, found.fields, several=True)])


@rule("index", "index_select")
def indexed(one: Operation) -> Found:
    """Values picked by number, along dimensions that are neither rows nor columns."""
    x, seen = one.source("self")
    note = ""
    if one.name == "index_select":
        numbers: list[Any] = [None] * x.ndim
        numbers[int(one.given["dim"]) % x.ndim] = one.given["index"]
    else:
        numbers = list(one.given["indices"])
    picked = [dim for dim, index in enumerate(numbers) if index is not None]
    if any(numbers[dim].dtype == torch.bool for dim in picked):
        raise Lost("values are picked by a mask")
    if any(one.seen(numbers[dim]) is not None for dim in picked):
        note = PICKED
    if any(seen.axes(dim) for dim in picked):
        raise Lost("rows or columns are picked by number")
    if seen.several and not note:
        raise Lost("some of several channels that look at different pixels are taken")
    if picked != list(range(picked[0], picked[-1] + 1)):
        raise Lost("values are picked by number along dimensions that lie apart")
    rest = seen.without(picked)
    shape = one.out[0].shape
    new = len(shape) - len(rest.layout)
    for offset in range(new):
        rest = rest.inserted(picked[0] + offset, shape[picked[0] + offset])
    return Found("other" if note else "shape", [rest], quiet=not note, note=note)
