"""The single step beside the iterated attack, over budgets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robustlab.fooled import Budgeted, Fooled
from robustlab.reporting.fooling.charts import Line, chart
from robustlab.reporting.fooling.words import budget, chance, count, number, plain_name, quoted
from robustlab.reporting.palette import styles
from robustlab.verdict import code

__all__ = ["steps"]


def steps(fooled: Fooled) -> dict[str, Any] | None:
    """Probabilities of both classes over budgets, a line an attack; None where none was tried."""
    held = [one for one in fooled.steps if len(one.eps)]
    if not held:
        return None
    # Attacks may share a name; the first two colours are those of the two classes.
    looks = list(styles([str(i) for i in range(len(held) + 2)]).values())[2:]
    budgets = sorted({float(e) for one in held for e in one.eps})
    ticks = [(float(i), f"{e:g}") for i, e in enumerate(budgets)]
    targeted = fooled.target is not None
    figures = []
    for key, name in (("target", fooled.target or ""), ("label", fooled.label)):
        if key == "target" and not targeted:
            continue
        lines = [
            Line(_over(one, key, budgets), look) for one, look in zip(held, looks, strict=True)
        ]
        alt = "; ".join(f"{plain_name(one.attack)}: {_told(one, key)}" for one in held)
        alt = f"Probability of {quoted(name)} over budgets in grey levels. {alt}."
        drawing = chart(
            lines, range(len(budgets)), ticks, "eps in grey levels", f"steps-{key}", alt
        )
        figures.append({"name": quoted(name), "asked": key == "target", "drawing": drawing})
    return {
        "how": _how(fooled),
        "title": "; ".join(_sentence(fooled, one) for one in held),
        "legend": [(plain_name(one.attack), look) for one, look in zip(held, looks, strict=True)],
        "figures": figures,
        "budgets": [f"{e:g}" for e in budgets],
        "table": [_row(one, budgets) for one in held],
        "file": "steps.csv",
        "head": ["attack", "eps", "p seen", "p asked for", "fooled", "at target", "taken for"],
        "rows": [row for one in held for row in _data(one)],
    }


def _how(fooled: Fooled) -> str:
    """Whether a row is the search of the picture at the top, or another."""
    if fooled.attack == "pgd" and fooled.norm == "linf":
        return (
            "Many steps are the search of the picture at the top, at other budgets: at its own "
            "budget it is that picture."
        )
    return (
        f"The picture at the top is that of another search ({code(fooled.attack)}, "
        f"{budget(fooled)}), with figures of its own."
    )


def _over(one: Budgeted, key: str, budgets: list[float]) -> Any:
    """Its probabilities at all budgets of the figure, NaN where it was not tried."""
    found = dict(zip(one.eps.tolist(), getattr(one, key).tolist(), strict=True))
    return np.array([found.get(e, math.nan) for e in budgets])


def _told(one: Budgeted, key: str) -> str:
    pairs = zip(one.eps.tolist(), getattr(one, key).tolist(), strict=True)
    return ", ".join(f"{chance(p)} at {e:g}" for e, p in pairs)


def _sentence(fooled: Fooled, one: Budgeted) -> str:
    """Where the class that was seen is lost to an attack, and where the one asked for is reached.

    Not "leaves": of an image the lab says that it is left standing where an attack fails.
    """
    name, seen = code(plain_name(one.attack)), quoted(fooled.label)
    lost = _first(one.eps, one.fooled)
    said = f"{name} turns it away from {seen} {lost}"
    if not lost:
        said = f"{name} never turns it away from {seen}"
    if fooled.target is None:
        return said
    reached, asked = _first(one.eps, one.at_target), quoted(fooled.target)
    if not reached:
        return f"{said}, and into {asked} at none of {count(len(one.eps), 'budget')}"
    if reached == lost:
        return f"{name} turns {seen} into {asked} {reached}"
    return f"{said}, and into {asked} {reached}"


def _first(eps: Any, hits: Any) -> str:
    """``from 2 grey levels on``, ``at 2 of 6 budgets, first at 2``; empty where never."""
    order = np.argsort(eps, kind="stable")
    found = np.asarray(hits, dtype=bool)[order]
    if not found.any():
        return ""
    first = int(found.argmax())
    at = np.asarray(eps)[order][first]
    if found[first:].all():
        if first == len(found) - 1:
            return f"at {at:g} grey levels, the largest budget"
        return f"from {count(float(at), 'grey level')} on"
    return f"at {number(int(found.sum()))} of {number(len(found))} budgets, first at {at:g}"


def _row(one: Budgeted, budgets: list[float]) -> dict[str, Any]:
    """What the picture of each budget is taken for; None where the budget was not tried."""
    found = {
        float(e): {"name": name, "state": "hit" if hit else ("left" if left else "kept")}
        for e, name, left, hit in zip(
            one.eps, one.prediction, one.fooled, one.at_target, strict=True
        )
    }
    return {"attack": one.attack, "cells": [found.get(e) for e in budgets]}


def _data(one: Budgeted) -> list[list[Any]]:
    numbers = (one.eps, one.label, one.target)
    columns = [[float(v) if math.isfinite(v) else "" for v in c] for c in numbers]
    said = [["yes" if v else "no" for v in c] for c in (one.fooled, one.at_target)]
    return [
        [one.attack, *row, name] for *row, name in zip(*columns, *said, one.prediction, strict=True)
    ]
