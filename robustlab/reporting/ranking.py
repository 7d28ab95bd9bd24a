"""Which attack did it: every attack of the main norm at the telling eps, a dot a backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robustlab.evidence import within
from robustlab.reporting.section import Section, Story, render
from robustlab.reporting.svg import INK, RULE, canvas, inline
from robustlab.statistics import Rate, rate
from robustlab.verdict import code

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ranking"]

WIDTHS = {"wide": 880, "narrow": 370}
MOST = 14  # more rows than this are not read; the table holds them all

Rows = dict[str, dict[str, Rate]]


def ranking(story: Story) -> Section | None:
    """The section; nothing where fewer than two attacks could be ranked."""
    rows = _rows(story)
    if len(rows) < 2:
        return None
    shown = dict(list(rows.items())[:MOST])
    drawings = {kind: _draw(story, shown, width, kind) for kind, width in WIDTHS.items()}
    table = [
        [
            label,
            name,
            story.verdict.eps.text if story.verdict.eps else "",
            r.value,
            r.low,
            r.high,
            r.n,
        ]
        for label, rates in rows.items()
        for name, r in rates.items()
    ]
    names = [n for n in story.evidence.backbones if any(n in rates for rates in rows.values())]
    values: dict[str, Any] = {"head": ["attack", "backbone", "eps", "value", "low", "high", "n"]}
    body = render(
        "ranking.html",
        story,
        drawings=drawings,
        rows=table,
        names=names,
        hidden=len(rows) - len(shown),
        **values,
    )
    return Section("attacks", "Which attack did it", _title(story, rows), body)


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


def _title(story: Story, rows: Rows) -> str:
    label, rates = next(iter(rows.items()))
    ties = [other for other, found in rows.items() if _mean(found) == _mean(rates)]
    if len(ties) > 1:
        return f"{' and '.join(map(code, ties))} break equally many at {story.at}"
    return f"{code(label)} breaks most at {story.at}"


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
