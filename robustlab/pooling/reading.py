"""What a layer does to the size of a map: the reader behind `swap_pooling`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from robustlab.backbones.lectures.pooling import Subsample
from robustlab.errors import BadRequest
from robustlab.pooling.average import Average
from robustlab.pooling.convolution import DownConv, Thin, conv_geometry
from robustlab.pooling.geometry import Geometry, pair
from robustlab.pooling.heads import GlobalPool
from robustlab.pooling.lp import Lp
from robustlab.pooling.maximum import Max
from robustlab.pooling.padded import PaddedAverage
from robustlab.pooling.pool import Pooling
from robustlab.pooling.strided import Middle
from robustlab.pooling.window import Window

__all__ = [
    "Read",
    "Shape",
    "Unreadable",
    "adaptive",
    "average",
    "check_unknown",
    "flattened",
    "pooled",
    "read_module",
    "size_of",
]

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
        """Whether windows may hang over the edge of a map."""
        return self.geometry is not None and (max(self.geometry.padding) > 0 or self.geometry.ceil)


def read_module(module: nn.Module, given: Shape, made: Shape) -> Read | None:
    """The module as a site, or None where it is none.

    Args:
        given, made: shapes of its input and output.

    Raises:
        Unreadable: it makes maps smaller in an unknown way.
    """
    text = _short(module)
    if isinstance(module, nn.Flatten):
        return flattened(text, given, made)
    if len(given) != 4:
        return None
    if isinstance(module, Pooling | DownConv | Thin):
        return Read("swapped", text, module.geometry)
    if isinstance(module, nn.MaxPool2d):
        return pooled(text, _of(module), Max(), given)
    if isinstance(module, nn.AvgPool2d):
        window = average(_of(module), module.count_include_pad, module.divisor_override)
        return pooled(text, _of(module), window, given)
    if isinstance(module, nn.LPPool2d):
        return pooled(text, _of(module), Lp(float(module.norm_type)), given)
    if isinstance(module, Subsample):
        return pooled(text, _of(module), Middle(), given)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return adaptive(text, Average(), given, made)
    if isinstance(module, nn.AdaptiveMaxPool2d):
        return adaptive(text, Max(), given, made)
    if isinstance(module, GlobalPool):
        return Read("global", text, keep=module.keep)
    if isinstance(module, nn.Conv2d):
        if max(pair(module.stride)) > 1 and type(module) is not nn.Conv2d:
            raise Unreadable(f"{text} is a strided convolution of its own kind, not nn.Conv2d")
        return Read("conv", text, conv_geometry(module))
    if not isinstance(module, nn.Linear):  # it mixes channels, wherever they stand
        smaller = any(out < size for size, out in zip(given[2:], made[2:], strict=False))
        thins = isinstance(module, nn.Upsample) and smaller
        check_unknown(text, thins or isinstance(module, _UNKNOWN), given, made)
    return None


def _of(module: Any) -> Geometry:
    return Geometry(
        pair(module.kernel_size),
        pair(module.stride or module.kernel_size),
        pair(getattr(module, "padding", 0)),
        pair(getattr(module, "dilation", 1)),
        bool(module.ceil_mode),
    )


def average(geometry: Geometry, count_pad: bool, divisor: int | None) -> Window:
    if divisor or (count_pad and max(geometry.padding) > 0):
        return PaddedAverage(geometry.padding if count_pad else (0, 0), divisor or 0)
    return Average()


def pooled(text: str, geometry: Geometry, window: Window, given: Shape) -> Read:
    # A head is often written as an average over all of the last maps.
    covers = geometry.kernel == given[-2:] and geometry.padding == (0, 0)
    if covers and isinstance(window, Average) and max(given[-2:]) > 1:
        return Read("global", text)
    return Read("pool", text, geometry, window)


def adaptive(text: str, window: Window, given: Shape, made: Shape) -> Read | None:
    if made[-2:] == (1, 1):
        return Read("global", text)
    if all(out >= size for size, out in zip(given[-2:], made[-2:], strict=True)):
        return None
    steps = [divmod(size, out) for size, out in zip(given[-2:], made[-2:], strict=True)]
    if any(rest for _, rest in steps):
        raise Unreadable(
            f"{text} makes {size_of(made)} of maps of {size_of(given)} by windows of unequal size; "
            "take an input size whose last maps divide"
        )
    kernel = (steps[0][0], steps[1][0])
    return Read("pool", text, Geometry(kernel, kernel), window)


def flattened(text: str, given: Shape, made: Shape) -> Read | None:
    spatial = len(given) == 4 and given[2] * given[3] > 1
    flat = len(made) == 2 and made[1:] == (given[1] * given[2] * given[3],) if spatial else False
    return Read("flatten", text) if flat else None


def check_unknown(text: str, known_down: bool, given: Shape, made: Shape) -> None:
    """What halves maps, or is known to thin them out, and is none of the sites above."""
    sides = list(zip(given[2:], made[2:], strict=False)) if len(made) == 4 else []
    halves = any(2 * out <= size + 1 and size > 1 for size, out in sides)
    if known_down or (halves and made[2] * made[3] > 1):
        raise Unreadable(
            f"{text} makes {size_of(made)} of maps of {size_of(given)}, in an unknown way"
        )


def size_of(shape: Shape) -> str:
    return "x".join(map(str, shape[-2:]))


def _short(module: nn.Module) -> str:
    inner = module.extra_repr() if not list(module.children()) else "..."
    return f"{type(module).__name__}({inner})"
