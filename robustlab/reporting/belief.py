"""May you believe it? The bounds by name, the belief lines, and what nobody looked at."""

from __future__ import annotations

from collections.abc import Iterator

from robustlab.reporting import doubts, masking
from robustlab.reporting.doubts import Check, Level, Line
from robustlab.reporting.section import Section, Story, render
from robustlab.verdict import code, norm_name, plural

__all__ = ["CHECKS", "belief", "believe"]

CHECKS: list[Check] = [
    doubts.completeness,
    doubts.findings,
    doubts.convergence,
    doubts.made_images,
    doubts.above_chance,
    doubts.normalisation,
    masking.beats_noise,
    masking.gradient_wins,
    masking.costly_wins,
    doubts.enough,
]
_ORDER: dict[Level, int] = {"red": 0, "amber": 1, "green": 2}


def believe(story: Story) -> list[Line]:
    """All belief lines, the gravest first."""
    lines = [line for check in CHECKS for line in check(story)]
    return sorted(lines, key=lambda line: _ORDER[line.level])


def belief(story: Story) -> Section:
    """The section."""
    lines = believe(story)
    red, amber = (sum(line.level == level for line in lines) for level in ("red", "amber"))
    body = render(
        "belief.html",
        story,
        lines=lines,
        upper=list(_upper(story)),
        asked=story.evidence.asked,
        unchecked=list(_open(story)),
    )
    return Section("belief", "May you believe it?", _title(red, amber), body)


def _title(red: int, amber: int) -> str:
    if red:
        return f"Not as it stands: {red} red, {amber} amber"
    if amber:
        return f"With care: {plural(amber, 'amber lines')}, none red"
    return "Nothing that was checked speaks against it"


def _upper(story: Story) -> Iterator[str]:
    """Which attacks the upper bound rests on, a sentence a norm."""
    evidence = story.evidence
    for norm in evidence.norms:
        attacks = [g.label for b in evidence.backbones for g in evidence.attacks(b, norm)]
        yield f"{norm_name(norm)}: {', '.join(code(a) for a in dict.fromkeys(attacks))}"


def _open(story: Story) -> Iterator[str]:
    """Suspicions that this run could not check, in words."""
    evidence = story.evidence
    attacks = [
        g for b in evidence.backbones for n in evidence.norms for g in evidence.attacks(b, n)
    ]
    if attacks and not any(g.plan["knowledge"] in masking.BLIND for g in attacks):
        yield (
            "Gradient masking was not tested from outside: no attack without gradients "
            "(score or decision), and none made on another network (transfer) ran."
        )
    restarts = [g.plan["params"].get("restarts") for g in attacks]
    if any(isinstance(r, int) and r <= 1 for r in restarts):
        yield "Some searches had a single start; more restarts may break more images."
    for norm in evidence.norms:
        ends = [(n, eps[-1]) for n in evidence.backbones if (eps := evidence.eps(norm, n))]
        left = [
            f"{code(n)} keeps {100 * rate.value:.1f} % at {e.text}"
            for n, e in ends
            if (rate := evidence.robust(n, norm, e)).value > 0
        ]
        if left:
            yield (
                f"Whether accuracy falls to 0 % as eps grows, as it must if the attacks work: at "
                f"the largest eps ({norm_name(norm)}) {', '.join(left)}."
            )
    if attacks:
        yield (
            "Nobody wrote an attack for these backbones in particular; an adaptive attack "
            "may find more."
        )
        yield (
            "Whether the attacks of this run fail at a larger eps what they did at a smaller one: "
            "what is broken at a smaller eps is counted at a larger one. Where clean accuracy was "
            "measured, a short PGD was run afresh at each eps on a few images instead."
        )
    yield "Other images than these, and other corruptions than these, were not looked at."
