"""Rules of what looks through windows or over whole dimensions: pooling, padding, resizing,
normalisation.
"""

from __future__ import annotations

import math

from robustlab.arithmetic import fields
from robustlab.arithmetic.fields import Lost, Taps, adaptive, interpolated, nearest
from robustlab.arithmetic.geometry import Geometry
from robustlab.arithmetic.operation import Found, Operation, many, over_all, pair, rule
from robustlab.arithmetic.seen import Seen

__all__: list[str] = []


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
        taps = fields.window(kernel[axis], stride[axis], padding[axis], dilation[axis])
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
            taps = fields.window(1, 1, before)
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
    taps = fields.window(factor, factor) if inwards else Taps(factor, 1, ((0,),) * factor)
    for dim in (x.ndim - 2, x.ndim - 1):
        found = found.read(dim, taps, out.shape[dim])
    found = found.sized(x.ndim - 3, out.shape[-3])
    return Found("shape", [Seen(found.layout, found.fields, seen.several or inwards)], quiet=True)


@rule("channel_shuffle")
def channels_shuffled(one: Operation) -> Found:
    return Found("shape", [one.source("input")[1]], quiet=True)


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
    return Found("normalisation", [over_all(seen, over)], other=2 * x.numel())


@rule("group_norm", "instance_norm")
def group_norm(one: Operation) -> Found:
    x, seen = one.source("input")
    return Found("normalisation", [over_all(seen, range(2, x.ndim))], other=2 * x.numel())
