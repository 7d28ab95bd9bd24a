"""The figure: robust accuracy against eps, one figure a norm, one line a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustlab.evidence import Eps, column, eps_of, exactly, is_spatial
from robustlab.reporting.section import Section, Story, render
from robustlab.reporting.svg import MUTED, PAPER, RULE, canvas, inline
from robustlab.results import Group
from robustlab.statistics import Rate, rate
from robustlab.verdict import code, norm_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Point", "curves", "points"]

# Dash, width and marker of each series; no dash: the backbone's own and its marker, with a band.
THIN: dict[str, tuple[tuple[float, ...] | None, float, str]] = {
    "noise": ((2.5, 2.5), 1.2, ""),
    "top-5": ((7.0, 2.0, 1.2, 2.0), 1.6, "*"),
    "worst case": (None, 2.2, ""),
}
BANDS = 5  # with more backbones than this, bands would hide the lines; the table has them
WIDE, NARROW = (880, 430), (370, 330)


@dataclass(frozen=True)
class Point:
    """One mark of the figure; ``series`` is ``worst case``, ``noise``, ``top-5``, ``clean`` or
    ``clean top-5``.
    """

    backbone: str
    series: str
    label: str
    eps: Eps
    rate: Rate


def points(story: Story, norm: str | None) -> list[Point]:
    """Everything the figure of one norm shows."""
    evidence, found = story.evidence, []
    for name in evidence.backbones:
        clean = evidence.clean_rate(name)
        if clean.n and (evidence.attacks(name, norm) or evidence.controls(name, norm)):
            found.append(Point(name, "clean", "clean", Eps(0.0, "0"), clean))
        for e in evidence.eps(norm, name):
            value = evidence.robust(name, norm, e)
            found.append(Point(name, "worst case", "worst case", e, value))
        for control in evidence.controls(name, norm):
            for e in eps_of(control):
                hits = column(control, f"verified[eps={e.text}]")
                found.append(Point(name, "noise", control.label, e, rate(~hits)))
        found += _top5(story, name, norm)
    return found


def _top5(story: Story, name: str, norm: str | None) -> list[Point]:
    """Top-5 of the images that the attacks ended with, and of the clean ones; nothing where it was
    not kept. In the worst case: no attack drove the label out of the five within the eps.
    """
    groups = [g for g in story.evidence.attacks(name, norm) if _ranked(g)]
    if not groups:
        return []
    clean = rate(column(groups[0], "clean_top5"))
    found = [Point(name, "clean top-5", "clean top-5", Eps(0.0, "0"), clean)]
    out = np.zeros(clean.n, bool)
    for e in sorted({e.value: e for g in groups for e in eps_of(g)}.values()):
        for group in groups:
            kept = exactly(group, e, "top5")
            out |= np.zeros(clean.n, bool) if kept is None else ~kept
        found.append(Point(name, "top-5", "top-5", e, rate(~out)))
    return found


def _ranked(group: Group) -> bool:
    return group.outcome is not None and "clean_top5" in group.outcome.samples


def curves(story: Story) -> Section | None:
    """One figure a norm, in a wide and a narrow drawing."""
    figures = [_figure(story, norm, i) for i, norm in enumerate(story.evidence.norms)]
    if not figures:
        return None
    body = render("curves.html", story, figures=figures)
    return Section("figure", "The figure", _title(story), body)


def _figure(story: Story, norm: str | None, index: int) -> dict[str, Any]:
    marks = points(story, norm)
    alt = _alt(story, norm)
    rows = [
        [p.backbone, p.label, p.eps.text, p.rate.value, p.rate.low, p.rate.high, p.rate.n]
        for p in marks
    ]
    return {
        "norm": norm_name(norm),
        "file": f"robust-accuracy-{norm or 'no-norm'}.csv",
        "wide": _draw(story, norm, marks, WIDE, f"curve-{index}-w", alt),
        "narrow": _draw(story, norm, marks, NARROW, f"curve-{index}-n", alt),
        "head": ["backbone", "series", "eps", "value", "low", "high", "n"],
        "rows": rows,
        "marks": marks,
        "spatial": is_spatial(norm),
        "black": is_spatial(norm) and (norm or "").count("-") == 1,  # else its name says
        "from_clean": _starts_clean(norm),
        "names": list(dict.fromkeys(p.backbone for p in marks)),
        "bands": len(story.styles) <= BANDS,
        "noise": any(p.series == "noise" for p in marks),
        "top5": any(p.series == "top-5" for p in marks),
        "attacks": list(
            dict.fromkeys(
                g.label for b in story.evidence.backbones for g in story.evidence.attacks(b, norm)
            )
        ),
    }


def _draw(
    story: Story,
    norm: str | None,
    marks: Sequence[Point],
    size: tuple[int, int],
    prefix: str,
    alt: str,
) -> Any:
    with canvas(*size) as figure:
        axes = figure.add_subplot()
        ticks = {p.eps.value: p.eps.text for p in marks}
        _frame(axes, ticks, norm, size)
        if story.verdict.eps and norm == story.verdict.norm:
            axes.axvline(story.verdict.eps.value, color=RULE, lw=1, zorder=0)
        _lines(axes, story, marks, norm)
        return inline(figure, prefix, alt)


def _lines(axes: Axes, story: Story, marks: Sequence[Point], norm: str | None) -> None:
    """Lines by seaborn; keys are places, not names, so no untrusted text enters the drawing."""
    import pandas as pd
    import seaborn as sns

    for series, (dash, width, marker) in THIN.items():
        frame = pd.DataFrame(
            {
                "place": str(story.styles[p.backbone].index),
                "line": f"{story.styles[p.backbone].index} {p.label if series == 'noise' else ''}",
                "eps": p.eps.value,
                "value": 100 * p.rate.value,
                "low": 100 * p.rate.low,
                "high": 100 * p.rate.high,
            }
            for p in _from_clean(marks, series, norm)
        )
        if frame.empty:
            continue
        looks = {str(s.index): s for s in story.styles.values()}
        main = dash is None
        sns.lineplot(
            frame,
            x="eps",
            y="value",
            hue="place",
            style="place",
            units="line",
            estimator=None,
            palette={k: s.colour for k, s in looks.items()},
            markers={k: marker or s.marker for k, s in looks.items()} if main or marker else False,
            dashes={k: dash or s.dash for k, s in looks.items()},
            lw=width,
            markersize=7.5 if main else 10,
            markeredgecolor=PAPER,
            legend=False,
            ax=axes,
        )
        if main and len(story.styles) <= BANDS:
            for place, part in frame.groupby("place"):
                axes.fill_between(
                    part["eps"],
                    part["low"],
                    part["high"],
                    color=looks[str(place)].colour,
                    alpha=0.14,
                    lw=0,
                )
    axes.set(xlabel="", ylabel="")


def _starts_clean(norm: str | None) -> bool:
    """Whether eps 0 is the clean image: not where it may be turned all the same."""
    return not is_spatial(norm) or "no rotation" in norm_name(norm)


def _from_clean(marks: Sequence[Point], series: str, norm: str | None) -> list[Point]:
    """The points of a series, each line beginning at its backbone's clean accuracy."""
    chosen = [p for p in marks if p.series == series]
    lines = list(dict.fromkeys((p.backbone, p.label) for p in chosen))
    starts = [
        Point(p.backbone, series, label, p.eps, p.rate)
        for name, label in lines
        for p in marks
        if p.series == ("clean top-5" if series == "top-5" else "clean")
        and p.backbone == name
        and _starts_clean(norm)
    ]
    return sorted([*starts, *chosen], key=lambda p: p.eps.value)


def _frame(axes: Axes, ticks: dict[float, str], norm: str | None, size: tuple[int, int]) -> None:
    axes.set_ylim(-2, 104)
    axes.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    axes.grid(axis="y", lw=0.7)
    axes.set_axisbelow(True)
    largest = max(ticks, default=1.0)
    axes.set_xlim(-0.02 * largest, 1.03 * largest)
    kept: list[float] = []
    widest = max(map(len, ticks.values()), default=1)
    room = largest * (8 * widest + 8) / (size[0] - 60)
    for value in sorted(ticks, key=lambda v: (v > 0, -v)):  # 0 and the largest stay, others yield
        if all(abs(value - other) > room for other in kept):
            kept.append(value)
    axes.set_xticks(kept, [ticks[v] for v in kept])
    axes.figure.supxlabel(_axis(norm), fontsize=13, color=MUTED)


def _axis(norm: str | None) -> str:
    """``eps (Linf)``, ``translation in pixels, rotation up to 30 degrees``."""
    name = norm_name(norm)
    if is_spatial(norm):
        return name.replace("translation", "translation in pixels", 1)
    return f"eps ({name}, pixels)" if norm == "l0" else f"eps ({name})"


def _title(story: Story) -> str:
    """Where each backbone has lost half its clean accuracy, the first to lose it first."""
    norm, evidence = story.verdict.norm, story.evidence
    lost: dict[Eps | None, list[str]] = {}
    for name in evidence.backbones:
        clean, eps = evidence.clean_rate(name), evidence.eps(norm, name)
        if eps and clean.n:
            low = (e for e in eps if evidence.robust(name, norm, e).value < clean.value / 2)
            lost.setdefault(next(low, None), []).append(name)
    told = [
        f"{f'by eps {e.text}' if e else 'nowhere tested'} for {_named(lost[e])}"
        for e in sorted(lost, key=lambda e: (e is None, e.value if e else 0.0))
    ]
    return f"Half the clean accuracy is gone {', '.join(told)}" if told else "Accuracy under attack"


def _named(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{len(names)} backbones"
    return " and ".join(map(code, names))


def _alt(story: Story, norm: str | None) -> str:
    evidence, parts = story.evidence, []
    for name in evidence.backbones:
        eps = evidence.eps(norm, name)
        if eps:
            told = ", ".join(
                f"{100 * evidence.robust(name, norm, e).value:.0f} % at {e.text}" for e in eps
            )
            clean = evidence.clean_rate(name)
            start = f"clean {100 * clean.value:.0f} %, " if clean.n else ""
            parts.append(f"{name}: {start}{told}")
    return f"Line chart of robust accuracy against eps ({norm_name(norm)}). {'; '.join(parts)}."
