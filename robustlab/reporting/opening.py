"""The verdict: the finding, the sentences that carry it, and how they were arrived at."""

from __future__ import annotations

import re

from robustlab.reporting.section import Section, Story, render

__all__ = ["opening", "opening_with"]


def opening(story: Story) -> Section:
    """The head of the page: what the attacks found."""
    return _opening(story, story.verdict.title, ())


def opening_with(story: Story, first: Section) -> Section:
    """The head of a page whose suite asks something else first: that section's finding, and then
    what the attacks found.
    """
    short = re.sub(r" \[[^\]]*\]", "", first.title)  # intervals stand in the sentence below
    return _opening(story, short, first.lead or (f"{first.title}.",))


def _opening(story: Story, title: str, before: tuple[str, ...]) -> Section:
    verdict = story.verdict
    body = render("opening.html", story, verdict=verdict, lead=[*before, *verdict.lead])
    return Section("verdict", "Verdict", title, body)
