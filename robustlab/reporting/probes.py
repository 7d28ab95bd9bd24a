"""Every other probe, generically: its sentence, its numbers with intervals, its pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robustlab.outcome import Picture
from robustlab.reporting import filters, invariance
from robustlab.reporting.anatomy import PROBE as ANATOMY
from robustlab.reporting.fooling.reach import PROBE as REACH
from robustlab.reporting.pixels import data_uri, scale_for
from robustlab.reporting.section import Section, Story, render
from robustlab.results import Group, measure
from robustlab.statistics import Rate
from robustlab.verdict import code, plural

__all__ = ["probes", "written"]

ROOM = 288


def probes(story: Story) -> Section | None:
    """One part a probe, all its backbones side by side."""
    told = [g for g in story.evidence.landed if g.plan["kind"] == "probe"]
    own = {*filters.PARTS, *invariance.PARTS, ANATOMY, REACH}  # these have a section of their own
    groups = [g for g in told if g.plan["probe"] not in own]
    if not groups:
        return None
    labels = list(dict.fromkeys(g.label for g in groups))
    parts = [_part(story, [g for g in groups if g.label == label]) for label in labels]
    body = render("probes.html", story, parts=parts)
    title = (
        parts[0]["sentence"]
        if len(parts) == 1
        else f"{plural(len(parts), 'probes')} beside the attacks"
    )
    return Section("probes", "Other probes", title, body)


def _part(story: Story, groups: Sequence[Group]) -> dict[str, Any]:
    metrics = list(
        dict.fromkeys(m for g in groups for m in (g.outcome.metrics if g.outcome else ()))
    )
    rows = [
        [
            metric,
            [written(g, metric) for g in groups],
            [g.rate(metric).n if _has(g, metric) else 0 for g in groups],
        ]
        for metric in metrics
    ]
    pictures = [(g.backbone, _picture(p)) for g in groups if g.outcome for p in g.outcome.pictures]
    notes = dict.fromkeys(note for g in groups if g.outcome for note in g.outcome.notes)
    return {
        "label": groups[0].label,
        "names": [g.backbone for g in groups],
        "sentence": _sentence(groups, metrics),
        "rows": rows,
        "main": pictures[: len(groups)],
        "more": pictures[len(groups) :],
        "notes": list(notes),
    }


def _has(group: Group, metric: str) -> bool:
    return group.outcome is not None and metric in group.outcome.metrics


def written(group: Group, metric: str) -> str:
    """A number with its interval: a rate in per cent, a mean in its own unit."""
    if group.outcome is None or metric not in group.outcome.metrics:
        return "not measured"
    found = measure(group.outcome, group.outcome.metrics[metric])
    kind = np.asarray(group.outcome.samples[group.outcome.metrics[metric].column]).dtype.kind
    return str(found) if kind == "b" else _mean(found)


def _mean(found: Rate) -> str:
    """A mean with as many decimals as its interval can bear."""
    if found.n == 0:
        return "not measured"
    if math.isnan(found.low):
        return f"{found.value:.4g} (one image, no interval)"
    half = (found.high - found.low) / 2
    decimals = min(9, max(0, 1 - math.floor(math.log10(half)))) if half > 0 else 3
    value, low, high = (f"{v:z.{decimals}f}" for v in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _sentence(groups: Sequence[Group], metrics: Sequence[str]) -> str:
    """The first metric, from the lowest backbone to the highest."""
    label = code(groups[0].label)
    if not metrics:
        return f"{label} ran on {plural(len(groups), 'backbones')}"
    having = [g for g in groups if _has(g, metrics[0]) and g.rate(metrics[0]).n]
    if not having:
        return f"{label}: {metrics[0]} was not measured"
    having.sort(key=lambda g: g.rate(metrics[0]).value)
    ends = having if len(having) < 3 else [having[0], having[-1]]
    told = [f"{written(g, metrics[0]).split(' [')[0]} ({code(g.backbone)})" for g in ends]
    word = "from " if len(told) > 1 else ""
    return f"{label}: {metrics[0]} {word}{' to '.join(told)}"


def _picture(picture: Picture) -> dict[str, Any]:
    pixels = np.asarray(picture.pixels, dtype=np.uint8)
    height, width = pixels.shape[:2]
    scale = scale_for(width, ROOM)
    return {
        "name": picture.name,
        "caption": picture.caption,
        "uri": data_uri(pixels),
        "width": width * scale,
        "height": height * scale,
    }
