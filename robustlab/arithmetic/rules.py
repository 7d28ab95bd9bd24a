"""What each of torch's operators does: fields, multiply-adds, windows. One rule an operator.

An operator without a rule here is either one of the kinds at the end (value by value, over
dimensions, a change of shape) or not known: then its multiply-adds and fields are told as not
known, never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from robustlab.arithmetic.fields import Lost, Taps, adaptive, interpolated, nearest, spread, window
from robustlab.arithmetic.geometry import Geometry, Pair
from robustlab.arithmetic.seen import Seen, image, joined, lost

__all__ = ["Found", "Operation", "apply", "rule_of", "unknown"]

_TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}


@dataclass
class Operation:
    """One call of an operator.

    Attributes:
        name: of the operator, without a trailing underscore (in place or not is the same).
        given: its arguments by name.
        out: its results.
        seen: looks up what a tensor sees; None where it does not depend on the image.
    """

    name: str
    given: dict[str, Any]
    out: list[Tensor]
    seen: Callable[[Tensor], Seen | None]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        flat: list[Tensor] = []
        for value in self.given.values():
            several = value if isinstance(value, list | tuple) else [value]
            flat += [one for one in several if isinstance(one, Tensor)]
        return flat

    @property
    def following(self) -> list[Tensor]:
        """Those that depend on the image."""
        return [one for one in self.tensors if self.seen(one) is not None]

    def source(self, name: str) -> tuple[Tensor, Seen]:
        """An argument that depends on the image, and what it sees."""
        tensor = self.given[name]
        seen = self.seen(tensor)
        if seen is None:
            raise Lost("weights are computed from the image")
        return tensor, seen


@dataclass
class Found:
    """What an operation was found to do.

    Attributes:
        seen: of its results; a text says why it is not known.
        multiply_adds: None: not known.
        other: operations beside multiply-adds, by the lab's convention.
        connections: inputs that all units look at, biases counted as one each.
        weights: values that inputs are multiplied by.
        quiet: whether it only moves values about.
    """

    kind: str
    seen: list[Seen] = field(default_factory=list)
    multiply_adds: int | None = 0
    other: int = 0
    connections: int = 0
    weights: int = 0
    geometry: Geometry | None = None
    quiet: bool = False
    note: str = ""


Rule = Callable[[Operation], Found]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    def add(made: Rule) -> Rule:
        for name in names:
            RULES[name] = made
        return made

    return add


def many(value: int | Sequence[int], length: int) -> list[int]:
    """One number for every axis, or those given."""
    numbers = [value] if isinstance(value, int) else [int(one) for one in value]
    return numbers * length if len(numbers) == 1 else numbers


def pair(values: Sequence[int]) -> Pair:
    return (1, values[0]) if len(values) == 1 else (values[-2], values[-1])


# Convolutions and products of matrices ------------------------------------------------------------


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
        taps = spread(*numbers) if backwards else window(*numbers)
        found = found.read(first + axis, taps, out.shape[first + axis])
    if first > 0:
        found = found.mixed([first - 1]) if groups == 1 else found
        found = found.sized(first - 1, out.shape[first - 1])
    if groups == 1:
        found = Seen(found.layout, found.fields)
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
        [Seen(found.layout, found.fields)],
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
            raise _But(found, "places are compared with places")
    found.seen = [joined(parts, out.shape)]
    if weights:
        kept = any(parts[0].axes(dim) for dim in range(len(parts[0].layout)))
        apart = kept and right.ndim > 2  # weights of their own for every place
        found.kind = "locally connected" if apart else "fully connected"
    return found


class _But(Lost):
    """Fields are lost, but the rest was found."""

    def __init__(self, found: Found, reason: str) -> None:
        super().__init__(reason)
        self.found = found


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
    return Found("attention", [Seen(found.layout, found.fields)], multiply_adds, 3 * scores)


# Pooling and resizing -----------------------------------------------------------------------------


@rule(
    *(f"{kind}_pool{axes}d" for kind in ("max", "avg") for axes in (1, 2, 3)),
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "max_pool1d_with_indices",
)
def pooling(one: Operation) -> Found:
    x, seen = one.source("self")
    out = one.out[0]
    axes = int(one.name.split("pool")[1][0])
    kernel = many(one.given["kernel_size"], axes)
    stride = many(one.given.get("stride") or kernel, axes)
    padding = many(one.given.get("padding") or 0, axes)
    dilation = many(one.given.get("dilation") or 1, axes)
    first = x.ndim - axes
    found = seen
    for axis in range(axes):
        # A window of 1 along channels or along an added axis reads nothing beside its own value.
        taps = window(kernel[axis], stride[axis], padding[axis], dilation[axis])
        found = found.read(first + axis, taps, out.shape[first + axis])
    geometry = Geometry(
        pair(kernel),
        pair(stride),
        pair(padding),
        pair(dilation),
        size=pair(x.shape[first:]),
        out=pair(out.shape[first:]),
        ceil=bool(one.given.get("ceil_mode")),
    )
    reads = out.numel() * math.prod(kernel)
    return Found("pooling", [found], other=reads, connections=reads, geometry=geometry)


@rule("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d")
def adaptively(one: Operation) -> Found:
    x, seen = one.source("self")
    out = one.out[0]
    found, kernel, stride, even = seen, [], [], True
    for dim in (x.ndim - 2, x.ndim - 1):
        size, places = x.shape[dim], out.shape[dim]
        if places == 1:  # one place is left: it has no stride
            found = found.mixed([dim]).sized(dim, 1)
        else:
            found = found.read(dim, adaptive(size, places), places)
        even = even and size % places == 0
        kernel.append(size // places)
        stride.append(size // places)
    # Each output reads its window; where sizes do not divide, windows differ in size.
    rows, columns = (_reads(x.shape[dim], out.shape[dim]) for dim in (-2, -1))
    reads = math.prod(out.shape[:-2]) * rows * columns
    sizes = pair(x.shape[-2:]), pair(out.shape[-2:])
    geometry = Geometry(pair(kernel), pair(stride), (0, 0), (1, 1), *sizes) if even else None
    note = "" if even else f"windows of unequal size: {x.shape[-1]} to {out.shape[-1]}"
    return Found("pooling", [found], other=reads, connections=reads, geometry=geometry, note=note)


def _reads(size: int, out: int) -> int:
    return sum(-(-(o + 1) * size // out) - o * size // out for o in range(out))


@rule("pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d", "_pad_circular")
def padded(one: Operation) -> Found:
    x, seen = one.source("self")
    around = list(one.given.get("pad") or one.given["padding"])
    found = seen
    for back in range(len(around) // 2):
        dim, before = x.ndim - 1 - back, around[2 * back]
        if around[2 * back] or around[2 * back + 1]:
            taps = window(1, 1, before)
            found = found.read(dim, taps, one.out[0].shape[dim])
    return Found("padding", [found])


@rule("upsample_nearest2d", "upsample_bilinear2d")
def resized(one: Operation) -> Found:
    x, seen = one.source("input" if "input" in one.given else "self")
    out, found = one.out[0], seen
    scales = [one.given.get("scale_factors"), one.given.get("scales_h"), one.given.get("scales_w")]
    for back, dim in enumerate((x.ndim - 2, x.ndim - 1)):
        size, places = x.shape[dim], out.shape[dim]
        scale = scales[0][back] if scales[0] else scales[1 + back]
        if scale and size * scale != places:
            raise Lost("enlarged by a factor that the sizes do not have")
        corners = bool(one.given.get("align_corners"))
        linearly = "bilinear" in one.name
        taps = interpolated(size, places, corners) if linearly else nearest(size, places)
        found = found.read(dim, taps, places)
    return Found("resizing", [found], other=out.numel())


@rule("pixel_shuffle", "pixel_unshuffle")
def shuffled(one: Operation) -> Found:
    """Channels laid out as places, or a block of places as channels."""
    x, seen = one.source("self")
    out, found, inwards = one.out[0], seen, one.name == "pixel_unshuffle"
    if seen.several and not inwards:
        raise Lost("places are put together from parts that look elsewhere")
    factor = int(one.given["downscale_factor" if inwards else "upscale_factor"])
    taps = window(factor, factor) if inwards else Taps(factor, 1, ((0,),) * factor)
    for dim in (x.ndim - 2, x.ndim - 1):
        found = found.read(dim, taps, out.shape[dim])
    found = found.sized(x.ndim - 3, out.shape[-3])
    return Found("shape", [Seen(found.layout, found.fields, seen.several or inwards)], quiet=True)


@rule("channel_shuffle")
def channels_shuffled(one: Operation) -> Found:
    return Found("shape", [one.source("input")[1]], quiet=True)


# Normalisation ------------------------------------------------------------------------------------


@rule("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
def batch_norm(one: Operation) -> Found:
    x, seen = one.source("input")
    if one.given.get("training"):
        seen = seen.mixed(range(2, x.ndim))
    return Found("normalisation", [seen], other=2 * x.numel())


@rule("layer_norm", "native_layer_norm", "rms_norm")
def layer_norm(one: Operation) -> Found:
    x, seen = one.source("input")
    over = range(x.ndim - len(one.given["normalized_shape"]), x.ndim)
    return Found("normalisation", [_over(seen, over)], other=2 * x.numel())


@rule("group_norm", "instance_norm")
def group_norm(one: Operation) -> Found:
    x, seen = one.source("input")
    return Found("normalisation", [_over(seen, range(2, x.ndim))], other=2 * x.numel())


def _over(seen: Seen, dims: Sequence[int]) -> Seen:
    """Statistics over whole dimensions; places stay, but each of them now sees them all."""
    found = seen
    for dim in dims:
        for length, axis in seen.layout[dim]:
            if axis is not None:
                found = found._with(axis, found.fields[axis].whole(length))
    return found


# Changes of shape ---------------------------------------------------------------------------------


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
    taps = window(size, int(one.given["step"]))
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
        note = "what is picked depends on the image; that is not counted to the field"
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


# Kinds --------------------------------------------------------------------------------------------

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
    return Found("activation", [_over(seen, over)], other=3 * x.numel())


def unknown(one: Operation) -> Found:
    """No rule: whether it multiplies is not known either."""
    raise _But(Found("other", multiply_adds=None, note=f"no rule for {one.name}"), one.name)


# Operators that multiply nothing, but whose fields are not followed.
_MOVES = {"roll", "flip", "rot90", "gather", "scatter", "masked_fill", "where", "topk", "sort"}
_MOVES |= {"argmax", "argmin", "max", "min", "cumsum", "fold", "im2col", "col2im", "as_strided"}
_MOVES |= {"repeat_interleave", "index_put", "tril", "triu", "median", "aminmax"}


def moved(one: Operation) -> Found:
    raise _But(Found("other", other=one.out[0].numel()), f"through {one.name}")


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
    except _But as error:
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
