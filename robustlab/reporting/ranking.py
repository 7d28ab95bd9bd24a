"""Which attack did it: every attack of the main norm at the telling eps, a dot a backbone; then
what each is worth, stage by stage and image by image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robustlab.evidence import within
from robustlab.reporting.imagewise import by_image, fallen
from robustlab.reporting.section import Section, Story, render
from robustlab.reporting.strength import Strength, stage_finding, stages, strengths
from robustlab.reporting.svg import INK, RULE, canvas, inline
from robustlab.statistics import Rate, rate
from robustlab.verdict import code, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ranking"]

WIDTHS = {"wide": 880, "narrow": 370}
MOST = 14  # more rows than this are not read; the table holds them all

HEAD = ["attack", "backbone", "eps", "value", "low", "high", "n"]
HEAD += ["broke", "alone", "forward", "backward", "seconds"]

Rows = dict[str, dict[str, Rate]]


def ranking(story: Story) -> Section | None:
    """The section; nothing where one attack ran that has no stages."""
    rows = _rows(story)
    ran, found = strengths(story), stages(story)
    if len(rows) < 2 and not found:
        return None
    shown = dict(list(rows.items())[:MOST])
    kinds = WIDTHS.items() if len(rows) > 1 else ()
    names = [n for n in story.evidence.backbones if any(n in rates for rates in rows.values())]
    body = render(
        "ranking.html",
        story,
        drawings={kind: _draw(story, shown, width, kind) for kind, width in kinds},
        names=names,
        hidden=len(rows) - len(shown),
        rows=_data(story, ran),
        head=HEAD,
        strengths=ran,
        budgets=_budgets(story, names),
        stages=found,
        stage_finding=stage_finding(found) if found else "",
        fallen=fallen(story),
        images=by_image(story),
    )
    return Section("attacks", "Which attack did it", _title(story, rows, ran), body)


def _rows(story: Story) -> Rows:
    """Attack -> backbone -> robust accuracy, strongest first, the control last."""
    verdict, evidence = story.verdict, story.evidence
    if verdict.eps is None:
        return {}
    rows: Rows = {}
    for find in (evidence.attacks, evidence.controls):
        part: Rows = {}
        for name in evidence.backbones:
            for group in find(name, verdict.norm):
                hits = within(group, verdict.eps)
                if hits is not None:
                    part.setdefault(group.label, {})[name] = rate(~hits)
        rows |= dict(sorted(part.items(), key=lambda row: _mean(row[1])))
    return rows


def _mean(rates: dict[str, Rate]) -> float:
    return sum(r.value for r in rates.values()) / len(rates)


def _data(story: Story, ran: list[Strength]) -> list[list[Any]]:
    """The figure's data: a row for each attack on each backbone."""
    eps = story.verdict.eps.text if story.verdict.eps else ""
    rows = []
    for s in ran:
        rates = [s.robust.value, s.robust.low, s.robust.high, s.robust.n]
        counts = [s.broke, "" if s.alone is None else s.alone]
        rows.append([s.label, s.backbone, eps, *rates, *counts, s.forward, s.backward, s.seconds])
    return rows


def _budgets(story: Story, names: list[str]) -> str:
    """Every eps that passes and seconds were spent on."""
    listed = {e.text: None for n in names for e in story.evidence.eps(story.verdict.norm, n)}
    return ", ".join(listed)


def _title(story: Story, rows: Rows, ran: list[Strength]) -> str:
    label, rates = next(iter(rows.items()))
    ties = [other for other, found in rows.items() if _mean(found) == _mean(rates)]
    several = len(ties) > 1
    best = f"{' and '.join(map(code, ties))} break equally many" if several else code(label)
    title = f"{best if several else f'{best} breaks most'} at {story.at}"
    alone = {s.label: 0 for s in ran if s.alone is not None and not s.control}
    for s in ran:
        if s.label in alone:
            alone[s.label] += s.alone or 0
    if not alone:
        return title
    found = [(name, count) for name, count in alone.items() if count]
    if not found:
        return f"{title}; no image fell to one attack alone"
    found.sort(key=lambda pair: -pair[1])
    told = [f"{code(name)} {count}" for name, count in found[1:]]
    who = "it" if found[0][0] == label and not several else code(found[0][0])
    lead = f"{who} alone broke {plural(found[0][1], 'images')}"
    return f"{title}; {', '.join([lead, *told])}"


def _draw(story: Story, rows: Rows, width: int, kind: str) -> Any:
    step = 34 + 9 * len(story.evidence.backbones)
    with canvas(width, 50 + step * len(rows)) as figure:
        axes = figure.add_subplot()
        for place, (label, rates) in enumerate(rows.items()):
            axes.text(0, place - 0.36, label, color=INK, fontsize=13, va="center", ha="left")
            if place:
                axes.axhline(place - 0.58, color=RULE, lw=0.7)
            _dots(axes, story, place, rates, len(story.evidence.backbones))
        axes.set_xlim(-2, 102)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks([])
        axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
        axes.grid(axis="x", lw=0.7)
        axes.set_axisbelow(True)
        return inline(figure, f"rank-{kind[0]}", _alt(rows))


def _dots(axes: Axes, story: Story, place: int, rates: dict[str, Rate], count: int) -> None:
    for name, found in rates.items():
        style = story.styles[name]
        y = place - 0.14 + 0.5 * (style.index + 0.5) / count
        axes.plot([100 * found.low, 100 * found.high], [y, y], color=style.colour, lw=2, alpha=0.75)
        axes.plot(
            [100 * found.value], [y], color=style.colour, marker=style.marker, ms=7.5, ls="none"
        )


def _alt(rows: Rows) -> str:
    told = [
        f"{label}: {', '.join(f'{n} {100 * r.value:.0f} %' for n, r in rates.items())}"
        for label, rates in rows.items()
    ]
    return f"Dot plot of robust accuracy by attack. {'; '.join(told)}."
