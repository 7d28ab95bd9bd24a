"""Claims that the lab had to refuse, by reason."""

from __future__ import annotations

from collections.abc import Iterator

from robustlab.adversarial.belief.case import Case
from robustlab.adversarial.found import NOT_FOOLED, OUTSIDE_BOX, VIOLATIONS
from robustlab.outcome import Finding, Level

__all__ = ["violations"]

_ADVICE = {
    "not a number": "it does not notice that its walk broke down.",
    "outside the box": "clip to [0, 1] what it returns; the lab clipped it before it looked.",
    "outside the budget": "it breaks its own rule, so its own figure is too low.",
    "not the image that its pose makes": "return what threat.move makes of the clean image, and "
    "the pose it was given.",
    NOT_FOOLED: "what it sees is not the network that is judged, or it stops on the boundary.",
}


def violations(case: Case) -> Iterator[Finding]:
    """Images on which the attack claimed a success outside the box or the budget, one that is not a
    number or not the image of its pose, or one that is no mistake when the original network looks
    again.

    None of them counts. All but the last are red. The last can be rounding on the boundary: it is
    amber, and red beyond max(2 images, 1 %). A search on other networks claims what these say: that
    its claims do not carry over is what it measures, and no violation.
    """
    claimed = (case.found.claimed & case.found.attackable).any(axis=0)
    fine = True
    for reason in VIOLATIONS:
        stray = case.found.stray.get(reason)
        if stray is None:
            continue
        if reason == NOT_FOOLED:  # what was clipped to the box need not fool any more
            stray = stray & ~case.found.stray[OUTSIDE_BOX]
        if not stray.any():
            continue
        fine = False
        of, count = int((claimed | stray).sum()), int(stray.sum())
        slight = reason == NOT_FOOLED and count <= max(2, 0.01 * of)
        level: Level = "amber" if slight else "red"
        yield Finding(
            "violations",
            level,
            f"on {{count}} of {{of}} images a success was claimed that is {reason}, and was not "
            f"counted: {_ADVICE[reason]}",
            case.named(stray),
            count,
            of,
        )
    if fine and claimed.any():
        told = (
            "; whether it fools this network, too, is what the figure tells."
            if case.transfers
            else ", and fooled the judge."
        )
        text = f"Every claimed success was inside box and budget{told}"
        yield Finding("violations", "green", text)
