"""What does the network not care about? One part a probe, in the order of `PARTS`.

A new part is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable

from robustlab.reporting.invariance.both import both
from robustlab.reporting.invariance.corruptions import corruptions
from robustlab.reporting.invariance.demonstration import demonstration
from robustlab.reporting.invariance.layers import layers
from robustlab.reporting.invariance.seeing import seeing
from robustlab.reporting.invariance.severity import severity
from robustlab.reporting.invariance.shifts import shift
from robustlab.reporting.invariance.told import Part, Told
from robustlab.reporting.section import Section, Story, render

__all__ = ["PARTS", "Part", "Told", "invariance"]

# The probe's name -> who tells it. A probe that is not here is told by its numbers alone.
PARTS: dict[str, Part] = {
    "shift": shift,
    "equivariance": layers,
    "demonstration": demonstration,
    "severity": severity,
    "corruptions": corruptions,
    "seeing": seeing,
}
# What a probe tells together with others, after its own part.
TOGETHER: dict[str, Callable[[Story], Told | None]] = {"shift": both}


def invariance(story: Story) -> Section | None:
    """All parts whose probe ran; nothing where none did."""
    told = []
    for name, part in PARTS.items():
        groups = [g for g in story.evidence.landed if g.plan["probe"] == name]
        if not groups:
            continue
        shared = TOGETHER.get(name)
        found = [part(story, groups), shared(story) if shared else None]
        told += [one for one in found if one is not None]
    if not told:
        return None
    body = render("invariance.html", story, parts=told)
    return Section("invariance", "Invariance", told[0].title, body, told[0].lead)
