"""What one place of a map looks at along one axis of the image, in exact whole numbers.

The recursion (Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural
networks", equations 3 and 4) carried by intervals: place o of a layer with kernel F, stride S,
padding P and dilation D reads the places o S - P + k D, k = 0 to F - 1, of the layer below it, and
so it sees from the first pixel that any of them sees to the last one. Whatever stands past the
edge of a map is counted as if the map went on, so that a field does not depend on the image's size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

__all__ = ["PIXEL", "Field", "Lost", "Taps", "adaptive", "interpolated", "nearest", "spread"]
__all__ += ["window"]

Span = tuple[int, int] | None  # first and last pixel; None: sees nothing


class Lost(Exception):
    """A field cannot be followed through here; the message says why."""


@dataclass(frozen=True)
class Taps:
    """Which places a place reads: place ``o + period`` reads what ``o`` reads, ``advance`` on.

    Attributes:
        reads: for each of the first ``period`` places the places below it that it reads.
    """

    period: int
    advance: int
    reads: tuple[tuple[int, ...], ...]


def window(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Taps:
    """Of a convolution or a pooling."""
    return Taps(1, stride, (tuple(k * dilation - padding for k in range(kernel)),))


def spread(kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """Of a transposed convolution: place i below reaches the places i S - P + k D."""
    reads = []
    for place in range(stride):
        hits = [place + padding - k * dilation for k in range(kernel)]
        reads.append(tuple(hit // stride for hit in hits if hit % stride == 0))
    return Taps(stride, 1, tuple(reads))


def adaptive(size: int, out: int) -> Taps:
    """Of an adaptive pooling: floor(o size / out) up to, not with, ceil((o + 1) size / out)."""
    share = Fraction(size, out)
    ends = [(math.floor(o * share), math.ceil((o + 1) * share)) for o in range(share.denominator)]
    return Taps(share.denominator, share.numerator, tuple(tuple(range(a, b)) for a, b in ends))


def nearest(size: int, out: int) -> Taps:
    """Of an enlargement to the nearest value."""
    share = Fraction(size, out)
    reads = tuple((math.floor(o * share),) for o in range(share.denominator))
    return Taps(share.denominator, share.numerator, reads)


def interpolated(size: int, out: int, corners: bool) -> Taps:
    """Of a linear interpolation; a value of weight zero is not read."""
    share = Fraction(max(1, size - 1), max(1, out - 1)) if corners else Fraction(size, out)
    reads = []
    for place in range(share.denominator):
        source = place * share if corners else (place + Fraction(1, 2)) * share - Fraction(1, 2)
        first = math.floor(source)
        reads.append((first,) if source == first else (first, first + 1))
    return Taps(share.denominator, share.numerator, tuple(reads))


@dataclass(frozen=True)
class Field:
    """Place ``o`` of a map sees the pixels ``at(o)``; place ``o + period`` the same ``advance`` on.

    Attributes:
        spans: of the first ``period`` places.
        step: pixels of the image from one place of the map to the next: the effective stride.
        aligned: whether all paths from the image to a place are centred at the same pixel.
    """

    period: int
    advance: int
    spans: tuple[Span, ...]
    step: Fraction
    aligned: bool = True

    def at(self, place: int) -> Span:
        """First and last pixel that a place sees."""
        turns, phase = divmod(place, self.period)
        span, shift = self.spans[phase], turns * self.advance
        return None if span is None else (span[0] + shift, span[1] + shift)

    @property
    def size(self) -> int:
        """The receptive field: pixels from the first to the last that a place sees, at most."""
        return max((b - a + 1 for a, b in filter(None, self.spans)), default=0)

    @property
    def centre(self) -> Fraction:
        """Middle of what place 0 sees, in pixels; the middle of the image's first pixel is 0."""
        first = next((span for span in self.spans if span is not None), (0, 0))
        return Fraction(first[0] + first[1], 2)

    @property
    def pace(self) -> Fraction:
        """Pixels by which the field moves from one place to the next."""
        return Fraction(self.advance, self.period)

    @property
    def everywhere(self) -> bool:
        """Whether all places see the same pixels."""
        return self.advance == 0

    def through(self, taps: Taps) -> Field:
        """Of the layer that reads this one by ``taps``."""
        turns = self.period // math.gcd(self.period, taps.advance)
        spans = []
        for turn in range(turns):
            for reads in taps.reads:
                spans.append(_hull(self.at(one + turn * taps.advance) for one in reads))
        advance = self.advance * (taps.advance * turns // self.period)
        step = self.step * Fraction(taps.advance, taps.period)
        return replace(
            self, period=taps.period * turns, advance=advance, spans=tuple(spans), step=step
        ).shortest()

    def whole(self, size: int) -> Field:
        """Of a layer whose every place reads all ``size`` places of this one."""
        span = _hull(self.at(place) for place in range(size))
        return replace(self, period=1, advance=0, spans=(span,))

    def joined(self, other: Field, size: int) -> Field:
        """Of a layer that reads the same places of this and of another one, ``size`` each.

        Raises:
            Lost: their strides differ.
        """
        if self.pace != other.pace and (self.everywhere or other.everywhere or size == 1):
            span = _hull([self.whole(size).at(0), other.whole(size).at(0)])
            # The stride is that of the map, where the other has one value for all places.
            steps = [f.step for f in (self, other) if not f.everywhere] or [self.step, other.step]
            return Field(1, 0, (span,), min(steps), self.aligned and other.aligned)
        if self.pace != other.pace:
            raise Lost("maps of different strides meet")
        period = math.lcm(self.period, other.period)
        pairs = [(self.at(place), other.at(place)) for place in range(period)]
        middles = [[sum(span) for span in pair if span is not None] for pair in pairs]
        aligned = self.aligned and other.aligned and all(len(set(m)) < 2 for m in middles)
        return Field(
            period,
            self.advance * (period // self.period),
            tuple(_hull(pair) for pair in pairs),
            min(self.step, other.step),
            aligned,
        ).shortest()

    def shortest(self) -> Field:
        """The same with the shortest period."""
        for period in range(1, self.period):
            if self.period % period or (self.advance * period) % self.period:
                continue
            short = replace(
                self,
                period=period,
                advance=self.advance * period // self.period,
                spans=self.spans[:period],
            )
            if all(short.at(place) == span for place, span in enumerate(self.spans)):
                return short
        return self


PIXEL = Field(1, 1, ((0, 0),), Fraction(1))


def _hull(spans: Iterable[Span]) -> Span:
    found = [span for span in spans if span is not None]
    return (min(a for a, _ in found), max(b for _, b in found)) if found else None
