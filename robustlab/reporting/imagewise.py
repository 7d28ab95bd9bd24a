"""Which attack broke each image: images gathered by the attacks that broke them.

A thousand images fall to few combinations of attacks, and the combinations can be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.evidence import column, eps_of, within
from robustlab.reporting.section import Story
from robustlab.results import Group
from robustlab.verdict import code

__all__ = ["Fallen", "by_image", "fallen"]

MOST = 10  # combinations shown; the rest are told as one number
ROWS = 2000  # images of which the page carries the data


@dataclass(frozen=True)
class Fallen:
    """One backbone: its attacks, how many images fell to how many of them, and to which.

    ``combinations`` holds, for each combination of attacks, the images that fell to it and to no
    other attack, the most frequent first. Images that are wrong unattacked are in none.
    """

    backbone: str
    attacks: tuple[str, ...]
    right: int
    none: int
    one: int
    several: int
    every: int
    combinations: tuple[tuple[tuple[bool, ...], tuple[str, ...]], ...]

    @property
    def shown(self) -> tuple[tuple[tuple[bool, ...], tuple[str, ...]], ...]:
        """The most frequent combinations."""
        return self.combinations[:MOST]

    @property
    def rest(self) -> tuple[int, int]:
        """How many combinations are not shown, and how many images fell to them."""
        hidden = self.combinations[MOST:]
        return len(hidden), sum(len(names) for _, names in hidden)

    def named(self, pattern: tuple[bool, ...]) -> str:
        """The attacks of a combination in words."""
        names = [code(a) for a, hit in zip(self.attacks, pattern, strict=True) if hit]
        if len(names) == len(self.attacks):
            return "every attack"
        return ("only " if len(names) == 1 else "") + ", ".join(names)


def fallen(story: Story) -> list[Fallen]:
    """Every backbone that at least two attacks of the main norm were run on."""
    found = [_fallen(story, name) for name in story.evidence.backbones]
    return [one for one in found if one is not None]


def _groups(story: Story, backbone: str) -> list[Group]:
    verdict = story.verdict
    if verdict.eps is None:
        return []
    groups = story.evidence.attacks(backbone, verdict.norm)
    return [g for g in groups if within(g, verdict.eps) is not None]


def _fallen(story: Story, backbone: str) -> Fallen | None:
    groups = _groups(story, backbone)
    if len(groups) < 2:
        return None
    assert story.verdict.eps is not None
    assert groups[0].outcome is not None
    hits = np.array([within(g, story.verdict.eps) for g in groups])
    right = column(groups[0], "clean_correct")
    ids = np.asarray(groups[0].outcome.samples["id"])
    count = hits.sum(axis=0)[right]
    return Fallen(
        backbone=backbone,
        attacks=tuple(g.label for g in groups),
        right=int(right.sum()),
        none=int((count == 0).sum()),
        one=int((count == 1).sum()),
        several=int(((count > 1) & (count < len(groups))).sum()),
        every=int((count == len(groups)).sum()),
        combinations=_combinations(hits[:, right].T, ids[right]),
    )


def _combinations(
    hits: NDArray[Any], ids: NDArray[Any]
) -> tuple[tuple[tuple[bool, ...], tuple[str, ...]], ...]:
    found: dict[tuple[bool, ...], list[str]] = {}
    for pattern, name in zip(map(tuple, hits.tolist()), ids.tolist(), strict=True):
        if any(pattern):
            found.setdefault(pattern, []).append(str(name))
    ranked = sorted(found.items(), key=lambda pair: (-len(pair[1]), [not hit for hit in pair[0]]))
    return tuple((pattern, tuple(names)) for pattern, names in ranked)


def by_image(story: Story) -> list[list[Any]]:
    """Rows of the data: image, backbone, attack, the smallest eps that broke it, the stage.

    Empty where an attack did not break the image; the first row holds the names.
    """
    rows: list[list[Any]] = [["image", "backbone", "attack", "eps", "stage"]]
    for backbone in story.evidence.backbones:
        for group in _groups(story, backbone):
            assert group.outcome is not None
            samples = group.outcome.samples
            smallest, stage = _first(group)
            for image in range(min(ROWS, len(smallest))):
                found = [backbone, group.label, smallest[image], stage[image]]
                rows.append([str(samples["id"][image]), *found])
    return rows


def _first(group: Group) -> tuple[list[str], list[str]]:
    """Of each image, the smallest eps at which it was broken, and the stage that did it."""
    assert group.outcome is not None
    samples, n = group.outcome.samples, len(group.outcome.samples["id"])
    smallest, stage = np.full(n, "", dtype=object), np.full(n, "", dtype=object)
    for e in reversed(eps_of(group)):
        hit = column(group, f"verified[eps={e.text}]")
        smallest[hit] = e.text
        by = samples.get(f"broken_by[eps={e.text}]")
        if by is not None:
            stage[hit] = np.asarray(by)[hit]
    wrong = ~column(group, "clean_correct")
    smallest[wrong] = "0"
    return smallest.tolist(), stage.tolist()
