"""Where the panda turns into the vulture: what a change of the input does from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustlab.reporting.filters.depth_trace_curves import curves
from robustlab.reporting.filters.depth_trace_found import (
    CONTROLS,
    Trace,
    described,
    factor,
    portion,
    trace_in,
)
from robustlab.reporting.filters.depth_trace_maps import channel_pictures
from robustlab.reporting.invariance.told import Told, leading
from robustlab.reporting.section import Story, render
from robustlab.results import Group
from robustlab.verdict import code, plural

__all__ = ["depth_trace", "sentences", "title"]


def depth_trace(story: Story, groups: Sequence[Group]) -> Told | None:
    """Curves, a table and the channels that change most, for each set of parameters."""
    having = [g for g in groups if g.outcome is not None]
    if not having:
        return None
    noun, parts = story.evidence.noun, []
    for place, label in enumerate(dict.fromkeys(g.label for g in having)):
        parts.append(_part(story, [g for g in having if g.label == label], place))
    body = render("depth_trace.html", story, parts=parts, several=len(parts) > 1)
    return Told(str(parts[0]["title"]), body, _lead(str(parts[0]["title"]), having, noun))


def _lead(title: str, having: Sequence[Group], noun: str) -> tuple[str, ...]:
    """Of one network all that is said; of several, what each that the title names does."""
    first = [one for g in having if g.label == having[0].label and (one := trace_in(g)) is not None]
    if len(first) < 2:
        return tuple(said for one in first for said in sentences(one, noun))
    told = [" ".join(sentences(one, noun)[:2]) for one in first]
    return leading(title, told, [one.backbone for one in first])


def _part(story: Story, groups: Sequence[Group], place: int) -> dict[str, Any]:
    found = [one for group in groups if (one := trace_in(group)) is not None]
    noun = story.evidence.noun
    adjective, what = described(groups[0].plan["params"])
    drawn, rows = curves(story, found, f"trace-{place}")
    return {
        "label": groups[0].label,
        "title": title(found, noun) if found else f"No {adjective} {noun} could be followed",
        "what": what,
        "adjective": adjective,
        "sentences": [" ".join(sentences(one, noun)) for one in found],
        "drawings": drawn,
        "tables": [_table(one) for one in found],
        "maps": [m for one in found if (m := channel_pictures(one)) is not None],
        "notes": [(g.backbone, n) for g in groups if g.outcome for n in g.outcome.notes],
        "file": f"depth-trace-{place + 1}.csv",
        "head": ["backbone", "layer", "measure", "value", "low", "high", "n"],
        "rows": rows,
    }


def title(found: Sequence[Trace], noun: str) -> str:
    """At which layer each network has left the class."""
    told = [(one, one.left) for one in found]
    what = f"{found[0].adjective} {noun}"
    gone = [
        f"{code(one.backbone)} at {code(one.names[place])}"
        for one, place in told
        if place is not None
    ]
    if gone:
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        return f"Most {what} have left their class in {', '.join(gone[:3])}{more}"
    if any(one.read for one in found):
        return f"No layer's linear read-out surely loses most {what}"
    if not any(one.lost.any() for one in found):
        return f"None of the {what} followed lost its label"
    return f"{what.capitalize()}, followed through the layers"


def sentences(one: Trace, noun: str) -> list[str]:
    """What grows, where the class is left, and how few channels bring it back."""
    last = len(one.names) - 1
    others = ", ".join(f"{words} {factor(one.control(c, last))}" for c, words in CONTROLS.items())
    told = [
        f"{code(one.backbone)}: from the input to {code(one.names[last])} the relative distance of "
        f"{one.adjective} {noun} is multiplied by {factor(one.amplification(last))} "
        f"(median of {plural(one.n, noun)}); {others}, medians too. Its mean, the figure of the "
        f"summary, is {factor(one.mean_amplification(last))}."
    ]
    if one.lost.any():
        told += [_reading(one, noun), _restoring(one, noun)]
    else:
        told.append(f"None of the {plural(one.n, noun)} followed lost its label.")
    round_ = [name for name, cut in zip(one.names, one.cuts, strict=True) if not cut]
    if round_:
        some = ", ".join(code(name) for name in round_[:3])
        told.append(
            f"Branches go round {plural(len(round_), 'layers')} of {len(one.names)} "
            f"({some}{', ...' if len(round_) > 3 else ''}): setting back all of such a layer does "
            "not give the clean logits."
        )
    return told


def _reading(one: Trace, noun: str) -> str:
    if not one.read:
        return "There is no read-out of the layers."
    place, what = one.left, f"{one.adjective} {noun}"
    if place is None:
        last = len(one.names) - 1
        own = one.own("changed", last)
        return (
            "At no layer, and those behind it, does a linear read-out surely lose half of them: at "
            f"{code(one.names[last])} it tells {own} of {own.n} {what}, on all of which the "
            "network itself changes its mind."
        )
    own, control = one.own("changed", place), one.own("permuted", place)
    return (
        f"The class is left at {code(one.names[place])} ({one.modules[place]}): there a linear "
        f"read-out still tells {own} of {own.n} {what}, and {control} with the "
        "pixels of the perturbation permuted."
    )


def _restoring(one: Trace, noun: str) -> str:
    place, many = one.place, int(one.lost.sum())
    ordered, chance = portion(one.restoring(place)), portion(one.restoring_random(place))
    return (
        f"At {code(one.names[place])} the label returns when {ordered} of the changed channels are "
        f"set back, those of largest change first; in random order it takes {chance} (medians of "
        f"{plural(many, noun)})."
    )


def _table(one: Trace) -> dict[str, Any]:
    rows = []
    for place, name in enumerate(one.names):
        rows.append(
            {
                "name": name,
                "module": one.modules[place],
                "channels": int(one.arrays["channels"][place]),
                "cells": [
                    factor(one.amplification(place)),
                    *(factor(one.control(c, place)) for c in CONTROLS),
                    factor(one.cosine(place)),
                    portion(one.flips(place)),
                    portion(one.restoring(place)),
                    portion(one.restoring_random(place)),
                    str(one.own("changed", place)),
                    str(one.own("permuted", place)),
                ],
                "cut": "yes" if one.cuts[place] else "no",
            }
        )
    return {"backbone": one.backbone, "rows": rows, "n": one.n, "lost": int(one.lost.sum())}
