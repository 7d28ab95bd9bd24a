"""What a layer or a function call does to the size of a map: the reader behind `swap_pooling`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from robustlab.backbones.lectures.pooling import Subsample
from robustlab.errors import BadRequest
from robustlab.pooling.average import Average
from robustlab.pooling.convolution import DownConv, conv_geometry
from robustlab.pooling.geometry import Geometry, pair
from robustlab.pooling.heads import GlobalPool
from robustlab.pooling.lp import Lp
from robustlab.pooling.maximum import Max
from robustlab.pooling.padded import PaddedAverage
from robustlab.pooling.pool import Pooling
from robustlab.pooling.strided import Middle
from robustlab.pooling.window import Window

__all__ = ["Read", "Unreadable", "read_call", "read_module"]

Shape = tuple[int, ...]
_UNKNOWN = (nn.FractionalMaxPool2d, nn.PixelUnshuffle, nn.Unfold)


class Unreadable(BadRequest):
    """A layer or call that makes maps smaller in a way that cannot be exchanged."""


@dataclass(frozen=True)
class Read:
    """What was read.

    Attributes:
        what: ``"pool"``, ``"conv"``, ``"global"``, ``"flatten"``, or ``"swapped"``: a layer of the
            lab's own already.
        text: how it was written, for people.
        geometry: of pools and convolutions.
        window: of pools.
        keep: of a global pool: whether axes of size 1 stay.
    """

    what: str
    text: str
    geometry: Geometry | None = None
    window: Window | None = None
    keep: bool = True

    @property
    def down(self) -> bool:
        """Whether it leaves values out."""
        return self.geometry is not None and max(self.geometry.stride) > 1

    @property
    def padded(self) -> bool:
        return self.geometry is not None and max(self.geometry.padding) > 0


def read_module(module: nn.Module, given: Shape, made: Shape) -> Read | None:
    """The module as a site, or None where it is none.

    Args:
        given, made: shapes of its input and output.

    Raises:
        Unreadable: it makes maps smaller in an unknown way.
    """
    text = _short(module)
    if isinstance(module, nn.Flatten):
        return _flatten(text, given, made)
    if len(given) != 4:
        return None
    if isinstance(module, Pooling | DownConv):
        return Read("swapped", text, module.geometry)
    if isinstance(module, nn.MaxPool2d):
        return _pool(text, _of(module), Max(), given)
    if isinstance(module, nn.AvgPool2d):
        window = _average(_of(module), module.count_include_pad, module.divisor_override)
        return _pool(text, _of(module), window, given)
    if isinstance(module, nn.LPPool2d):
        return _pool(text, _of(module), Lp(float(module.norm_type)), given)
    if isinstance(module, Subsample):
        return _pool(text, _of(module), Middle(), given)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return _adaptive(text, Average(), given, made)
    if isinstance(module, nn.AdaptiveMaxPool2d):
        return _adaptive(text, Max(), given, made)
    if isinstance(module, GlobalPool):
        return Read("global", text, keep=module.keep)
    if isinstance(module, nn.Conv2d):
        if max(pair(module.stride)) > 1 and type(module) is not nn.Conv2d:
            raise Unreadable(f"{text} is a strided convolution of its own kind, not nn.Conv2d")
        return Read("conv", text, conv_geometry(module))
    if not isinstance(module, nn.Linear):  # it mixes channels, wherever they stand
        _check_unknown(text, isinstance(module, _UNKNOWN), given, made)
    return None


def _of(module: Any) -> Geometry:
    return Geometry(
        pair(module.kernel_size),
        pair(module.stride or module.kernel_size),
        pair(getattr(module, "padding", 0)),
        pair(getattr(module, "dilation", 1)),
        bool(module.ceil_mode),
    )


def _average(geometry: Geometry, count_pad: bool, divisor: int | None) -> Window:
    if divisor or (count_pad and max(geometry.padding) > 0):
        return PaddedAverage(geometry.padding if count_pad else (0, 0), divisor or 0)
    return Average()


def _pool(text: str, geometry: Geometry, window: Window, given: Shape) -> Read:
    # A head is often written as an average over all of the last maps.
    covers = geometry.kernel == given[-2:] and geometry.padding == (0, 0)
    if covers and isinstance(window, Average) and max(given[-2:]) > 1:
        return Read("global", text)
    return Read("pool", text, geometry, window)


def _adaptive(text: str, window: Window, given: Shape, made: Shape) -> Read | None:
    if made[-2:] == (1, 1):
        return Read("global", text)
    if all(out >= size for size, out in zip(given[-2:], made[-2:], strict=True)):
        return None
    steps = [divmod(size, out) for size, out in zip(given[-2:], made[-2:], strict=True)]
    if any(rest for _, rest in steps):
        raise Unreadable(
            f"{text} makes {_size(made)} of maps of {_size(given)} by windows of unequal size; "
            "take an input size whose last maps divide"
        )
    kernel = (steps[0][0], steps[1][0])
    return Read("pool", text, Geometry(kernel, kernel), window)


def _flatten(text: str, given: Shape, made: Shape) -> Read | None:
    spatial = len(given) == 4 and given[2] * given[3] > 1
    flat = len(made) == 2 and made[1:] == (given[1] * given[2] * given[3],) if spatial else False
    return Read("flatten", text) if flat else None


def _check_unknown(text: str, known_down: bool, given: Shape, made: Shape) -> None:
    """What halves maps, or is known to thin them out, and is none of the sites above."""
    sides = list(zip(given[2:], made[2:], strict=False)) if len(made) == 4 else []
    halves = any(2 * out <= size + 1 and size > 1 for size, out in sides)
    if known_down or (halves and made[2] * made[3] > 1):
        raise Unreadable(f"{text} makes {_size(made)} of maps of {_size(given)}, in an unknown way")


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape[-2:]))


def _short(module: nn.Module) -> str:
    inner = module.extra_repr() if not list(module.children()) else "..."
    return f"{type(module).__name__}({inner})"


# Function calls -----------------------------------------------------------------------------------

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
    text = f"{name}({', '.join([*map(str, args), *(f'{k}={v}' for k, v in kwargs.items())])})"
    if target is operator.getitem or name == "__getitem__":
        _check_slices(args[0], given, made)
        return None
    name = name.removeprefix("_")
    if name in ("flatten", "view", "reshape"):
        return _flatten(text, given, made)
    if len(given) != 4:
        return None
    reader = _CALLS.get(name)
    if reader is not None:
        return reader(text, args, kwargs, given, made)
    thins = any(part in name for part in ("pool", "interpolate", "unshuffle", "unfold", "im2col"))
    if not any(part in name for part in _ELSEWHERE) or thins:
        _check_unknown(text, thins, given, made)
    return None


# Moving axes and mixing channels change shapes, and leave no value of a map out.
_ELSEWHERE = ("permute", "transpose", "linear", "matmul", "movedim", "swap", "attention")


def _check_slices(index: Any, given: Shape, made: Shape) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(one, slice) and one.step not in (None, 1) for one in parts):
        raise Unreadable(f"a slice takes every {_steps(parts)}th value: {_size(given)} to {made}")


def _steps(parts: Sequence[Any]) -> Any:
    return next(one.step for one in parts if isinstance(one, slice) and one.step not in (None, 1))


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
    return _pool(text, _called_geometry(found), Max(), given)


def _avg_call(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    names = (*_POOL_NAMES, "ceil_mode", "count_include_pad", "divisor_override")
    found = _named(names, args, kwargs)
    geometry = _called_geometry(found)
    count, divisor = found.get("count_include_pad", True), found.get("divisor_override")
    return _pool(text, geometry, _average(geometry, count, divisor), given)


def _lp_call(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    found = _named(("norm_type", "kernel_size", "stride", "ceil_mode"), args, kwargs)
    return _pool(text, _called_geometry(found), Lp(float(found["norm_type"])), given)


def _adaptive_avg(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    return _adaptive(text, Average(), given, made)


def _adaptive_max(text: str, args: Any, kwargs: Any, given: Shape, made: Shape) -> Read | None:
    return _adaptive(text, Max(), given, made)


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


def shape_of(value: Any) -> Any:
    """A tensor's shape in place of the tensor; all else as it is."""
    return tuple(value.shape) if isinstance(value, Tensor) else value
