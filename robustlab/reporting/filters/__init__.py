"""What does the network look at? One part a probe, in the order of `PARTS`.

A new part is one file and one line here.
"""

from __future__ import annotations

from robustlab.reporting.filters.attribution import attribution
from robustlab.reporting.filters.depth_trace import depth_trace
from robustlab.reporting.filters.looking import feature_maps, filter_bank, retrieval
from robustlab.reporting.filters.units import deconvnet, maximisation
from robustlab.reporting.filters.weights import first_layer, kernels
from robustlab.reporting.invariance.told import Part, Told
from robustlab.reporting.section import Section, Story, render

__all__ = ["PARTS", "Part", "Told", "filters"]

# The probe's name -> who tells it. A probe that is not here is told by its numbers alone.
PARTS: dict[str, Part] = {
    "first_layer": first_layer,
    "kernels": kernels,
    "feature_maps": feature_maps,
    "filter_bank": filter_bank,
    "retrieval": retrieval,
    "depth_trace": depth_trace,
    "deconvnet": deconvnet,
    "attribution": attribution,
    "maximisation": maximisation,
}


def filters(story: Story) -> Section | None:
    """All parts whose probe ran; nothing where none did."""
    told = []
    for name, part in PARTS.items():
        groups = [g for g in story.evidence.landed if g.plan["probe"] == name]
        found = part(story, groups) if groups else None
        told += [found] if found is not None else []
    if not told:
        return None
    body = render("filters.html", story, parts=told)
    return Section("filters", "Filters", told[0].title, body, told[0].lead)
