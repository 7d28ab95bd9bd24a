"""One colour a backbone, the same on the whole page; marker and dash tell it apart as well.

Colours are those of Okabe and Ito (2008), without the yellow and the black, which vanish on a light
or a dark page. More backbones than colours repeat a colour with another marker and dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Style", "styles"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[tuple[float, ...], ...] = ((), (9, 2), (9, 2, 2, 2), (5, 1.5), (12, 3, 3, 3, 3, 3))

# The same markers for the legend: paths in a box of 10 x 10 about the origin.
_PATHS = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "s": "M-3.6-3.6h7.2v7.2h-7.2z",
    "^": "M0-4.4L4.4 3.6h-8.8z",
    "D": "M0-4.8L4.8 0 0 4.8-4.8 0z",
    "v": "M0 4.4L4.4-3.6h-8.8z",
    "P": "M-1.6-4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
    "X": "M-2.8-5L0-2.2 2.8-5 5-2.8 2.2 0 5 2.8 2.8 5 0 2.2-2.8 5-5 2.8-2.2 0-5-2.8z",
}


@dataclass(frozen=True)
class Style:
    """How one backbone is drawn."""

    index: int
    colour: str
    marker: str
    dash: tuple[float, ...]

    @property
    def path(self) -> str:
        """The marker as an SVG path."""
        return _PATHS[self.marker]

    @property
    def dasharray(self) -> str:
        """The dash as an SVG attribute."""
        return " ".join(f"{d:g}" for d in self.dash) or "none"


def styles(names: Sequence[str]) -> dict[str, Style]:
    """The style of each backbone, by its place in the run."""
    return {
        name: Style(
            i,
            COLOURS[i % len(COLOURS)],
            MARKERS[i % len(MARKERS)],
            DASHES[i % len(DASHES)],
        )
        for i, name in enumerate(names)
    }
