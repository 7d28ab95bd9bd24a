"""What shifts do, in words: the finding, comparisons of pairs, numbers with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from robustlab import statistics
from robustlab.reporting.gallery import class_name
from robustlab.reporting.invariance.shift_found import Pair, Shifts, pairs_of
from robustlab.reporting.section import Story
from robustlab.statistics import Rate
from robustlab.verdict import ALPHA, code, holm, p_text, plural

__all__ = ["compared", "error_text", "number_text", "ranking", "rate_text", "sentences", "title"]

_COST = "an untrained network can be 100 % consistent and useless"


def _where(one: Shifts) -> str:
    return f"by up to {plural(one.radius, 'pixels')} (mode {one.mode})"


def title(story: Story, found: Sequence[Shifts]) -> str:
    ranked = sorted(found, key=lambda s: (s.worst(s.radius).value, s.backbone))
    ends = ranked if len(ranked) < 3 else [ranked[0], ranked[-1]]
    told = [f"{code(s.backbone)} {s.worst(s.radius)}" for s in ends]
    images = plural(found[0].n, story.evidence.noun)
    return f"Of {images} shifted {_where(found[0])}, right at every shift stay: " + ", ".join(told)


def _gain(rate: Rate) -> str:
    """A difference of rates in points: ``gains 12.1 points [8.0, 16.2]``."""
    value, low, high = (100 * v for v in (rate.value, rate.low, rate.high))
    if value < 0:
        value, low, high = -value, -high, -low
    interval = "" if math.isnan(low) else f" [{low:z.1f}, {high:z.1f}]"
    return f"{'loses' if rate.value < 0 else 'gains'} {value:.1f} points{interval}"


def _untouched(pair: Pair) -> str:
    """The difference unshifted; where no image tells the two apart there is no interval."""
    same = pair.first.column("clean_correct") == pair.second.column("clean_correct")
    return "is right on the same ones" if bool(same.all()) else _gain(pair.clean)


def compared(story: Story, pair: Pair, pairs: int) -> str:
    first, second, worst = code(pair.first.backbone), code(pair.second.backbone), pair.worst
    images = plural(pair.first.n, story.evidence.noun)
    told = (
        f"On these {images}, beside {second}, {first} {_untouched(pair)} unshifted and "
        f"{_gain(pair.mean)} over all shifts {_where(pair.first)}. Right at every shift is "
        f"{first} alone on {worst.only_first}, {second} alone on {worst.only_second} "
        f"(exact McNemar, {p_text(pair.p)}{', Holm over all pairs' if pairs > 1 else ''})"
    )
    return f"{told}{'.' if pair.p < ALPHA else ', which chance explains as well.'}"


def ranking(story: Story, found: Sequence[Shifts]) -> str:
    """All backbones in one sentence: right at every shift, best first; what that costs on untouched
    images, and what the attacks of the run leave of each.
    """
    ranked = sorted(found, key=lambda s: (-s.worst(s.radius).value, s.backbone))
    stay = [f"{code(s.backbone)} {s.worst(s.radius)}" for s in ranked]
    parts = [
        f"Right at every shift {_where(found[0])} of {plural(found[0].n, story.evidence.noun)}: "
        + ", ".join(stay)
    ]
    parts += _untouched_cost(found)
    norm, eps = story.verdict.norm, story.verdict.eps
    if eps is not None:
        left = [(s.backbone, story.evidence.robust(s.backbone, norm, eps)) for s in ranked]
        kept = [f"{code(name)} {rate}" for name, rate in left if rate.n]
        if kept:
            parts.append(f"under attack at {story.at} are right {', '.join(kept)}")
    return f"{'; '.join(parts)}."


def _untouched_cost(found: Sequence[Shifts]) -> list[str]:
    """The largest established difference of clean accuracy, or that there is none."""
    pairs = [
        (pair, statistics.mcnemar(*(s.column("clean_correct") for s in (pair.first, pair.second))))
        for pair in pairs_of(found)
    ]
    if not pairs:
        return []
    corrected = holm([paired.p for _, paired in pairs])
    least = min(corrected)
    told = [
        (abs(pair.clean.value), pair, p)
        for (pair, _), p in zip(pairs, corrected, strict=True)
        if p < ALPHA
    ]
    test = f"exact McNemar{', Holm over all pairs' if len(pairs) > 1 else ''}"
    if not told:
        return [f"unshifted, no difference is established ({test}, least {p_text(least)})"]
    _, pair, p = max(told, key=lambda one: one[0])
    ends = sorted((pair.first, pair.second), key=lambda s: -s.clean.value)
    return [
        f"unshifted, the largest established difference is {code(ends[0].backbone)} "
        f"{ends[0].clean} to {code(ends[1].backbone)} {ends[1].clean} ({test}, {p_text(p)})"
    ]


def sentences(story: Story, found: Sequence[Shifts]) -> list[str]:
    """The ranking; comparisons of the best with each other one; a word on consistency and on one
    class.
    """
    pairs = pairs_of(found)
    best = pairs[0].first.backbone if pairs else ""
    told = [ranking(story, found)]
    told += [compared(story, p, len(pairs)) for p in pairs if p.first.backbone == best]
    classes = np.unique(found[0].labels)
    if len(classes) == 1:
        name = class_name(story, int(classes[0]))
        told.append(f"All images are of class {code(name)}: nothing is known of the others.")
    useless = [s for s in found if s.consistency(s.radius).value - s.clean.value > 0.2]
    told += [
        f"{code(s.backbone)} is consistent ({rate_text(s.consistency(s.radius))}; {error_text(s)}) "
        f"and often wrong ({s.clean} right): consistency alone says nothing, {_COST}."
        for s in useless
    ]
    return told


def rate_text(rate: Rate) -> str:
    """A rate with its interval; the mean of one image has none."""
    return f"{100 * rate.value:.1f} %" if rate.n and math.isnan(rate.low) else str(rate)


def error_text(one: Shifts) -> str:
    """What consistency does not see: how far shifts move the logits, beside another image."""
    error, other = one.error("logits", one.radius), one.unrelated("logits")
    many = (2 * one.radius + 1) ** 2 - 1
    over = f"mean over the {many} shifts by up to {plural(one.radius, 'pixels')}"
    beside = f"between unrelated images {number_text(other)}"
    return f"logit error, {over}, {number_text(error)}, {beside}"


def number_text(rate: Rate) -> str:
    if rate.n == 0:
        return "none"
    if math.isnan(rate.low):
        return f"{rate.value:.3g}"
    return f"{rate.value:.3g} [{rate.low:.3g}, {rate.high:.3g}]"
