"""The page: its sections, style and script in one file that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib

from robustlab import shelf
from robustlab.reporting.section import Story, render
from robustlab.reporting.views import VIEWS
from robustlab.results import Results

__all__ = ["build_page"]


def build_page(results: Results) -> str:
    """The whole page as text; the same run gives the same bytes."""
    from markupsafe import Markup

    story = Story.of(results)
    sections = [section for view in VIEWS if (section := view(story)) is not None]
    script = (shelf.reports() / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = render(
        "page.html",
        story,
        sections=sections,
        style=Markup((shelf.reports() / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=(
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ),
    )
    return str(page) + "\n"
