"""What does the network not care about? One part a probe, in the order of `PARTS`.

A new part is one file and one line here.
"""

from __future__ import annotations

from robustlab.reporting.invariance.shifts import shift
from robustlab.reporting.invariance.told import Part, Told
from robustlab.reporting.section import Section, Story, render

__all__ = ["PARTS", "Part", "Told", "invariance"]

# The probe's name -> who tells it. A probe that is not here is told by its numbers alone.
PARTS: dict[str, Part] = {
    "shift": shift,
}


def invariance(story: Story) -> Section | None:
    """All parts whose probe ran; nothing where none did."""
    told = []
    for name, part in PARTS.items():
        groups = [g for g in story.evidence.landed if g.plan["probe"] == name]
        found = part(story, groups) if groups else None
        if found is not None:
            told.append(found)
    if not told:
        return None
    body = render("invariance.html", story, parts=told)
    return Section("invariance", "Invariance", told[0].title, body)
