"""What the page of twins says: numbers in their units, the verdict, what is not claimed."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from robustlab.kinds import ENOUGH, Key, Kinds
from robustlab.statistics import Difference, Rate
from robustlab.verdict import ALPHA, code, holm, plural

__all__ = [
    "caveats",
    "command",
    "ends",
    "headlines",
    "is_rate",
    "mean_text",
    "points",
    "sentence",
    "title",
]

_ALIKE = " (alike in every seed)"  # no spread was seen, so there is no interval
# What a reader asks first: is it right, on shifted images too, and under attack.
_FIRST = (
    ("clean", "clean_accuracy"),
    ("shift", "mean_shift_accuracy"),
    ("shift", "worst_shift_accuracy"),
)


def is_rate(kinds: Kinds, key: Key) -> bool:
    """Whether a number is a share of images: a metric of a column of bools."""
    for run in kinds.runs.values():
        for group in run.groups():
            named = (group.plan["probe"], group.plan["label_params"]) == (key.probe, key.params)
            metric = f"{key.metric}[eps={key.eps}]" if key.eps else key.metric
            if named and group.outcome is not None and metric in group.outcome.metrics:
                column = group.outcome.samples[group.outcome.metrics[metric].column]
                return bool(column.dtype.kind == "b") or _is_share(key)
    return False


def _is_share(key: Key) -> bool:
    """Means over an image's shifts are shares too."""
    return _base(key).endswith(("accuracy", "consistency"))


def _base(key: Key) -> str:
    """``worst_shift_accuracy`` of ``worst_shift_accuracy[radius=8]``; largest radii come first."""
    return key.metric.partition("[")[0]


def headlines(kinds: Kinds) -> list[Key]:
    """The numbers that the page opens with: accuracy, shifts, one eps of each attack."""
    first = [
        next(key for key in kinds.values if (key.probe, _base(key)) == asked)
        for asked in _FIRST
        if any((key.probe, _base(key)) == asked for key in kinds.values)
    ]
    robust: dict[tuple[str, str], list[Key]] = {}
    for key in kinds.values:
        if key.metric == "robust_accuracy" and key.probe != "noise":
            robust.setdefault((key.probe, key.params), []).append(key)
    return first + [_telling(kinds, keys) for keys in robust.values()]


def _telling(kinds: Kinds, keys: Sequence[Key]) -> Key:
    """The eps at which the twins are furthest apart on average."""

    def spread(key: Key) -> float:
        means = [float(values.mean()) for values in kinds.values[key].values()]
        return max(means) - min(means)

    return max(keys, key=spread)


def ends(found: Rate | Difference, rate: bool) -> tuple[float, float]:
    """The interval, cut to what can be: whatever Student's t makes of a few seeds, no share lies
    outside of 0 to 1, and no difference of two outside of -1 to 1.
    """
    least = -1.0 if isinstance(found, Difference) else 0.0
    low, high = found.low, found.high
    return (max(low, least), min(high, 1.0)) if rate and not math.isnan(low) else (low, high)


def mean_text(found: Rate, rate: bool) -> str:
    """``81.3 % [78.0, 84.6]``; without an interval where there is one seed."""
    factor, unit, digits = (100.0, " %", 1) if rate else (1.0, "", 3)
    value, low, high = (f"{factor * v:.{digits}f}" for v in (found.value, *ends(found, rate)))
    if math.isnan(found.low):
        return f"{value}{unit}{_ALIKE if found.n > 1 else ''}"
    return f"{value}{unit} [{low}, {high}]"


def points(found: Difference, rate: bool) -> str:
    """``+12.0 points [9.1, 14.9], p = 0.0004``."""
    factor, unit, digits = (100.0, " points", 1) if rate else (1.0, "", 3)
    value, low, high = (f"{factor * v:+.{digits}f}" for v in (found.value, *ends(found, rate)))
    if math.isnan(found.low):
        return f"{value}{unit}{_ALIKE if found.n > 1 else ''}"
    # Few trainings make no claim, and so give no p.
    p = f", {_p(found.p)}" if found.n >= ENOUGH else ""
    return f"{value}{unit} [{low}, {high}]{p}"


def _p(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def title(kinds: Kinds) -> str:
    """The finding: the twin that gains or loses most, seed by seed, in the first telling number."""
    keys = headlines(kinds)
    if not kinds.runs or not keys:
        return f"{kinds.about['name']}: nothing to compare yet"
    if not kinds.enough:
        trained = plural(len(kinds.runs), "seeds")
        return f"{kinds.about['name']}: {trained}, too few for a claim about the kind"
    tried = [(key, twin, kinds.difference(key, twin)) for key in keys for twin in kinds.twins[1:]]
    corrected = holm([1.0 if math.isnan(found.p) else found.p for _, _, found in tried])
    apart = [
        (abs(found.value), key, twin, found)
        for (key, twin, found), p in zip(tried, corrected, strict=True)
        if p < ALPHA
    ]
    if not apart:
        return f"No difference between {_names(kinds.twins)} that {len(kinds.runs)} seeds can tell"
    _, key, twin, found = max(apart, key=lambda one: one[0])
    rate = is_rate(kinds, key)
    size = f"{100 * abs(found.value):.1f} points" if rate else f"{abs(found.value):.3g}"
    word = "more" if found.value > 0 else "less"
    return f"{code(twin)} has {size} {word} {_what(key)} than {code(kinds.reference)}"


def sentence(kinds: Kinds, key: Key, twin: str) -> str:
    """One comparison in words, with the numbers that carry it."""
    rate, found = is_rate(kinds, key), kinds.difference(key, twin)
    means = {
        name: mean_text(kinds.mean(key, name), rate).split(" [")[0]
        for name in (twin, kinds.reference)
    }
    what = _what(key)
    return (
        f"{code(twin)} has {means[twin]} {what}, {code(kinds.reference)} "
        f"{means[kinds.reference]}: {points(found, rate)} over {found.n} seeds"
    )


def _what(key: Key) -> str:
    name = key.metric.replace("_", " ")
    at = f" at eps {key.eps}" if key.eps else ""
    return name if key.probe == "clean" else f"{name} ({code(key.probe)}{at})"


def _names(names: Sequence[str]) -> str:
    told = [code(name) for name in names]
    return ", ".join(told[:-1]) + f" and {told[-1]}" if len(told) > 1 else told[0]


def caveats(kinds: Kinds) -> list[str]:
    """What is claimed here and what is not."""
    n, about = len(kinds.runs), kinds.about
    said = [
        f"The twins differ in `{about['differs']}` alone: the same recipe, data, order of images "
        f"and seeds. " + _starts(kinds),
        f"What this page says is about the kinds under this recipe. Its unit is a training: {n} "
        f"of each twin, compared seed by seed (Student's t). Images are the same for all.",
        "What is said of one training's very weights, with images as the unit, stands on that "
        "seed's own page; the two are never mixed.",
    ]
    if not kinds.enough:
        said.append(
            f"{plural(n, 'seeds')} of each twin: from {ENOUGH} on this page makes claims. "
            f"`{command(about)}` goes on from here."
        )
    if kinds.missing:
        seeds = ", ".join(map(str, kinds.missing))
        said.append(f"Seeds without a complete run are left out of every number: {seeds}.")
    count = len(kinds.values) * (len(kinds.twins) - 1)
    said.append(
        f"The headline holds together with the other numbers that the page opens with (Holm). The "
        f"{count} p-values below are of single differences: at 5 % about "
        f"{max(1, round(0.05 * count))} would seem real by chance alone."
    )
    if about.get("epochs"):
        said.append(f"Trained for {about['epochs']} epochs instead of the recipe's.")
    return said


def command(about: Mapping[str, Any]) -> str:
    """The command that was given, with seeds enough: with other epochs it would train other twins.

    Without one (a comparison made from Python) the shipped name, and the epochs.
    """
    given = shlex.split(str(about.get("command") or ""))
    if given[:2] != ["robustlab", "twins"]:
        given = ["robustlab", "twins", str(about["name"])]
        given += ["--epochs", str(about["epochs"])] if about.get("epochs") else []
    kept, words = [], iter(given)
    for word in words:
        if word == "--seeds":
            next(words, None)
        elif word != "--again" and not word.startswith("--seeds="):
            kept.append(word)
    return shlex.join([*kept, "--seeds", str(ENOUGH)])


def _starts(kinds: Kinds) -> str:
    reference, starts = kinds.reference, kinds.about["starts"]
    parts = [f"{code(twin)} {starts[twin][0]:,} of {starts[twin][1]:,}" for twin in kinds.twins[1:]]
    return f"Parameters that start equal to those of {code(reference)}: {', '.join(parts)}."
