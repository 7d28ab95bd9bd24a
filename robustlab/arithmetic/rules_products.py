"""Rules of what multiplies: convolutions, linear layers, products of matrices, attention."""

from __future__ import annotations

import math

from robustlab.arithmetic import fields
from robustlab.arithmetic.fields import Lost
from robustlab.arithmetic.geometry import Geometry
from robustlab.arithmetic.operation import But, Found, Operation, many, pair, rule
from robustlab.arithmetic.seen import joined

__all__: list[str] = []

_TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}


@rule("convolution", "conv1d", "conv2d", "conv3d", *sorted(_TRANSPOSED), "_convolution")
def convolution(one: Operation) -> Found:
    x, seen = one.source("input")
    weight, out = one.given["weight"], one.out[0]
    axes = weight.ndim - 2
    backwards = bool(one.given.get("transposed")) or one.name in _TRANSPOSED
    if isinstance(one.given["padding"], str):
        raise Lost("padding is given by a word")
    stride, padding, dilation = (
        many(one.given[name], axes) for name in ("stride", "padding", "dilation")
    )
    kernel, groups = list(weight.shape[2:]), int(one.given["groups"])
    first = x.ndim - axes
    found = seen
    for axis in range(axes):
        numbers = (kernel[axis], stride[axis], padding[axis], dilation[axis])
        taps = fields.spread(*numbers) if backwards else fields.window(*numbers)
        found = found.read(first + axis, taps, out.shape[first + axis])
    if first > 0:
        found = found.mixed([first - 1]) if groups == 1 else found
        found = found.sized(first - 1, out.shape[first - 1])
    if groups == 1:
        found = found.blended(first - 1)
    places = math.prod(x.shape[first:] if backwards else out.shape[first:])
    multiply_adds = places * weight.numel() * math.prod(x.shape[: first - 1])
    biased = out.numel() if one.given.get("bias") is not None else 0
    geometry = Geometry(
        pair(kernel),
        pair(stride),
        pair(padding),
        pair(dilation),
        size=pair(x.shape[first:]),
        out=pair(out.shape[first:]),
        groups=groups,
        transposed=backwards,
    )
    kind = "transposed convolution" if backwards else "convolution"
    return Found(
        kind, [found], multiply_adds, biased, multiply_adds + biased, weight.numel(), geometry
    )


@rule("linear")
def linear(one: Operation) -> Found:
    x, seen = one.source("input")
    weight, out = one.given["weight"], one.out[0]
    found = seen.mixed([x.ndim - 1]).sized(x.ndim - 1, weight.shape[0])
    multiply_adds = x.numel() * weight.shape[0]
    biased = out.numel() if one.given.get("bias") is not None else 0
    return Found(
        "fully connected",
        [found.blended(x.ndim - 1)],
        multiply_adds,
        biased,
        multiply_adds + biased,
        weight.numel(),
    )


_FACTORS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "matmul": ("self", "other"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
}


@rule(*_FACTORS)
def product(one: Operation) -> Found:
    """[..., a, b] times [..., b, c]: the second is often the weights, sometimes both are not."""
    left, right = (one.given[name] for name in _FACTORS[one.name])
    out = one.out[0]
    if left.ndim < 2 or right.ndim < 2:
        raise Lost("a vector is multiplied")
    multiply_adds = out.numel() * left.shape[-1]
    parts = []
    for tensor, gone in ((left, left.ndim - 1), (right, right.ndim - 2)):
        seen = one.seen(tensor)
        if seen is not None:
            place = out.shape[-1] if tensor is left else out.shape[-2]
            parts.append(seen.mixed([gone]).sized(gone, place))
    weights = 0 if len(parts) == 2 else (right if one.seen(left) is not None else left).numel()
    biased = out.numel() if one.name in ("addmm", "baddbmm") else 0
    connections = multiply_adds + biased
    found = Found("matrix product", [], multiply_adds, biased, connections, weights)
    if len(parts) == 2:
        found.note = "both factors depend on the image"
        places = {axis for part in parts for dim in (-1, -2) for axis in part.axes(dim)}
        if places:
            raise But(found, "places are compared with places")
    found.seen = [joined(parts, out.shape)]
    if weights:
        kept = any(parts[0].axes(dim) for dim in range(len(parts[0].layout)))
        apart = kept and right.ndim > 2  # weights of their own for every place
        found.kind = "locally connected" if apart else "fully connected"
    return found


@rule("scaled_dot_product_attention")
def attention(one: Operation) -> Found:
    """Each query sees all places of keys and values."""
    query, key, value = (one.given[name] for name in ("query", "key", "value"))
    scores = query.numel() // query.shape[-1] * key.shape[-2]
    multiply_adds = scores * (query.shape[-1] + value.shape[-1])
    seen = [one.seen(tensor) for tensor in (query, key, value)]
    reads = [s.mixed([len(s.layout) - 2]).sized(len(s.layout) - 2, 1) for s in seen[1:] if s]
    queries = [seen[0].mixed([len(seen[0].layout) - 1])] if seen[0] is not None else []
    queries = [s.sized(len(s.layout) - 1, 1) for s in queries]
    shape = (*query.shape[:-1], 1)
    reads = [s.mixed([len(s.layout) - 1]).sized(len(s.layout) - 1, 1) for s in reads]
    found = joined([*queries, *reads], shape).sized(len(shape) - 1, value.shape[-1])
    return Found("attention", [found.blended(len(shape) - 1)], multiply_adds, 3 * scores)
