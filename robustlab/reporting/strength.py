"""What each attack is worth, side by side: strength, unique successes, passes, seconds; and the
stages of an ensemble, each on what those before it left standing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustlab.evidence import Hits, column, eps_of, is_control, within
from robustlab.reporting.section import Story
from robustlab.results import Group
from robustlab.statistics import Rate, rate
from robustlab.verdict import code, plural

__all__ = ["Stage", "Strength", "stage_finding", "stages", "strengths", "unique"]


@dataclass(frozen=True)
class Strength:
    """One attack on one backbone; ``alone`` counts the images that no other attack broke (None:
    there was no other). Passes are of an image, seconds of all, both over the whole list of eps.
    """

    backbone: str
    label: str
    control: bool
    robust: Rate
    broke: int
    alone: int | None
    forward: float
    backward: float
    seconds: float


@dataclass(frozen=True)
class Stage:
    """One stage of an ensemble: of the images ``left`` to it, those that it ``broke``, by name."""

    backbone: str
    attack: str
    number: int
    name: str
    left: int
    broke: tuple[str, ...]
    forward: float
    backward: float
    seconds: float

    @property
    def share(self) -> Rate:
        """Of the images left to it, the share it broke."""
        return rate(np.arange(self.left) < len(self.broke))


def strengths(story: Story) -> list[Strength]:
    """Attacks of the main norm at the telling eps by backbone, strongest first, noise last."""
    found: list[Strength] = []
    for name in story.evidence.backbones:
        hits = _hits(story, name)
        controls = [(g, h) for g, h in _measured(story, name) if is_control(g)]
        rows = [_strength(g, h, unique(hits, g.label)) for g, h in hits.values()]
        rows += [_strength(g, h, unique(hits | {g.label: (g, h)}, g.label)) for g, h in controls]
        found += sorted(rows, key=lambda row: (row.control, row.robust.value))
    return found


def _measured(story: Story, backbone: str) -> list[tuple[Group, Hits]]:
    verdict, evidence = story.verdict, story.evidence
    if verdict.eps is None:
        return []
    groups = evidence.attacks(backbone, verdict.norm) + evidence.controls(backbone, verdict.norm)
    return [(g, h) for g in groups if (h := within(g, verdict.eps)) is not None]


def _hits(story: Story, backbone: str) -> dict[str, tuple[Group, Hits]]:
    """Attacks by their label, without the controls."""
    return {g.label: (g, h) for g, h in _measured(story, backbone) if not is_control(g)}


def unique(hits: dict[str, tuple[Group, Hits]], label: str) -> int | None:
    """Images that ``label`` alone broke of those that were right; None where it ran alone."""
    others = [h for other, (_, h) in hits.items() if other != label]
    if not others:
        return None
    group, mine = hits[label]
    right: NDArray[np.bool_] = column(group, "clean_correct")
    return int((mine & right & ~np.logical_or.reduce(others)).sum())


def _strength(group: Group, hits: Hits, alone: int | None) -> Strength:
    assert group.outcome is not None
    cost, n = group.outcome.cost, max(1, len(hits))
    return Strength(
        backbone=group.backbone,
        label=group.label,
        control=is_control(group),
        robust=rate(~hits),
        broke=int((hits & column(group, "clean_correct")).sum()),
        alone=alone,
        forward=cost.get("forward", 0.0) / n,
        backward=cost.get("backward", 0.0) / n,
        seconds=group.seconds,
    )


def stages(story: Story) -> list[Stage]:
    """Stages of every ensemble among the attacks of the main norm, in the order they ran."""
    found: list[Stage] = []
    for name in story.evidence.backbones:
        for group, _ in _hits(story, name).values():
            found += _stages_of(story, group)
    return found


def _stages_of(story: Story, group: Group) -> list[Stage]:
    assert group.outcome is not None
    assert story.verdict.eps is not None
    samples, cost = group.outcome.samples, group.outcome.cost
    names = [k.removeprefix("forward[")[:-1] for k in cost if k.startswith("forward[")]
    # The column of an eps tells of all smaller ones too.
    told = [e for e in eps_of(group) if e.value <= story.verdict.eps.value * (1 + 1e-9)]
    if not names or not told or f"broken_by[eps={told[-1].text}]" not in samples:
        return []
    by = np.asarray(samples[f"broken_by[eps={told[-1].text}]"])
    left = column(group, "clean_correct")
    found = []
    for number, name in enumerate(names, 1):
        mine = left & (by == name)
        searched = max(1.0, cost.get(f"images[{name}]", 0.0))
        found.append(
            Stage(
                backbone=group.backbone,
                attack=group.label,
                number=number,
                name=name,
                left=int(left.sum()),
                broke=tuple(str(x) for x in np.asarray(samples["id"])[mine]),
                forward=cost[f"forward[{name}]"] / searched,
                backward=cost.get(f"backward[{name}]", 0.0) / searched,
                seconds=cost.get(f"seconds[{name}]", 0.0),
            )
        )
        left = left & ~mine
    return found


def stage_finding(found: list[Stage]) -> str:
    """What the stages after the first have added, over all backbones."""
    first = sum(len(s.broke) for s in found if s.number == 1)
    later = [s for s in found if s.number > 1]
    added = sum(len(s.broke) for s in later)
    every = plural(first + added, "images")
    if not added:
        return f"Stage by stage: the first one breaks {every}, the later ones add none"
    counts: dict[str, int] = {}
    for s in later:
        counts[s.name] = counts.get(s.name, 0) + len(s.broke)
    told = ", ".join(f"{code(name)} {count}" for name, count in counts.items() if count)
    return f"Stage by stage: the first one breaks {first} of {every}, then {told}"
