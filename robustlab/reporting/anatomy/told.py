"""What the section says first: its title, and the sentence that carries it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robustlab.reporting.anatomy.found import Network, short
from robustlab.verdict import code

__all__ = ["lead", "title"]


def lead(found: Sequence[Network]) -> tuple[str, ...]:
    """Of two networks the pair whose parameters and work are least in proportion; else the sizes.

    What the title says is not said again.
    """
    pairs = [
        (abs(math.log(size / work)), size, work, one, other)
        for one in found
        for other in found
        if (size := _times(one, other, "parameters")) > 1
        and (work := _times(one, other, "multiply_adds")) > 0
    ]
    apart, size, work, one, other = max(pairs, key=lambda p: p[0], default=(0.0, 1, 1, None, None))
    if one is None or other is None or apart < math.log(2):
        return tuple(
            f"{code(n.backbone)} has {short(n.number('parameters'))} parameters and does "
            f"{short(n.number('multiply_adds'))} multiply-adds an image."
            for n in found[:3]
        )
    does = "the same work" if abs(work - 1) < 0.005 else f"{work:.2g} times its work"
    return (
        f"{code(one.backbone)} has {size:.2g} times the parameters of {code(other.backbone)} "
        f"({short(one.number('parameters'))} beside {short(other.number('parameters'))}) and does "
        f"{does} ({short(one.number('multiply_adds'))} beside "
        f"{short(other.number('multiply_adds'))} multiply-adds an image).",
    )


def _times(one: Network, other: Network, what: str) -> float:
    """How many times as many; NaN where either is not known or there are none."""
    above, below = one.number(what), other.number(what)
    return above / below if above > 0 and below > 0 else math.nan


def title(found: Sequence[Network]) -> str:
    """Where parameters and work sit, in the network where they lie furthest apart."""
    apart = {one.backbone: _apart(one) for one in found}
    one = max(found, key=lambda n: apart[n.backbone])
    if apart[one.backbone] > 0.2:
        held = 100 * one.share("parameters", "fully connected")
        work = 100 * (1 - one.share("multiply_adds", "fully connected"))
        return (
            f"Fully connected layers hold {held:.1f} % of the parameters of "
            f"{code(one.backbone)}, other layers do {work:.1f} % of its work"
        )
    first = found[0]
    return (
        f"{code(first.backbone)} has {short(first.number('parameters'))} parameters and does "
        f"{short(first.number('multiply_adds'))} multiply-adds an image"
    )


def _apart(one: Network) -> float:
    """By how much fully connected layers have more of the parameters than of the work."""
    held, work = (one.share(of, "fully connected") for of in ("parameters", "multiply_adds"))
    return 0.0 if math.isnan(work) else held - work
