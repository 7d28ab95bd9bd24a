"""What a run says, computed: paired comparisons, the finding and its sentences.

Sentences are plain text; names stand between backticks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robustlab import statistics
from robustlab.evidence import Eps, Evidence, Standing, is_spatial, stand, telling_eps
from robustlab.statistics import Paired

__all__ = [
    "Comparison",
    "Verdict",
    "code",
    "compare",
    "holm",
    "norm_name",
    "p_text",
    "plain_text",
    "plural",
    "reach_verdict",
    "under",
]

ALPHA = 0.05
_OUTSIDE = {"border": "border repeated", "reflect": "mirrored at the border"}  # else black


@dataclass(frozen=True)
class Comparison:
    """Two backbones on the same images; ``p`` is corrected over all pairs (Holm 1979)."""

    first: str
    second: str
    paired: Paired
    p: float

    @property
    def established(self) -> bool:
        """Whether the difference is more than chance explains at 5 %."""
        return self.p < ALPHA

    @property
    def weaker(self) -> str:
        """The one that loses more images alone."""
        return self.first if self.paired.only_first > self.paired.only_second else self.second


@dataclass(frozen=True)
class Verdict:
    """The finding, the sentences that carry it and those that fill it in, standings worst first."""

    title: str
    lead: tuple[str, ...]
    details: tuple[str, ...] = ()
    norm: str | None = None
    eps: Eps | None = None
    standings: tuple[Standing, ...] = ()
    comparisons: tuple[Comparison, ...] = ()


def compare(evidence: Evidence, norm: str | None, eps: Eps) -> list[Comparison]:
    """Exact McNemar for every pair of backbones, on the attacks that both have."""
    pairs = []
    for first, second in itertools.combinations(evidence.backbones, 2):
        groups = [evidence.attacks(b, norm) for b in (first, second)]
        labels = {g.label for g in groups[0]} & {g.label for g in groups[1]}
        hits = [evidence.broken(b, norm, eps, labels) for b in (first, second)]
        if hits[0] is None or hits[1] is None or hits[0].shape != hits[1].shape:
            continue
        pairs.append((first, second, statistics.mcnemar(hits[0], hits[1])))
    corrected = holm([paired.p for _, _, paired in pairs])
    return [Comparison(*pair, p) for pair, p in zip(pairs, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that all of them hold together (Holm 1979)."""
    corrected, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable").tolist()):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = running
    return corrected


def norm_name(norm: str | None) -> str:
    """``"linf"`` is ``Linf``, ``"spatial-30"`` ``translation, rotation up to 30 degrees``."""
    if norm and is_spatial(norm):
        _, degrees, *outside = norm.split("-")
        turned = f"rotation up to {degrees} degrees" if float(degrees) else "no rotation"
        return ", ".join(["translation", turned, *(_OUTSIDE[one] for one in outside)])
    return norm[:1].upper() + norm[1:] if norm else "no norm"


def under(norm: str | None) -> str:
    """``in Linf``, ``under translation, rotation up to 30 degrees``."""
    return f"{'under' if is_spatial(norm) else 'in'} {norm_name(norm)}"


def code(name: str) -> str:
    """A name as sentences carry it, between backticks."""
    return f"`{name.replace('`', chr(39))}`"


def p_text(p: float) -> str:
    """A p-value as it is read aloud."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def plain_text(sentence: str) -> str:
    """A sentence without the backticks around names."""
    return sentence.replace("`", "")


def plural(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {noun}" if count != 1 else f"{count} {noun.removesuffix('s')}"


def reach_verdict(evidence: Evidence) -> Verdict:
    """The finding of a run; of one that is not whole, it is called provisional."""
    norm = evidence.norms[0] if evidence.norms else None
    eps = telling_eps(evidence, norm)
    if eps is None:
        title = "No attack has landed" if evidence.asked else "No robust accuracy was measured"
        return Verdict(title, _without_attack(evidence))
    standings = sorted(stand(evidence, norm, eps), key=lambda s: s.robust.value)
    comparisons = compare(evidence, norm, eps)
    told = [_standing(evidence, s, norm, eps) for s in standings]
    compared = [_compared(evidence, c, len(comparisons)) for c in comparisons]
    if len(standings) > 1:
        ends = {standings[0].backbone, standings[-1].backbone}
        main = [c for c in comparisons if {c.first, c.second} == ends]
        lead = [
            _levels(evidence, standings, norm, eps),
            *(_compared(evidence, c, len(comparisons)) for c in main),
            *_untouched(evidence, standings[-1], standings[0]),
            *_hardened(evidence, {s.backbone for s in standings}),
        ]
    else:
        lead = told
    others = [line for other in evidence.norms[1:] for line in _other(evidence, other)]
    return Verdict(
        title=_provisional(evidence, _title(standings, comparisons, norm, eps)),
        lead=tuple(lead),
        details=tuple(line for line in (*told, *compared, *others) if line not in lead),
        norm=norm,
        eps=eps,
        standings=tuple(standings),
        comparisons=tuple(comparisons),
    )


def _provisional(evidence: Evidence, title: str) -> str:
    return title if len(evidence.landed) == len(evidence.groups) else f"Provisional: {title}"


def _without_attack(evidence: Evidence) -> tuple[str, ...]:
    clean = [
        f"{code(b)} is right on {rate} of {plural(rate.n, evidence.noun)} as they are."
        for b in evidence.backbones
        if (rate := evidence.clean_rate(b)).n
    ]
    if evidence.asked:
        return (*clean, "No attack of this run landed, so it says nothing about robustness.")
    return (
        *clean,
        "This run measured no robust accuracy, because its suite asks other questions; a probe "
        "that attacks tells in its own section what came of it.",
    )


def _title(
    standings: Sequence[Standing],
    comparisons: Sequence[Comparison],
    norm: str | None,
    eps: Eps,
) -> str:
    where = f"({norm_name(norm)}, eps {eps.text})"
    if len(standings) < 2 or not comparisons:
        return _title_of_one(standings[0], norm, eps)
    worst, best = standings[0].backbone, standings[-1].backbone
    # Pairs (weaker, stronger) that the paired test tells apart, on the attacks both have met.
    apart = {
        (c.weaker, c.second if c.weaker == c.first else c.first)
        for c in comparisons
        if c.established
    }
    others = {s.backbone for s in standings}
    if all((worst, o) in apart for o in others - {worst}):
        return f"{code(worst)} breaks first {where}"
    if all((o, best) in apart for o in others - {best}):
        return f"{code(best)} holds longest {where}"
    if (worst, best) in apart:
        return f"{code(best)} outlasts {code(worst)} {where}"
    return f"No backbone stands apart {where}"


def _title_of_one(standing: Standing, norm: str | None, eps: Eps) -> str:
    at = f"eps {eps.text} ({norm_name(norm)})"
    name, noise = code(standing.backbone), standing.noise
    if noise and noise.low > standing.robust.high:
        lost = noise.value - standing.robust.value
        return f"An attack of {at} costs {name} {100 * lost:.0f} points more than noise does"
    return f"{name} keeps {100 * standing.robust.value:.0f} % of the images at {at}"


def _standing(evidence: Evidence, standing: Standing, norm: str | None, eps: Eps) -> str:
    who, alone = f"{code(standing.strongest)} leaves", ""
    if standing.strongest_rate.value != standing.robust.value:
        who = f"the worst case over {standing.attacks} attacks leaves"
        alone = f" ({code(standing.strongest)} alone leaves {standing.strongest_rate})"
    text = (
        f"At eps {eps.text} ({norm_name(norm)}) {who} {code(standing.backbone)} right on "
        f"{standing.robust} of {plural(standing.robust.n, evidence.noun)}{alone}"
    )
    if standing.noise is not None:
        text += f"; noise of the same size leaves {standing.noise}"
    return text + (f"; untouched, it is right on {standing.clean}." if standing.clean.n else ".")


def _levels(evidence: Evidence, standings: Sequence[Standing], norm: str | None, eps: Eps) -> str:
    shown = standings if len(standings) <= 4 else (standings[0], standings[-1])
    first, *rest = [f"{code(s.backbone)} right on {s.robust}" for s in shown]
    told = [first + f" of {plural(shown[0].robust.n, evidence.noun)}"]
    told += [text.replace(" right on ", " on ", 1) for text in rest]
    text = f"At eps {eps.text} ({norm_name(norm)}) the attacks leave {_listed(told)}"
    if len(shown) < len(standings):
        text += f", the other {len(standings) - len(shown)} in between"
    noise = [s.noise.value for s in standings if s.noise is not None]
    if not noise:
        return text + "."
    low, high = f"{100 * min(noise):.1f}", f"{100 * max(noise):.1f}"
    return f"{text}; noise of the same size leaves {low if low == high else f'{low} to {high}'} %."


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _compared(evidence: Evidence, c: Comparison, pairs: int) -> str:
    holm = f"Holm-corrected over {pairs} pairs, " if pairs > 1 else ""
    test = f"exact McNemar, {holm}{p_text(c.p)}"
    images = plural(c.paired.n, evidence.noun)
    if not c.established:
        return (
            f"Between {code(c.first)} and {code(c.second)} no difference is established: of the "
            f"same {images}, {c.paired.only_first} broke only the first and "
            f"{c.paired.only_second} only the second ({test})."
        )
    stronger = c.second if c.weaker == c.first else c.first
    more, fewer = sorted((c.paired.only_first, c.paired.only_second), reverse=True)
    return (
        f"On the same {images} {code(stronger)} holds where {code(c.weaker)} breaks "
        f"{plural(more, 'times')}, the reverse {plural(fewer, 'times')} ({test})."
    )


def _hardened(evidence: Evidence, names: set[str]) -> list[str]:
    """Where one was trained on attacked images: how each was, and what that took, by its card."""
    attacked, plain = [], []
    for backbone in evidence.about["backbones"]:
        card = backbone.get("card")
        if backbone["name"] not in names or not isinstance(card, dict):
            continue
        recipe, took = card.get("recipe"), card.get("seconds")
        if not isinstance(recipe, dict):
            continue
        name, hard = code(backbone["name"]), recipe.get("adversarial")
        cost = f" in {took:.0f} s" if isinstance(took, int | float) else ""
        if isinstance(hard, dict):
            threat = f"{norm_name(str(hard.get('norm')))}, eps {hard.get('eps')}"
            attacked.append(f"{name} on attacked images ({hard.get('method')}, {threat}){cost}")
        else:
            plain.append(f"{name} on untouched ones{cost}")
    return [f"Trained: {_listed([*attacked, *plain])}."] if attacked else []


def _untouched(evidence: Evidence, best: Standing, worst: Standing) -> list[str]:
    """What the backbone that holds longest pays, or gains, on images that nobody touched."""
    wrong = [evidence.clean_wrong(s.backbone) for s in (best, worst)]
    if wrong[0] is None or wrong[1] is None or wrong[0].shape != wrong[1].shape:
        return []
    paired = statistics.mcnemar(wrong[0], wrong[1])
    if not (paired.only_first or paired.only_second):
        return [
            f"Untouched, {code(best.backbone)} and {code(worst.backbone)} are right on the same "
            f"{evidence.noun}: {best.clean}."
        ]
    told = "a difference" if paired.p < ALPHA else "no established difference"
    return [
        f"Untouched, {code(best.backbone)} is right on {best.clean} and {code(worst.backbone)} on "
        f"{worst.clean}: {told}, with {paired.only_first} wrong for the first alone and "
        f"{paired.only_second} for the second alone (exact McNemar, {p_text(paired.p)})."
    ]


def _other(evidence: Evidence, norm: str | None) -> list[str]:
    eps = telling_eps(evidence, norm)
    if eps is None:
        return []
    rates = [f"{code(s.backbone)} {s.robust}" for s in stand(evidence, norm, eps)]
    where = under(norm)
    return [f"{where[:1].upper()}{where[1:]}, at eps {eps.text}, remain right: {'; '.join(rates)}."]
