"""The verdict: the finding, the sentences that carry it, and how they were arrived at."""

from __future__ import annotations

from robustlab.reporting.section import Section, Story, render

__all__ = ["opening"]


def opening(story: Story) -> Section:
    """The head of the page."""
    verdict = story.verdict
    body = render("opening.html", story, verdict=verdict)
    return Section("verdict", "Verdict", verdict.title, body)
