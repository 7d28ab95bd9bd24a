"""What a function or method call does to the size of a map, as `reading` says it of layers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustlab.pooling.average import Average
from robustlab.pooling.geometry import Geometry, pair
from robustlab.pooling.lp import Lp
from robustlab.pooling.maximum import Max
from robustlab.pooling.picking import check_index, check_picked, check_shrunk, worded
from robustlab.pooling.reading import (
    Read,
    Shape,
    Unreadable,
    adaptive,
    average,
    check_unknown,
    flattened,
    pooled,
)

__all__ = ["read_call"]

_Reader = Callable[[str, Sequence[Any], Mapping[str, Any], Shape, Shape], Read | None]
_POOL_NAMES = ("kernel_size", "stride", "padding")


def read_call(
    target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], given: Shape, made: Shape
) -> Read | None:
    """A function or method call as a site, or None; ``args`` and ``kwargs`` without the map itself.

    Args:
        target: the function, or the name of the method.
        given, made: shapes of the map and of the result.

    Raises:
        Unreadable: it makes maps smaller in an unknown way.
    """
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    words = [*map(worded, args), *(f"{key}={worded(value)}" for key, value in kwargs.items())]
    text = f"{name}({', '.join(words)})"
    if target is operator.getitem or name == "__getitem__":
        check_index(args[0], given)
        return None
    name = name.removeprefix("_")
    check_picked(name, args, kwargs, given, made)
    if "grid_sample" in name:
        check_shrunk(text, given, made)
    if name in ("flatten", "view", "reshape"):
        return flattened(text, given, made)
    if len(given) != 4:
        return None
    reader = _CALLS.get(name)
    if reader is not None:
        return reader(text, args, kwargs, given, made)
    thins = any(part in name for part in ("pool", "interpolate", "unshuffle", "unfold", "im2col"))
    if not any(part in name for part in _ELSEWHERE) or thins:
        check_unknown(text, thins, given, made)
    return None


# Moving axes and mixing channels change shapes, and leave no value of a map out.
_ELSEWHERE = ("permute", "transpose", "linear", "matmul", "movedim", "swap", "attention")


def _named(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    found = {**dict(zip(names, args, strict=False)), **kwargs}
    found.pop("input", None)
    return found


def _called_geometry(found: Mapping[str, Any]) -> Geometry:
    kernel = pair(found["kernel_size"])
    stride = found.get("stride")
    return Geometry(
        kernel,
        pair(stride) if stride not in (None, [], ()) else kernel,
        pair(found.get("padding", 0)),
        pair(found.get("dilation", 1)),
        bool(found.get("ceil_mode", False)),
    )


def _max_call(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    names = (*_POOL_NAMES, "dilation", "ceil_mode", "return_indices")
    found = _named(names, args, kwargs)
    if found.get("return_indices"):
        raise Unreadable(f"{text} returns indices, which no other pooling has")
    return pooled(text, _called_geometry(found), Max(), given)


def _avg_call(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    names = (*_POOL_NAMES, "ceil_mode", "count_include_pad", "divisor_override")
    found = _named(names, args, kwargs)
    geometry = _called_geometry(found)
    count, divisor = found.get("count_include_pad", True), found.get("divisor_override")
    return pooled(text, geometry, average(geometry, count, divisor), given)


def _lp_call(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    found = _named(("norm_type", "kernel_size", "stride", "ceil_mode"), args, kwargs)
    return pooled(text, _called_geometry(found), Lp(float(found["norm_type"])), given)


def _adaptive_avg(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    return adaptive(text, Average(), given, made)


def _adaptive_max(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    return adaptive(text, Max(), given, made)


def _conv_call(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    found = _named(("weight", "bias", "stride", "padding", "dilation", "groups"), args, kwargs)
    weight = found["weight"]
    padding = found.get("padding", 0)
    if isinstance(padding, str):
        raise Unreadable(f"conv2d with padding={padding!r}; give numbers")
    geometry = Geometry(
        pair(weight[-2:]),
        pair(found.get("stride", 1)),
        pair(padding),
        pair(found.get("dilation", 1)),
    )
    return Read("conv", f"conv2d(stride={geometry.stride}, padding={geometry.padding})", geometry)


def _reduced(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    """mean or amax over both axes of a map."""
    axes = args[0] if args else kwargs.get("dim")
    if not isinstance(axes, list | tuple) or {one % 4 for one in axes} != {2, 3}:
        return None
    if made == given[:2]:
        return Read("global", text, keep=False)
    return Read("global", text) if made == (*given[:2], 1, 1) else None


def _ignored(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    return None


_CALLS: dict[str, _Reader] = {
    "max_pool2d": _max_call,
    "avg_pool2d": _avg_call,
    "lp_pool2d": _lp_call,
    "adaptive_avg_pool2d": _adaptive_avg,
    "adaptive_max_pool2d": _adaptive_max,
    "conv2d": _conv_call,
    "mean": _reduced,
    "amax": _reduced,
}
