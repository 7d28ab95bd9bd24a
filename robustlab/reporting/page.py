"""The page: its sections, style and script in one file that asks the network for nothing."""

from __future__ import annotations

from robustlab.reporting.frame import frame
from robustlab.reporting.section import Story, render
from robustlab.reporting.views import VIEWS
from robustlab.results import Results

__all__ = ["build_page"]


def build_page(results: Results) -> str:
    """The whole page as text; the same run gives the same bytes."""
    story = Story.of(results)
    sections = [section for view in VIEWS if (section := view(story)) is not None]
    return str(render("page.html", story, sections=sections, **frame())) + "\n"
