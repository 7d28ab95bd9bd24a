"""`Seen`: what of the image the values of one tensor look at, through any change of its shape.

A tensor's dimensions are rows, columns, or neither, or several of these run together, as behind a
flatten. `Seen` keeps which is which, so that a view, a permutation or a flatten and back loses
nothing. A field belongs to a place of the map with all its channels together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from robustlab.arithmetic.fields import PIXEL, Field, Lost, Taps, window

__all__ = ["Seen", "image", "joined", "lost"]

Factor = tuple[int, int | None]  # size; 0 for rows, 1 for columns, None for neither
Layout = tuple[tuple[Factor, ...], ...]
Shape = Sequence[int]


@dataclass(frozen=True)
class Seen:
    """Fields of the rows and of the columns, and where in the tensor these are.

    Attributes:
        layout: for each dimension the factors that it is made of, the slowest first.
        several: whether channels look at different pixels, as behind a concatenation; a slice of
            them is then no place any more.
        lost: why the fields are not known; empty where they are.
    """

    layout: Layout
    fields: tuple[Field, Field]
    several: bool = False
    lost: str = ""

    def where(self, axis: int) -> tuple[int, int, int] | None:
        """Dimension, place in it and size of an axis; None where it is gone."""
        for dim, factors in enumerate(self.layout):
            for position, (size, tag) in enumerate(factors):
                if tag == axis:
                    return dim, position, size
        return None

    def axes(self, dim: int) -> list[int]:
        """Axes that a dimension holds."""
        return [tag for _, tag in self.layout[dim] if tag is not None]

    def _with(self, axis: int, field: Field) -> Seen:
        fields = (field, self.fields[1]) if axis == 0 else (self.fields[0], field)
        return replace(self, fields=fields)

    def _set(self, dim: int, factors: tuple[Factor, ...]) -> Seen:
        return replace(self, layout=(*self.layout[:dim], factors, *self.layout[dim + 1 :]))

    def mixed(self, dims: Collection[int]) -> Seen:
        """Every value now looks at all values along ``dims``; the shape stays."""
        found = self
        for dim in dims:
            size = math.prod(size for size, _ in self.layout[dim])
            for length, axis in self.layout[dim]:
                if axis is not None:
                    found = found._with(axis, found.fields[axis].whole(length))
            found = found._set(dim, ((size, None),))
        return found

    def sized(self, dim: int, size: int) -> Seen:
        """A dimension without axes has another size."""
        if self.axes(dim):
            raise Lost("rows or columns are put together from pieces")
        return self._set(dim, ((size, None),))

    def blended(self, dim: int) -> Seen:
        """All channels along ``dim`` now look at the same, unless parts of a place, as the tokens
        of a window, stand along another dimension.
        """
        beside = [factor for at, dims in enumerate(self.layout) if at != dim for factor in dims]
        parts = any(size > 1 and axis is None for size, axis in beside)
        return replace(self, several=self.several and parts)

    @property
    def pieces(self) -> bool:
        """Whether a place of what is followed is several of the tensor's: a window of tokens."""
        places = [place for axis in (0, 1) if (place := self.where(axis)) is not None]
        return self.several and any(len(self.layout[dim]) > 1 for dim, _, _ in places)

    def without(self, dims: Collection[int]) -> Seen:
        """Dimensions that were mixed, taken away."""
        kept = tuple(f for dim, f in enumerate(self.layout) if dim not in dims)
        return replace(self.mixed(dims), layout=kept)

    def read(self, dim: int, taps: Taps, size: int) -> Seen:
        """``size`` places along a dimension, each reading what ``taps`` say."""
        if not self.axes(dim):
            return self.sized(dim, size)
        axis, field = self._fused(dim)
        return self._with(axis, field.through(taps))._set(dim, ((size, axis),))

    def _fused(self, dim: int) -> tuple[int, Field]:
        """The only axis of a dimension; values that stand inside of one place become places."""
        (_, axis), *rest = self.layout[dim]
        if axis is None or any(tag is not None for _, tag in rest):
            raise Lost("rows, columns and channels are run together")
        inner = math.prod(size for size, _ in rest)
        if inner > 1 and self.several:
            raise Lost("places are put together from parts that look elsewhere")
        within = Taps(inner, 1, ((0,),) * inner)
        return axis, self.fields[axis].through(within) if inner > 1 else self.fields[axis]

    def at(self, dim: int, place: int) -> Seen:
        """One place along a dimension, which is gone."""
        found = self
        if self.axes(dim):
            axis, field = self._fused(dim)
            size = math.prod(size for size, _ in self.layout[dim])
            moved = field.through(Taps(1, 1, ((place % size,),)))
            found = self._with(axis, moved.whole(1))
        elif self.several:
            raise Lost("one of several channels that look at different pixels is taken")
        return replace(found, layout=(*self.layout[:dim], *self.layout[dim + 1 :]))

    def cut(self, dim: int, start: int, step: int, size: int) -> Seen:
        """``size`` places from ``start`` on, every ``step``-th."""
        if self.axes(dim):
            return self.read(dim, Taps(1, step, ((start,),)), size)
        whole = math.prod(length for length, _ in self.layout[dim]) == size
        if self.several and not whole:
            raise Lost("some of several channels that look at different pixels are taken")
        return self.sized(dim, size)

    def permuted(self, order: Shape) -> Seen:
        return replace(self, layout=tuple(self.layout[dim] for dim in order))

    def inserted(self, dim: int, size: int = 1) -> Seen:
        return replace(self, layout=(*self.layout[:dim], ((size, None),), *self.layout[dim:]))

    def viewed(self, shape: Shape) -> Seen:
        """The same values in another shape."""
        flat: list[Factor] = []
        for size, axis in (factor for factors in self.layout for factor in factors):
            if axis is None and flat and flat[-1][1] is None:
                flat[-1] = (flat[-1][0] * size, None)
            elif size > 1 or axis is not None:
                flat.append((size, axis))
        found, layout = self, []
        for size in shape:
            factors, found = _taken(flat, size, found)
            layout.append(factors)
        for size, axis in flat:  # what is left has one place only
            if axis is not None:
                found = found._with(axis, found.fields[axis].whole(size))
        return replace(found, layout=tuple(layout))


def _taken(flat: list[Factor], size: int, seen: Seen) -> tuple[tuple[Factor, ...], Seen]:
    """Factors from the front of ``flat`` that make up ``size`` values; what is longer is cut."""
    factors: list[Factor] = []
    if size == 1 and flat and flat[0][0] == 1:
        factors.append(flat.pop(0))
    while size > 1:
        length, axis = flat.pop(0)
        if length > size:
            inner, odd = divmod(length, size)
            if odd:
                raise Lost("a view cuts through rows or columns")
            flat.insert(0, (inner, None))
            if axis is not None:
                field = seen.fields[axis].through(window(inner, inner))
                seen = replace(seen._with(axis, field), several=True)
            length = size
        if size % length:
            raise Lost("a view cuts through rows or columns")
        factors.append((length, axis))
        size //= length
    return tuple(factors) or ((1, None),), seen


def image(shape: Shape) -> Seen:
    """Of the images themselves, [n, C, H, W]."""
    n, channels, height, width = shape
    layout = (((n, None),), ((channels, None),), ((height, 0),), ((width, 1),))
    return Seen(layout, (PIXEL, PIXEL))


def lost(reason: str) -> Seen:
    """Of a tensor whose fields are not known any more."""
    return Seen((), (PIXEL, PIXEL), lost=reason)


def joined(parts: Sequence[Seen], shape: Shape) -> Seen:
    """Of values that each look at one value of every part, broadcast to ``shape``.

    Raises:
        Lost: rows stand where another part has columns, or strides differ.
    """
    spread = [_broadcast(part, shape) for part in parts]
    first, *others = spread
    for other in others:
        fields = []
        layout = list(first.layout)
        for axis in (0, 1):
            mine, theirs = first.where(axis), other.where(axis)
            if mine is not None and theirs is not None and mine != theirs:
                raise Lost("maps meet whose rows or columns lie differently")
            place = mine or theirs
            size = place[2] if place else 1
            fields.append(first.fields[axis].joined(other.fields[axis], size))
            if mine is None and theirs is not None:
                if first.axes(theirs[0]):
                    raise Lost("maps meet whose rows or columns lie differently")
                layout[theirs[0]] = other.layout[theirs[0]]
        several = first.several or other.several
        first = Seen(tuple(layout), (fields[0], fields[1]), several)
    return first


def _broadcast(part: Seen, shape: Shape) -> Seen:
    for _ in range(len(shape) - len(part.layout)):
        part = part.inserted(0)
    for dim, size in enumerate(shape):
        if math.prod(length for length, _ in part.layout[dim]) != size:
            part = part.mixed([dim]).sized(dim, size)
    return part
