"""A run as evidence: landed groups, and the worst case over attacks, image by image.

An image counts as broken at eps when any attack of that norm holds a verified example within eps.
Targeted attacks and the control (noise of the same size) are kept out of it. Robust accuracy is
over all images, so an image that is wrong from the start is broken at every eps.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.results import Group, Results
from robustlab.statistics import Rate
from robustlab.units import SPATIAL

__all__ = [
    "Eps",
    "Evidence",
    "Hits",
    "Standing",
    "column",
    "eps_of",
    "is_control",
    "is_spatial",
    "short_names",
    "stand",
    "telling_eps",
    "within",
]

Hits = NDArray[np.bool_]


@dataclass(frozen=True, order=True)
class Eps:
    """A budget: its value, and the text by which the columns name it."""

    value: float
    text: str


class Evidence:
    """A run, read once, with the questions that a verdict asks of it.

    Backbones go by their short names (`short_names`); ``results`` and the references in ``about``
    keep the full ones.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        listed = results.about["backbones"]
        shown = short_names([str(b["name"]) for b in listed])
        self.about = {
            **results.about,
            "backbones": [{**b, "name": shown[str(b["name"])]} for b in listed],
        }
        self.groups = [
            replace(g, backbone=shown.get(g.backbone, g.backbone)) for g in results.groups()
        ]
        self.backbones = list(shown.values())
        self.n = int(self.about["data"]["n"])
        source = str(self.about["data"]["name"]).split(":")[0]
        self.noun = "digits" if source in ("digits", "mnist") else "images"

    @property
    def landed(self) -> list[Group]:
        """Groups whose every cell has landed: only these enter a number."""
        return [group for group in self.groups if group.outcome is not None]

    def clean(self, backbone: str) -> Group | None:
        """The clean predictions of a backbone."""
        found = (g for g in self.landed if g.backbone == backbone and g.plan["kind"] == "clean")
        return next(found, None)

    def clean_rate(self, backbone: str) -> Rate:
        """Clean accuracy; n = 0 where it was not measured."""
        group = self.clean(backbone)
        return statistics.rate(column(group, "clean_correct") if group else [])

    def clean_wrong(self, backbone: str) -> Hits | None:
        """Whether each untouched image is wrong (None: not measured)."""
        group = self.clean(backbone)
        return ~column(group, "clean_correct") if group else None

    def attacks(self, backbone: str, norm: str | None) -> list[Group]:
        """Landed attacks that the worst case is taken over."""
        return [g for g in self.landed if g.backbone == backbone and _counts(g, norm)]

    def controls(self, backbone: str, norm: str | None) -> list[Group]:
        """Landed noise of the same size."""
        return [
            g
            for g in self.landed
            if g.backbone == backbone and is_control(g) and g.plan["norm"] == norm
        ]

    @cached_property
    def norms(self) -> list[str | None]:
        """Norms attacked, the one with most attacks first."""
        norms = list(dict.fromkeys(g.plan["norm"] for g in self.landed if _counts(g, None, True)))
        return sorted(norms, key=lambda norm: -sum(_counts(g, norm) for g in self.landed))

    @property
    def asked(self) -> bool:
        """Whether the plan holds an attack that counts in the worst case, landed or not. A probe
        may attack on its own account; that is no robust accuracy.
        """
        return any(_counts(g, None, True) for g in self.groups)

    def eps(self, norm: str | None, backbone: str | None = None) -> list[Eps]:
        """Budgets at which attacks of the norm were measured, ascending."""
        names = [backbone] if backbone is not None else self.backbones
        found: dict[float, Eps] = {}
        for name in names:
            for group in self.attacks(name, norm):
                for e in eps_of(group):
                    found.setdefault(e.value, e)
        return sorted(found.values())

    def broken(
        self, backbone: str, norm: str | None, eps: Eps, labels: Collection[str] | None = None
    ) -> Hits | None:
        """Worst case per image: whether any attack broke it within ``eps`` (None: not measured)."""
        hits = [
            found
            for group in self.attacks(backbone, norm)
            if labels is None or group.label in labels
            if (found := ever(group, eps)) is not None
        ]
        return np.logical_or.reduce(hits) if hits else None

    def robust(self, backbone: str, norm: str | None, eps: Eps) -> Rate:
        """Robust accuracy in the worst case over the attacks of the norm; an upper bound."""
        hits = self.broken(backbone, norm, eps)
        return statistics.rate(~hits if hits is not None else [])


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Full name -> the name by which pages call a network, none given twice.

    ``file:PATH#BUILDER?OPTIONS`` is its builder; with the options, then with the file's own name,
    where another network would go by the same; the full name where even that is shared.
    """
    tries = {name: _tries(name) for name in names}
    return {
        name: next((t for t in mine if not any(t in tries[o] for o in names if o != name)), name)
        for name, mine in tries.items()
    }


def _tries(name: str) -> list[str]:
    """Names from short to full."""
    file, _, asked = name.partition("#")
    builder = asked.partition("?")[0]
    if not (builder and file.startswith("file:")):
        return [name]
    place = file.removeprefix("file:").replace("\\", "/").rpartition("/")[2]
    bare = builder.removeprefix("torchvision:").removeprefix("timm:")
    return [bare or builder, builder, asked, f"{place}#{asked}", name]


def is_control(group: Group) -> bool:
    """Whether the group is noise of the same size, which knows nothing of the backbone."""
    return bool(group.plan["kind"] == "attack" and group.plan["knowledge"] == "none")


def is_spatial(norm: str | None) -> bool:
    """Whether images were turned and moved: as ``spatial-30``, the largest rotation in degrees."""
    return norm is not None and norm.startswith(f"{SPATIAL}-")


def _counts(group: Group, norm: str | None, any_norm: bool = False) -> bool:
    plan = group.plan
    attack = plan["kind"] == "attack" and plan["knowledge"] != "none" and not plan["targeted"]
    return bool(attack and (any_norm or plan["norm"] == norm))


def column(group: Group, name: str) -> NDArray[np.bool_]:
    """A bool column of a landed group."""
    assert group.outcome is not None
    return np.asarray(group.outcome.samples[name], dtype=bool)


def eps_of(group: Group) -> list[Eps]:
    """The group's budgets as it was given them, ascending."""
    texts, values = group.plan["eps"], group.plan["eps_values"]
    return sorted(Eps(float(v), str(t)) for t, v in zip(texts, values, strict=True))


def within(group: Group, eps: Eps, kind: str = "verified") -> Hits | None:
    """Images that count as broken by the group at ``eps``: what it broke within it; where each
    budget has its own verdicts (noise, transfer, what is learned), at that eps alone.
    """
    apart = group.plan.get("apart", False)
    return exactly(group, eps, kind) if apart else ever(group, eps, kind)


def ever(group: Group, eps: Eps, kind: str = "verified") -> Hits | None:
    """Images the group broke within ``eps``: what is broken at a smaller eps is so at a larger."""
    hits = [column(group, f"{kind}[eps={e.text}]") for e in eps_of(group) if _at_most(e.value, eps)]
    return np.logical_or.reduce(hits) if hits else None


def exactly(group: Group, eps: Eps, kind: str = "verified") -> Hits | None:
    """Images the group broke at ``eps`` itself; None where it was not run at that eps."""
    same = [e for e in eps_of(group) if _at_most(e.value, eps) and _at_most(eps.value, e)]
    return column(group, f"{kind}[eps={same[0].text}]") if same else None


def _at_most(value: float, eps: Eps) -> bool:
    return bool(value <= eps.value * (1 + 1e-9))


@dataclass(frozen=True)
class Standing:
    """Where one backbone stands at one eps of one norm."""

    backbone: str
    clean: Rate
    robust: Rate
    attacks: int
    strongest: str
    strongest_rate: Rate
    noise: Rate | None


def telling_eps(evidence: Evidence, norm: str | None) -> Eps | None:
    """The eps at which robust accuracy, on average, lies nearest to half the clean accuracy.

    The rule looks at the level of the curves, not at their differences: it favours no backbone.
    """
    names = [b for b in evidence.backbones if evidence.attacks(b, norm)]
    common = [
        e for e in evidence.eps(norm) if all(evidence.robust(b, norm, e).n > 0 for b in names)
    ]
    if not common:
        return None
    # Where every attack ran, "the attacks" of a sentence are all of them.
    groups = [g for b in names for g in evidence.attacks(b, norm)]
    common = [e for e in common if all(exactly(g, e) is not None for g in groups)] or common
    clean = [evidence.clean_rate(b) for b in names]
    half = float(np.mean([c.value if c.n else 1.0 for c in clean])) / 2

    def gap(e: Eps) -> float:
        return abs(float(np.mean([evidence.robust(b, norm, e).value for b in names])) - half)

    return min(common, key=lambda e: (round(gap(e), 12), e.value))


def stand(evidence: Evidence, norm: str | None, eps: Eps) -> list[Standing]:
    """The standing of every backbone that was attacked in this norm."""
    found = []
    for backbone in evidence.backbones:
        single = [
            (statistics.rate(~hits), group.label)
            for group in evidence.attacks(backbone, norm)
            if (hits := within(group, eps)) is not None
        ]
        if not single:
            continue
        rate, label = min(single, key=lambda pair: pair[0].value)
        noise = [
            statistics.rate(~hits)
            for group in evidence.controls(backbone, norm)
            if (hits := exactly(group, eps)) is not None
        ]
        found.append(
            Standing(
                backbone=backbone,
                clean=evidence.clean_rate(backbone),
                robust=evidence.robust(backbone, norm, eps),
                attacks=len(single),
                strongest=label,
                strongest_rate=rate,
                noise=min(noise, key=lambda r: r.value) if noise else None,
            )
        )
    return found
