"""The tables: robust accuracy by backbone, attack and eps; pairs; 8-bit, success and targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from robustlab.evidence import Eps, eps_of, is_control
from robustlab.reporting.section import Section, Story, render
from robustlab.results import Group
from robustlab.statistics import Rate
from robustlab.verdict import code, p_text, under

__all__ = ["Cell", "Row", "Table", "tables"]

UPPER = "upper bound: found by these attacks"
LOWER = "lower bound: found by these attacks"


@dataclass(frozen=True)
class Cell:
    """One entry: its text, what it is sorted by, a word beside it."""

    text: str
    key: float | str = ""
    mark: str = ""

    @classmethod
    def of(cls, found: Rate, mark: str = "") -> Cell:
        """A rate; what was not measured sorts last."""
        return cls(str(found), found.value if found.n else math.inf, mark)


@dataclass(frozen=True)
class Row:
    """One row: the backbone, what attacked it, the entries."""

    backbone: str
    attack: str
    cells: Sequence[Cell]
    role: str = "attack"  # "worst" for the worst case, "noise" for the control, "missing"
    n: int | None = None


@dataclass(frozen=True)
class Table:
    """A table under a caption; ``over`` spans the eps columns."""

    caption: str
    over: str
    eps: Sequence[str]
    rows: Sequence[Row]
    n: int | None = None
    clean: Sequence[Cell] = field(default_factory=tuple)


def tables(story: Story) -> Section | None:
    """The section; nothing where no attack landed."""
    evidence = story.evidence
    main = [_robust(story, norm) for norm in evidence.norms]
    if not main:
        return None
    eight = [
        _single(story, n, "robust_accuracy_8bit", "8-bit robust accuracy") for n in evidence.norms
    ]
    success = [_single(story, n, "attack_success", "attack success") for n in evidence.norms]
    body = render(
        "tables.html",
        story,
        main=main,
        targeted=_targeted(story),
        folded=[*eight, *success],
        pairs=_pairs(story),
        upper=UPPER,
    )
    return Section("table", "The table", _title(story), body)


def _title(story: Story) -> str:
    standings = story.verdict.standings
    if len(standings) < 2:
        s = standings[0]
        return f"{code(s.backbone)} keeps at most {s.robust} at {story.at}"
    worst, best = standings[0], standings[-1]
    return (
        f"At most {100 * worst.robust.value:.1f} % ({code(worst.backbone)}) to "
        f"{100 * best.robust.value:.1f} % ({code(best.backbone)}) remain at {story.at}"
    )


def _groups(story: Story, norm: str | None) -> list[Group]:
    """Untargeted attacks and controls of a norm, landed or not, by backbone."""
    found = [
        g
        for g in story.evidence.groups
        if g.plan["kind"] == "attack" and g.plan["norm"] == norm and not g.plan["targeted"]
    ]
    order = story.evidence.backbones
    return sorted(found, key=lambda g: (order.index(g.backbone), is_control(g)))


def _columns(groups: Sequence[Group]) -> list[Eps]:
    by_value: dict[float, Eps] = {}
    for group in groups:
        if group.outcome is not None:
            for e in eps_of(group):
                by_value.setdefault(e.value, e)
    return sorted(by_value.values())


def _robust(story: Story, norm: str | None) -> Table:
    evidence, groups = story.evidence, _groups(story, norm)
    columns = _columns(groups)
    rows: list[Row] = []
    for name in evidence.backbones:
        mine = [g for g in groups if g.backbone == name]
        attacks = evidence.attacks(name, norm)
        if attacks:
            rates = [evidence.robust(name, norm, e) for e in columns]
            marks = [_mark(story, norm, e, name) for e in columns]
            cells = [Cell.of(evidence.clean_rate(name))]
            cells += [Cell.of(r, mark) for r, mark in zip(rates, marks, strict=True)]
            count = f"worst case of {len(attacks)}" if len(attacks) > 1 else "worst case"
            rows.append(Row(name, count, cells, "worst"))
        rows += [_row(story, g, "robust_accuracy", columns, clean=True) for g in mine]
    caption = f"Robust accuracy {under(norm)}, of all {story.images}"
    return Table(caption, f"robust accuracy; {UPPER}", [e.text for e in columns], rows, evidence.n)


def _mark(story: Story, norm: str | None, e: Eps, name: str) -> str:
    """``best`` or ``worst`` of the worst cases at one eps, in words; ties have no mark."""
    rates = {b: story.evidence.robust(b, norm, e) for b in story.evidence.backbones}
    values = [r.value for r in rates.values() if r.n]
    mine = rates[name]
    if len(values) < 2 or not mine.n or values.count(mine.value) > 1:
        return ""
    return "best" if mine.value == max(values) else "worst" if mine.value == min(values) else ""


def _row(
    story: Story, group: Group, metric: str, columns: Sequence[Eps], clean: bool = False
) -> Row:
    own = {e.value: e.text for e in eps_of(group)}
    role = "noise" if is_control(group) else "attack"
    if group.outcome is None:
        word = "failed" if group.failures else "not measured"
        blank = [Cell(word, math.inf)] * (len(columns) + clean)
        return Row(group.backbone, group.label, blank, "missing")
    rates = [
        group.rate(f"{metric}[eps={own[e.value]}]") if e.value in own else None for e in columns
    ]
    cells = [Cell.of(story.evidence.clean_rate(group.backbone))] if clean else []
    cells += [Cell.of(r) if r is not None else Cell("–", math.inf) for r in rates]
    counts = [r.n for r in rates if r is not None]
    return Row(group.backbone, group.label, cells, role, counts[0] if counts else None)


def _single(story: Story, norm: str | None, metric: str, words: str) -> Table:
    """Attacks one by one in another metric; the number of images stands in each row."""
    groups = [g for g in _groups(story, norm) if g.outcome is not None and _has(g, metric)]
    columns = _columns(groups)
    rows = [_row(story, g, metric, columns) for g in groups]
    over = (
        f"{words}; {UPPER}"
        if "accuracy" in metric
        else f"{words}, of the correctly classified; {LOWER}"
    )
    return Table(f"{words.capitalize()} {under(norm)}", over, [e.text for e in columns], rows)


def _has(group: Group, metric: str) -> bool:
    assert group.outcome is not None
    return any(name.startswith(f"{metric}[") for name in group.outcome.metrics)


def _targeted(story: Story) -> list[Table]:
    found = [
        g
        for g in story.evidence.landed
        if g.plan["kind"] == "attack" and g.plan["targeted"] and _has(g, "target_success")
    ]
    norms = dict.fromkeys(g.plan["norm"] for g in found)
    made = []
    for norm in norms:
        groups = [g for g in found if g.plan["norm"] == norm]
        columns = _columns(groups)
        rows = [_row(story, g, "target_success", columns) for g in groups]
        over = f"target success, of correctly classified images of another class; {LOWER}"
        caption = f"Targeted attacks {under(norm)}"
        made.append(Table(caption, over, [e.text for e in columns], rows))
    return made


def _pairs(story: Story) -> list[dict[str, object]]:
    """Every pair of backbones with its test and the images that tell them apart."""
    verdict, evidence = story.verdict, story.evidence
    made: list[dict[str, object]] = []
    for c in verdict.comparisons:
        assert verdict.eps is not None
        groups = [evidence.attacks(b, verdict.norm) for b in (c.first, c.second)]
        labels = {g.label for g in groups[0]} & {g.label for g in groups[1]}
        first, second = (
            evidence.broken(b, verdict.norm, verdict.eps, labels) for b in (c.first, c.second)
        )
        outcome = groups[0][0].outcome
        assert first is not None
        assert second is not None
        assert outcome is not None
        names = np.asarray(outcome.samples["id"])
        made.append(
            {
                "pair": c,
                "p": p_text(c.p),
                "first": [str(x) for x in names[first & ~second]],
                "second": [str(x) for x in names[second & ~first]],
            }
        )
    return made
