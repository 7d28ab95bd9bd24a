"""Matplotlib figures as SVG inside the page.

The same figure gives the same bytes: fixed salt, no date. Ids carry the figure's prefix, so two
figures cannot collide. Text stays text, in the page's font; ink, rules and paper follow the page's
theme, because the stand-in colours below are replaced by its variables.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

__all__ = ["INK", "MUTED", "PAPER", "RULE", "canvas", "inline"]

# Stand-ins: colours that no figure uses otherwise.
INK, RULE, MUTED, PAPER = "#010203", "#030201", "#020301", "#fefdfc"
_THEME = {
    INK: "currentColor",
    RULE: "var(--rule)",
    MUTED: "var(--muted)",
    PAPER: "var(--paper)",
}
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "robustlab",
    "text.parse_math": False,
    "font.size": 13.0,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": RULE,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "ytick.major.size": 0.0,
    "path.simplify": False,
}


@contextmanager
def _settings() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user's own file of settings says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


@contextmanager
def canvas(width: int, height: int) -> Iterator[Figure]:
    """An empty figure of ``width`` x ``height`` page pixels in the page's style."""
    from matplotlib.figure import Figure

    with _settings():
        yield Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def inline(figure: Figure, prefix: str, alt: str) -> Markup:
    """The figure as an ``<svg>`` element that may stand in the page; ``alt`` describes it."""
    from markupsafe import Markup, escape

    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _settings():
        figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL)
    view_box = re.search(r'viewBox="([^"]*)"', text)
    assert view_box is not None
    head = (
        f'<svg class="plot" viewBox="{view_box[1]}" role="img" aria-label="{escape(alt)}"'
        ' xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(head + _themed(_prefixed(text[text.index(">") + 1 :], prefix)))


def _prefixed(text: str, prefix: str) -> str:
    text = re.sub(r'(\sid=")', rf"\g<1>{prefix}-", text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    return re.sub(r'href="#', f'href="#{prefix}-', text)


def _themed(text: str) -> str:
    for stand_in, value in _THEME.items():
        text = text.replace(stand_in, value)
    # The page's font, whether this matplotlib writes its own as a shorthand or by name.
    text = re.sub(r"font: (?:\w+ )*?([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"font-family: [^;\"]*; ?", "", text)
    return re.sub(r"\n\s*", "\n", text)
