"""Calls that pick values of a map by their places: what leaves some out is seen here.

A crop, which takes a run of neighbours, is no down-sampling. Anything else that takes fewer values
along an axis of a map is one that cannot be exchanged: the picked values move with no image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from robustlab.pooling.reading import Shape, Unreadable, size_of

__all__ = ["check_index", "check_picked", "check_shrunk", "plain", "worded"]

_CANNOT = "which cannot be exchanged; write it as a layer, as nn.MaxPool2d(1, 2)"


def plain(value: Any) -> Any:
    """Shapes in place of tensors, so that no map is kept; indices and masks stay."""
    if isinstance(value, tuple | list):
        return type(value)(plain(one) for one in value) if type(value) in (tuple, list) else value
    whole = isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex())
    return tuple(value.shape) if isinstance(value, Tensor) and not whole else value


def worded(value: Any) -> str:
    """An argument in a message; of an index its size alone."""
    return f"index of {value.numel()}" if isinstance(value, Tensor) else str(value)


def check_index(index: Any, given: Shape) -> None:
    """``map[index]``.

    Raises:
        Unreadable: a slice with a step, or an index that picks values of a map that are no run of
            neighbours.
    """
    for axis, part in _by_axis(index, len(given)):
        if isinstance(part, slice):
            if part.step not in (None, 1):
                raise Unreadable(
                    f"a slice takes one value in {part.step} of maps of {size_of(given)}"
                )
        elif _spatial(axis, len(given)):
            _check_places(part, axis, given)


def _by_axis(index: Any, dimensions: int) -> Iterator[tuple[int, Any]]:
    """The axis that each part of an index is about."""
    parts = list(index) if isinstance(index, tuple) else [index]
    used = sum(_axes(one) for one in parts)
    axis = 0
    for one in parts:
        if one is Ellipsis:
            axis += dimensions - used
        elif one is not None:
            yield axis, one
            axis += _axes(one)


def _axes(part: Any) -> int:
    """How many axes one part of an index is about: a mask of several, an index of one."""
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    mask = isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8)
    return int(part.ndim) if mask else 1


def _spatial(axis: int, dimensions: int) -> bool:
    """Whether an axis holds places: the last two of a map [n, C, H, W], all behind the channels
    where a map was taken apart into blocks, and all but the first of [n, C, HW] or [n, HW, d].
    """
    return axis >= 2 if dimensions >= 4 else axis >= 1 and dimensions == 3


def _check_places(part: Any, axis: int, given: Shape) -> None:
    size = given[axis]
    if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8):
        shape = given[axis : axis + part.ndim]
        if part.ndim > 1 and not bool(part.all()):
            raise Unreadable(f"a mask picks values of maps of {'x'.join(map(str, shape))}")
        picked = part.reshape(-1).nonzero()[:, 0] if part.ndim == 1 else None
    elif isinstance(part, Tensor | list | range):
        picked = torch.as_tensor(part).reshape(-1)
    elif isinstance(part, int) and len(given) > 3:  # of [n, tokens, d] it is the class token
        picked = torch.tensor([part])
    else:
        return
    if picked is not None:
        _check_run(picked, axis, given, size, single=isinstance(part, int) or picked.numel() == 1)


def _check_run(picked: Tensor, axis: int, given: Shape, size: int, *, single: bool) -> None:
    """Of the places that are picked, whether they are neighbours."""
    places = sorted({int(one) % size for one in picked.tolist()}) if size else []
    if len(places) == size:
        return
    # One place alone may be one of many that are put together again.
    if single or places != list(range(places[0], places[0] + len(places))):
        raise Unreadable(
            f"an index picks {len(places)} of {size} places along axis {axis} of a map of "
            f"{'x'.join(map(str, given))}, {_CANNOT}"
        )


def check_picked(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], given: Shape, made: Shape
) -> None:
    """Methods that pick values: index_select, select, gather, take and the like.

    Raises:
        Unreadable: they leave out values of a map that lie between others.
    """
    dimensions = len(given)
    if name in ("take", "masked_select") and dimensions >= 3 and _count(made) < _count(given):
        raise Unreadable(f"{name} picks values of a map of {'x'.join(map(str, given))}, {_CANNOT}")
    if name == "as_strided" and dimensions >= 3 and _count(made) < _count(given):
        raise Unreadable(
            f"as_strided leaves values of a map of {'x'.join(map(str, given))} out, {_CANNOT}"
        )
    if name not in ("index_select", "select", "gather", "take_along_dim"):
        return
    order = (1, 0) if name == "take_along_dim" else (0, 1)
    axis = _argument(args, kwargs, order[0], ("dim", "axis"))
    index = _argument(args, kwargs, order[1], ("index", "indices"))
    if not isinstance(axis, int) or not _spatial(axis % dimensions, dimensions):
        return
    axis %= dimensions
    if name in ("index_select", "select"):
        _check_places(index, axis, given)
    elif made[axis] < given[axis]:
        raise Unreadable(
            f"{name} picks {made[axis]} of {given[axis]} places along axis {axis} of a map of "
            f"{'x'.join(map(str, given))}, {_CANNOT}"
        )


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, names: Any) -> Any:
    named = next((kwargs[name] for name in names if name in kwargs), None)
    if named is not None:
        return named
    # Named ones make the places of the others smaller.
    return args[min(place, len(args) - 1)] if args else None


def _count(shape: Shape) -> int:
    return int(torch.Size(shape).numel())


def check_shrunk(text: str, given: Shape, made: Shape) -> None:
    """Sampling at places between values, as grid_sample and interpolation do.

    Raises:
        Unreadable: it makes maps smaller.
    """
    sides = zip(given[2:], made[2:], strict=False)
    if len(given) == len(made) == 4 and any(out < size for size, out in sides):
        raise Unreadable(
            f"{text} makes {size_of(made)} of maps of {size_of(given)} by sampling between values, "
            f"{_CANNOT}"
        )
