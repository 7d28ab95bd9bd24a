"""What a view is: a function from the story of a run to one section of the page.

A view that has nothing to say returns None. It fills a template of `reports/`, where everything is
escaped; only what the lab has drawn itself (`Markup` of an SVG) passes as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from robustlab import shelf
from robustlab.evidence import Evidence
from robustlab.reporting.palette import Style, styles
from robustlab.results import Results
from robustlab.verdict import Verdict, norm_name, plain_text, plural, reach_verdict

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["Section", "Story", "View", "environment", "prose", "render", "thousands"]

_CODE = re.compile(r"`([^`]*)`")


@dataclass(frozen=True)
class Story:
    """A run, its verdict and the look of its backbones: what every view is given."""

    evidence: Evidence
    verdict: Verdict
    styles: Mapping[str, Style]

    @classmethod
    def of(cls, results: Results) -> Story:
        """Read a run and reach its verdict."""
        evidence = Evidence(results)
        return cls(evidence, reach_verdict(evidence), styles(evidence.backbones))

    @property
    def at(self) -> str:
        """``eps 0.1 (Linf)``: where the verdict was reached."""
        eps = self.verdict.eps
        return f"eps {eps.text} ({norm_name(self.verdict.norm)})" if eps else ""

    @property
    def images(self) -> str:
        """``200 digits``."""
        return plural(self.evidence.n, self.evidence.noun)


@dataclass(frozen=True)
class Section:
    """One section: its anchor, its name in the contents, its finding, its body.

    ``lead`` are the sentences that carry the finding, where a page may open with it.
    """

    anchor: str
    name: str
    title: str
    body: Markup
    lead: tuple[str, ...] = ()


View = Callable[[Story], Section | None]


def prose(text: str) -> Markup:
    """A sentence as HTML: escaped first, then names between backticks set as code.

    No-break spaces keep a rate and its interval together on a line.
    """
    from markupsafe import Markup, escape

    escaped = str(escape(text))
    held = re.sub(r"\[(\S+), (\S+)\]", "[\\1,\u00a0\\2]", escaped.replace(" %", "\u00a0%"))
    held = re.sub(r"\bp (&lt;|=) ", "p\u00a0\\1\u00a0", held)
    return Markup(_CODE.sub(_set_code, held))


def thousands(value: float) -> str:
    """A count as every page writes it, narrow spaces between its thousands: ``61 706``."""
    return f"{value:,.0f}".replace(",", "\u202f")


def _set_code(found: re.Match[str]) -> str:
    short = ' class="short"' if len(found[1]) <= 32 else ""
    return f"<code{short}>{found[1]}</code>"


def interval(text: str) -> Markup:
    """A rate as a table shows it: the value, and its interval as a part of its own."""
    from markupsafe import Markup, escape

    value, bracket, rest = text.partition(" [")
    if not bracket:
        return escape(text)
    return Markup('{} <span class="ci">[{}</span>').format(value.replace(" ", "\u00a0"), rest)


@cache
def environment() -> Environment:
    """Templates of the shelf, everything escaped, undefined names an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(shelf.reports()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"prose": prose, "plain": plain_text, "plural": plural}
    made.filters |= {"interval": interval, "csv": csv_link, "thousands": thousands}
    return made


def render(template: str, story: Story, **values: Any) -> Markup:
    """Fill a template of the shelf."""
    from markupsafe import Markup

    return Markup(environment().get_template(template).render(story=story, **values))


def _unarmed(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula, quoted; a number below 0 is none."""
    text = not isinstance(value, int | float)
    return f"'{value}" if text and str(value)[:1] in tuple("=+-@\t\r") else value


def csv_link(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as a ``data:`` address of a CSV file.

    Text that a spreadsheet would run as a formula is quoted.
    """
    import csv
    import io
    from urllib.parse import quote

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow([_unarmed(v) for v in row])
    return f"data:text/csv;charset=utf-8,{quote(buffer.getvalue())}"
