"""Can the walk reach eps? Steps times step size against the size of the ball."""

from __future__ import annotations

from collections.abc import Iterator

from robustlab.adversarial.batch import Attacker
from robustlab.adversarial.belief.case import Case
from robustlab.outcome import Finding

__all__ = ["schedule"]


def schedule(case: Case) -> Iterator[Finding]:
    """Gradient attacks with ``steps`` and a fixed ``step_size``, a share of eps as in `attacks/`.

    From the clean image the surface of the ball is one eps away; from a random start the furthest
    point of the ball lies up to two away. Below one no walk crosses the ball (red), below two some
    of the ball is out of reach of some starts (amber). Foolbox's names, ``rel_stepsize`` and
    ``abs_stepsize``, are understood as well. In L0 one step of any length reaches every pixel.
    """
    if case.found.norm == "l0":
        return
    looked, fine = 0, True
    for _, who, stage in case.stages():
        if not case.follows_gradients(stage) or stage.minimum_norm:
            continue
        steps = getattr(stage, "steps", None)
        shares = _shares(case, stage)
        if not isinstance(steps, int) or not shares:
            continue
        looked += 1
        share = min(shares)
        drawn = bool(getattr(stage, "random_start", False))
        needed = 2.0 if drawn else 1.0
        travel = steps * share
        if travel >= needed * (1 - 1e-9) or not case.standing.any():
            continue
        fine = False
        alone = len(case.attack.stages()) == 1
        reach = (
            "the surface of the ball is 1 eps away"
            if travel < 1
            else "from a random start the other side of the ball is up to 2 eps away"
        )
        ours = type(stage).__module__.startswith("robustlab.")
        read = "" if ours else " (step_size is read as a share of eps)"
        yield Finding(
            "schedule",
            "red" if travel < 1 and alone else "amber",
            f"{who}{steps} steps of {share:.3g} eps{read} go {travel:.3g} eps far at most, but "
            f"{reach}; what it leaves standing may stand for that alone. Set steps x step_size to "
            f"{needed:g} or more, as in step_size = {2.5 / steps:.2g}.",
        )
    if looked and fine:
        yield Finding("schedule", "green", "Steps x step size reach every point of the ball.")


def _shares(case: Case, stage: Attacker) -> list[float]:
    """Step size as a share of each eps above zero; none where it is not fixed or not known."""
    budgets = [eps for eps in case.budgets if eps > 0]
    for name, absolute in (("step_size", False), ("abs_stepsize", True), ("rel_stepsize", False)):
        size = getattr(stage, name, None)
        if isinstance(size, int | float) and not isinstance(size, bool):
            return [size / eps if absolute else float(size) for eps in budgets]
    return []
