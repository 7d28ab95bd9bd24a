"""What networks say: the five likeliest classes, of random changes, of the file elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from robustlab.fooled import Answer, Fooled, Reading
from robustlab.reporting.fooling.verdict import Finding
from robustlab.reporting.fooling.words import chance, number, plain_name, quoted
from robustlab.statistics import wilson

__all__ = ["controls", "tops", "transfer"]


def tops(fooled: Fooled) -> dict[str, Any]:
    """The five likeliest classes before and after."""
    before, after = fooled.before.top[0], fooled.after.top[0]
    if before[0] == after[0]:
        title = f"{quoted(before[1])} stays first: {chance(before[2])}, then {chance(after[2])}"
    else:
        fallen = chance(fooled.after.label)
        title = f"{quoted(before[1])} falls from {chance(before[2])} to {fallen}"
    sides = (("original", fooled.before), ("changed", fooled.after))
    return {
        "title": title,
        "sides": [{"name": name, "rows": _bars(fooled, one)} for name, one in sides],
        "file": "top5.csv",
        "head": ["picture", "index", "class", "probability"],
        "rows": [[name, i, said, float(p)] for name, one in sides for i, said, p in one.top],
    }


def _bars(fooled: Fooled, one: Reading) -> list[dict[str, Any]]:
    rows = []
    for index, name, p in one.top:
        seen = index == fooled.before.index
        asked = name == fooled.target and math.isclose(p, one.target, rel_tol=1e-6)
        kind = "seen" if seen else ("asked" if asked else "")
        share = min(max(p, 0.0), 1.0) if math.isfinite(p) else 0.0
        rows.append(
            {"name": name, "chance": chance(p), "width": f"{100 * share:.1f}", "kind": kind}
        )
    return rows


def _counts(one: Answer) -> tuple[int, int]:
    """How many draws fooled, how many hit the target; of one draw its own flags."""
    if one.tries == 1:
        return int(one.fooled), int(one.at_target)
    return one.fooling, one.hitting


def controls(fooled: Fooled) -> dict[str, Any] | None:
    """Random changes of the same size; None where none was tried."""
    held = fooled.controls
    if not held:
        return None
    tries = sum(one.tries for one in held)
    left, hit = (sum(_counts(one)[i] for one in held) for i in (0, 1))
    rows = []
    for one in held:
        some, hits = _counts(one)
        rows.append(
            {
                "name": one.name,
                "left": _of(some, one.tries),
                "hit": _of(hits, one.tries) if fooled.target is not None else "",
                "says": f"{quoted(one.after.top[0][1])} {chance(one.after.top[0][2])}",
                "target": chance(one.after.target),
            }
        )
    return {
        "title": _by_chance(fooled, tries, left, hit),
        "passed": not left,
        "meaning": _meaning(Finding(fooled).left, not left),
        "clipped": max(one.lost for one in held),
        "rows": rows,
        "targeted": fooled.target is not None,
        "file": "controls.csv",
        "head": ["control", "tries", "fooling", "at target", "best: p seen", "best: p asked for"],
        "data": [
            [o.name, o.tries, *_counts(o), float(o.after.label), _number(o.after.target)]
            for o in held
        ],
    }


def _meaning(fell: bool, held: bool) -> str:
    """What follows from it that the perturbation does it (``fell``) and chance does not (``held``).

    Where the perturbation does nothing either, nothing follows of its direction.
    """
    if fell and held:
        return "The direction matters, not the size: as large a change at random does nothing"
    if fell:
        return (
            "Where chance alone does it too, the picture lay near a boundary, and the attack is "
            "worth less"
        )
    if held:
        return "The attack's own change does nothing either, so this tells nothing of its direction"
    return "Chance does here what the attack's own change does not: the search was too weak"


def _by_chance(fooled: Fooled, tries: int, left: int, hit: int) -> str:
    seen, drawn = quoted(fooled.label), "random changes of the same size"
    if not left:
        none = f"None of {number(tries)} {drawn}" if tries > 1 else f"A {drawn[:13]}{drawn[14:]}"
        return f"{none} {'turns' if tries > 1 else 'does not turn'} {seen} into anything else"
    said = f"{number(left)} of {number(tries)} {drawn} lose {seen} too"
    return said + (f", {number(hit)} for {quoted(fooled.target)}" if fooled.target else "")


def _number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else ""


def _of(hits: int, n: int) -> str:
    """``0 of 5 [0.0, 43.4 %]``: the interval of Wilson."""
    if not 0 <= hits <= n or not n:
        return f"{hits} of {n}"
    found = wilson(hits, n)
    return f"{hits} of {n} [{100 * found.low:.1f}, {100 * found.high:.1f} %]"


def transfer(fooled: Fooled) -> dict[str, Any] | None:
    """Other networks, reading the same file; None where none was asked."""
    held = fooled.transfer
    if not held:
        return None
    able = [one for one in held if _sees(fooled, one)]
    lost = [one for one in able if one.fooled]
    hit = [one for one in able if one.at_target]
    return {
        "title": _carried(fooled, held, able, lost, hit),
        "rows": [_row(fooled, one) for one in held],
        "file": "transfer.csv",
        "head": ["network", "original", "p", "changed", "p", "p seen", "p asked for", "fooled"],
        "data": [
            [
                one.name,
                *one.before.top[0][1:],
                *one.after.top[0][1:],
                _number(one.after.label),
                _number(one.after.target),
                "yes" if one.fooled else "no",
            ]
            for one in held
        ],
    }


def _carried(
    fooled: Fooled,
    held: Sequence[Answer],
    able: Sequence[Answer],
    lost: Sequence[Answer],
    hit: Sequence[Answer],
) -> str:
    """Only networks that see the same class in the original can lose it."""
    seen = quoted(fooled.label)
    if not able:
        if len(held) == 1:
            return f"The other network does not say {seen} of the original, so it cannot lose it"
        return (
            f"None of {len(held)} other networks says {seen} of the original, so none can lose it"
        )
    asked = fooled.target is not None
    if len(able) == 1:
        whom = f"The one other network that says {seen} of the original"
        if not lost:
            return f"{whom} keeps it: the same file does not fool it"
        where = f", for {quoted(fooled.target or '')}" if hit else (" for a third class" * asked)
        return f"{whom} loses it to the same file{where}"
    fallen = number(len(lost)) if lost else "none"
    said = f"Of {len(able)} other networks that say {seen} of the original, {fallen} lose"
    said += "s it to the same file" if len(lost) < 2 else " it to the same file"
    if asked and lost:
        said += f", {number(len(hit)) if hit else 'none'} for {quoted(fooled.target or '')}"
    return said


def _sees(fooled: Fooled, one: Answer) -> bool:
    """Whether it sees in the original what the first network did; its names may be others."""
    _, name, likeliest = one.before.top[0]
    return name == fooled.label or math.isclose(likeliest, one.before.label, rel_tol=1e-9)


def _row(fooled: Fooled, one: Answer) -> dict[str, Any]:
    if not _sees(fooled, one):
        state, word = "", f"does not say {quoted(fooled.label)} of the original"
    elif one.at_target and fooled.target is not None:
        state, word = "hit", "fooled, at target"
    elif one.fooled:
        state, word = "left", "fooled" if fooled.target is None else "fooled, not at target"
    else:
        state, word = "kept", "not fooled"
    return {
        "name": plain_name(one.name),
        "before": f"{quoted(one.before.top[0][1])} {chance(one.before.top[0][2])}",
        "after": f"{quoted(one.after.top[0][1])} {chance(one.after.top[0][2])}",
        "target": chance(one.after.target),
        "state": state,
        "word": word,
    }
