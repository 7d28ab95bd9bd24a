"""The page: its sections, style and script in one file that asks the network for nothing."""

from __future__ import annotations

from robustlab.reporting.frame import frame
from robustlab.reporting.opening import opening_with
from robustlab.reporting.section import Section, Story, render
from robustlab.reporting.views import LEADS, VIEWS
from robustlab.results import Results

__all__ = ["build_page"]


def build_page(results: Results) -> str:
    """The whole page as text; the same run gives the same bytes."""
    story = Story.of(results)
    sections = [section for view in VIEWS if (section := view(story)) is not None]
    sections = _led(story, sections)
    contents = [(section.anchor, section.name) for section in sections]
    return str(render("page.html", story, sections=sections, contents=contents, **frame())) + "\n"


def _led(story: Story, sections: list[Section]) -> list[Section]:
    """The page opens with what its suite asks first, after which come the reasons for doubt."""
    asked = next((g.plan["probe"] for g in story.evidence.groups if g.plan["probe"] != "clean"), "")
    first = next((s for s in sections if s.anchor == LEADS.get(asked)), None)
    if first is None:
        return sections
    head = [opening_with(story, first), *(s for s in sections if s.anchor == "belief"), first]
    return head + [s for s in sections if s.anchor not in ("verdict", "belief", first.anchor)]
