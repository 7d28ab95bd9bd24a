"""Reasons to doubt the run: what failed, what the detectors of its cells found, what is too few.

A check is a function from evidence to lines; each says what it looked at, also when it found
nothing. Checks of gradient masking are in `masking`; what a cell alone can tell (refused claims,
what 8 bits lose, fragile verdicts) is found there and only retold here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from robustlab.outcome import Finding
from robustlab.reporting.losses import curves_of, rises
from robustlab.reporting.section import Story
from robustlab.resting import too_many
from robustlab.verdict import code, plural

__all__ = ["Check", "Level", "Line"]

Level = Literal["red", "amber", "green"]
HALF_WIDTH = 0.05


@dataclass(frozen=True)
class Line:
    """One belief line; ``names`` are folded under it."""

    level: Level
    text: str
    names: tuple[str, ...] = ()


Check = Callable[[Story], Iterator[Line]]


def completeness(story: Story) -> Iterator[Line]:
    """Cells that failed or never landed."""
    groups = story.evidence.groups
    whole = True
    for group in groups:
        if group.outcome is not None:
            continue
        whole = False
        who = f"{code(group.label)} on {code(group.backbone)}"
        if group.failures:
            errors = tuple(dict.fromkeys(record.error for record in group.failures))
            yield Line("red", f"{who} failed; none of its numbers is in any table.", errors)
        else:
            part = f"{len(group.missing)} of its {len(group.cells)} cells never landed"
            how = f"whole: {part}, so none counts" if len(group.cells) > 1 else "at all"
            yield Line("red", f"{who} was not measured {how}.")
    if whole:
        count = plural(sum(len(g.cells) for g in groups), "cells")
        yield Line("green", f"Nothing is missing: all {count} of the plan landed.")


def findings(story: Story) -> Iterator[Line]:
    """What the detectors of the cells found: of networks (the clean probe) and of attacks.

    What nothing speaks against, and a doubt that several cells share, is said once: of the cell
    where it concerns most images, the others named under it with their own numbers.
    """
    fine: dict[str, list[str]] = {}
    doubted: dict[tuple[Level, str], list[tuple[str, Finding]]] = {}
    rising = _rising(story)
    for group in story.evidence.landed:
        assert group.outcome is not None
        clean = group.plan["kind"] == "clean"
        who = code(group.backbone) if clean else f"{code(group.label)} on {code(group.backbone)}"
        for found in group.outcome.findings:
            if found.level == "green":
                if found.detector == "convergence" and who in rising:
                    continue  # each part of the run was at rest, all of them together are not
                fine.setdefault(found.sentence, []).append(who)
            else:
                doubted.setdefault((found.level, found.text), []).append((who, found))
    for (level, _), told in doubted.items():
        yield _shared_doubt(level, told)
    for sentence, names in fine.items():
        yield Line("green", sentence, tuple(dict.fromkeys(name.replace("`", "") for name in names)))


def convergence(story: Story) -> Iterator[Line]:
    """Searches that the section of losses calls still rising, where no cell said so by itself: it
    joins the parts of a run, and looks at one eps.
    """
    told = {
        f"{code(g.label)} on {code(g.backbone)}"
        for g in story.evidence.landed
        if g.outcome is not None
        for found in g.outcome.findings
        if found.detector == "convergence" and found.level != "green"
    }
    for who, (count, of, eps) in _rising(story).items():
        if who not in told:
            yield Line(
                "amber",
                f"{who}: the loss still rises over the last tenth of the steps on {count} of {of} "
                f"images searched to the last one (eps {eps}): the search was stopped too early.",
            )


def made_images(story: Story) -> Iterator[Line]:
    """Images made to drive a unit that images of the data drive further: the ascent fell short."""
    fine = []
    for group in story.evidence.landed:
        arrays = group.outcome.arrays if group.outcome is not None else {}
        if group.plan["probe"] != "maximisation" or not {"reached", "strongest"} <= set(arrays):
            continue
        short = int((~(arrays["reached"] > arrays["strongest"])).sum())
        of, who = len(arrays["reached"]), f"{code(group.label)} on {code(group.backbone)}"
        if too_many(short, of):
            yield Line(
                "amber",
                f"{who}: {short} of {of} images made drive their target no further than the "
                "strongest image of the data does, so they do not show what drives it most. Take "
                "more steps or a larger rate.",
            )
        else:
            fine.append(who.replace("`", ""))
    if fine:
        yield Line(
            "green", "Images made go beyond the strongest of the data for most targets.", (*fine,)
        )


def _rising(story: Story) -> dict[str, tuple[int, int, str]]:
    """Attack on backbone -> images that rise, of how many, at which eps: by the losses' section."""
    found: dict[str, tuple[int, int, str]] = {}
    for curve in curves_of(story):
        if curve.state != "still rising":
            continue
        stopped = rises(curve.loss, curve.entropy)[0]
        told = round((1 - stopped.value) * stopped.n), stopped.n, curve.eps
        who = f"{code(curve.group)} on {code(curve.backbone)}"
        found[who] = max(found.get(who, told), told)  # of an ensemble, the stage that rises most
    return found


def _shared_doubt(level: Level, told: list[tuple[str, Finding]]) -> Line:
    """One line for a doubt that several cells share."""
    who, gravest = max(told, key=lambda pair: pair[1].count)
    if len(told) == 1:
        return Line(level, f"{who}: {gravest.sentence}", gravest.names)
    others = plural(len(told) - 1, "others")
    numbers = " (their numbers below)" if gravest.of else ""
    entries = []
    for name, found in told:
        counted = f": {found.count} of {found.of}" if found.of else ""
        ids = f" ({', '.join(found.names)})" if found.names else ""
        entries.append(f"{name.replace('`', '')}{counted}{ids}")
    return Line(level, f"{who}: {gravest.sentence} So for {others}{numbers}.", tuple(entries))


def above_chance(story: Story) -> Iterator[Line]:
    """Backbones whose clean accuracy may be a guess: one class of K is right 1 / K of the time."""
    classes = len(story.evidence.about["data"].get("classes") or [])
    if classes < 2:
        return
    fine = []
    for name in story.evidence.backbones:
        rate = story.evidence.clean_rate(name)
        if rate.n and rate.low > 1 / classes:
            fine.append(name)
        elif rate.n:
            yield Line(
                "red",
                f"{code(name)} is right on {rate} of the untouched {story.evidence.noun}, not "
                f"clearly more than guessing among {classes} classes: nothing can be learnt from "
                "attacking it.",
            )
    if fine:
        names = ", ".join(map(code, fine))
        yield Line("green", f"Untouched, more is right than by guessing: {names}.")


def normalisation(story: Story) -> Iterator[Line]:
    """Weights that came without a card tell nothing of what their images were normalised with."""
    for backbone in story.evidence.about["backbones"]:
        card, reference = backbone.get("card") or {}, str(backbone.get("reference") or "")
        if "file" in card and backbone.get("mean") is None and "mean=none" not in reference:
            yield Line(
                "amber",
                f"No normalisation is known for {code(backbone['name'])}, whose weights came "
                "without a card, so it was given pixels as they are. If it was trained on "
                "normalised images every figure is wrong: add ?mean=...&std=... to its reference, "
                "or ?mean=none if it was not.",
            )


def enough(story: Story) -> Iterator[Line]:
    """Intervals wider than +-5 points, and how many images would do."""
    wide = [s for s in story.verdict.standings if s.robust.high - s.robust.low > 2 * HALF_WIDTH]
    if not story.verdict.standings:
        return
    if not wide:
        yield Line("green", f"{story.images} carry every headline rate to within 5 points.")
        return
    widest = max(s.robust.high - s.robust.low for s in wide)
    z = NormalDist().inv_cdf(0.975)
    variance = max(s.robust.value * (1 - s.robust.value) for s in wide)
    needed = round(max(variance, 0.05) * (z / HALF_WIDTH) ** 2 / 10) * 10
    needed = max(needed, (story.evidence.n // 10 + 1) * 10)  # what is here was too few
    verb = "carries" if story.evidence.n == 1 else "carry"
    yield Line(
        "amber",
        f"{story.images} {verb} the rates at {story.at} only to within "
        f"{math.ceil(500 * widest) / 10:.1f} points; 5 points would take about {needed}.",
    )
