"""How close is each image to the boundary? Smallest perturbations found, with their median.

A radius is an upper bound of the true distance: a better search may find a smaller perturbation.
An image that is wrong unattacked has radius 0; one for which nothing was found has none, and counts
as larger than every other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustlab.evidence import eps_of
from robustlab.reporting.section import Section, Story, render
from robustlab.reporting.svg import INK, MUTED, RULE, canvas, inline
from robustlab.results import Group
from robustlab.statistics import Rate, median
from robustlab.verdict import code, norm_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Radii", "radii", "radii_of", "written"]

WIDTHS = {"wide": (880, 40), "narrow": (370, 22)}  # page pixels, bins
ROW, LETTERS = 130, 44  # page pixels of a backbone, letters of its name


@dataclass(frozen=True)
class Radii:
    """Radii [n] of one backbone in one norm: the smallest over its minimum-norm attacks.

    ``nearer`` counts the images for which another attack holds a perturbation that is more than a
    hundredth smaller.
    """

    backbone: str
    norm: str | None
    attacks: tuple[str, ...]
    radius: NDArray[np.float64]
    nearer: int
    ids: tuple[str, ...]

    @property
    def median(self) -> Rate:
        """Over all images; no bound is below 0."""
        found = median(self.radius)
        return Rate(found.value, max(0.0, found.low), found.high, found.n)

    @property
    def wrong(self) -> int:
        """Images wrong unattacked."""
        return int((self.radius == 0).sum())

    @property
    def without(self) -> int:
        """Images that no perturbation was found for."""
        return int(np.isinf(self.radius).sum())

    @property
    def smallest(self) -> float:
        """The smallest of a correctly classified image; NaN where there is none."""
        found = self.radius[self.radius > 0]
        return float(found.min()) if len(found) else math.nan


def radii_of(story: Story, norm: str | None) -> list[Radii]:
    """Every backbone that an attack measured radii of in this norm."""
    found = []
    for name in story.evidence.backbones:
        groups = story.evidence.attacks(name, norm)
        held = [(g, r) for g in groups if (r := _radius(g)) is not None]
        if not held:
            continue
        radius = np.minimum.reduce([r for _, r in held])
        outcome = held[0][0].outcome
        assert outcome is not None
        others = [_distance(g) for g in groups if _radius(g) is None]
        best = np.minimum.reduce([*others, np.full(len(radius), np.inf)])
        nearer = int((best < 0.99 * radius).sum())
        labels, ids = tuple(g.label for g, _ in held), tuple(map(str, outcome.samples["id"]))
        found.append(Radii(name, norm, labels, radius, nearer, ids))
    return found


def _radius(group: Group) -> NDArray[np.float64] | None:
    assert group.outcome is not None
    found = group.outcome.samples.get("radius")
    return None if found is None else np.asarray(found, dtype=np.float64)


def _distance(group: Group) -> NDArray[np.float64]:
    """The smallest verified perturbation of each image over the eps of an attack."""
    assert group.outcome is not None
    samples = group.outcome.samples
    found = [
        np.where(samples[f"verified[eps={e.text}]"], samples[f"distance[eps={e.text}]"], np.inf)
        for e in eps_of(group)
        if f"distance[eps={e.text}]" in samples
    ]
    nearest: NDArray[np.float64] = np.minimum.reduce([*found, np.full(len(samples["id"]), np.inf)])
    return nearest


def radii(story: Story) -> Section | None:
    """One figure a norm; nothing where no attack looked for smallest perturbations."""
    found = {norm: held for norm in story.evidence.norms if (held := radii_of(story, norm))}
    if not found:
        return None
    figures = [_figure(story, held, place) for place, held in enumerate(found.values())]
    body = render("radii.html", story, figures=figures)
    return Section("radii", "How close is the boundary?", _title(next(iter(found.values()))), body)


def written(found: Rate, unit: float = 1.0, norm: str | None = None) -> str:
    """A radius with its interval to three digits, in units of ``unit``; in L0 whole pixels."""
    value, low, high = (_digits(v / unit, norm) for v in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _digits(value: float, norm: str | None = None) -> str:
    """Three significant digits, a count of pixels as it is; infinity in a word."""
    if math.isinf(value):
        return "beyond"
    if value == 0 or math.isnan(value) or norm == "l0":
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _title(found: Sequence[Radii]) -> str:
    """Where half of the images of each backbone have fallen, the nearest first."""
    ranked = sorted(found, key=lambda r: (r.median.value, r.backbone))
    shown = ranked if len(ranked) < 3 else [ranked[0], ranked[-1]]
    norm = norm_name(found[0].norm)
    reached = [f"{_size(r)} for {code(r.backbone)}" for r in shown if math.isfinite(r.median.value)]
    if not reached:
        return f"No search found a perturbation for half of the images ({norm})"
    return f"Half of the images fall within {', '.join(reached)} ({norm})"


def _size(one: Radii) -> str:
    """The median as a size: ``eps 0.1 [0.09, 0.12]``, ``5 [4, 6] pixels``."""
    median = written(one.median, norm=one.norm)
    return f"{median} pixels" if one.norm == "l0" else f"eps {median}"


def _figure(story: Story, found: Sequence[Radii], place: int) -> dict[str, Any]:
    norm = found[0].norm
    alt = "; ".join(f"{r.backbone}: median {written(r.median, norm=norm)}" for r in found)
    alt = f"Histograms of the smallest perturbation found ({norm_name(norm)}). {alt}."
    return {
        "norm": norm_name(norm),
        "in_levels": norm == "linf",
        "counts": norm == "l0",
        "found": [
            {
                "radii": r,
                "median": written(r.median, norm=norm),
                "levels": written(r.median, 1 / 255),
                "smallest": _digits(r.smallest, norm),
            }
            for r in found
        ],
        "attacks": list(dict.fromkeys(a for r in found for a in r.attacks)),
        "drawings": {
            kind: _draw(story, found, size, f"radii-{place}-{kind[0]}", alt)
            for kind, size in WIDTHS.items()
        },
        "file": f"radii-{norm or 'no-norm'}.csv",
        "head": ["image", "backbone", "radius"],
        "rows": [
            [i, r.backbone, v] for r in found for i, v in zip(r.ids, r.radius.tolist(), strict=True)
        ],
    }


def _draw(
    story: Story, found: Sequence[Radii], size: tuple[int, int], prefix: str, alt: str
) -> Any:
    """One histogram below the other on one scale, so that a shift is seen."""
    finite = np.concatenate([r.radius[np.isfinite(r.radius)] for r in found])
    largest = float(finite.max(initial=0.0)) or 1.0
    norm = found[0].norm
    edges = whole(largest, size[1]) if norm == "l0" else np.linspace(0.0, largest, size[1] + 1)
    with canvas(size[0], 60 + ROW * len(found)) as figure:
        rows: Any = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
        counts = [np.histogram(r.radius[np.isfinite(r.radius)], edges)[0] for r in found]
        most = max(1, max(int(c.max()) for c in counts))
        for axes, one, count in zip(rows, found, counts, strict=True):
            _histogram(story, axes, one, edges, count, most)
            axes.tick_params(axis="x", length=0 if axes is not rows[-1] else 3)
        rows[-1].set_xlim(min(0.0, edges[0]), edges[-1] + 0.02 * largest)
        if norm == "l0":
            rows[-1].xaxis.get_major_locator().set_params(integer=True)
        unit = f"{norm_name(norm)}, pixels" if norm == "l0" else norm_name(norm)
        figure.supxlabel(f"smallest perturbation found ({unit})", fontsize=13, color=MUTED)
        figure.supylabel(f"{story.evidence.noun}", fontsize=13, color=MUTED)
        return inline(figure, prefix, alt)


def whole(largest: float, bins: int) -> NDArray[np.float64]:
    """Edges of at most ``bins`` bins around whole numbers, 0 to ``largest``, each as many wide."""
    wide = math.ceil((largest + 1) / bins)
    return np.arange(-0.5, largest + 0.5 + wide, wide)


def _histogram(
    story: Story, axes: Axes, one: Radii, edges: NDArray[Any], count: NDArray[Any], most: int
) -> None:
    style = story.styles[one.backbone]
    axes.bar(edges[:-1], count, np.diff(edges), align="edge", color=style.colour, alpha=0.55)
    middle = one.median
    right = float(edges[-1])
    if math.isfinite(middle.value):
        axes.axvspan(middle.low, min(middle.high, right), color=style.colour, alpha=0.18, lw=0)
        axes.axvline(middle.value, color=INK, lw=1.4)
    name = one.backbone if len(one.backbone) <= LETTERS else f"{one.backbone[: LETTERS - 1]}…"
    note = f"{name}\nmedian {written(middle, norm=one.norm)}"
    if one.without:
        note += f"; {one.without} without a radius"
    axes.set_title(note, loc="left", fontsize=12, color=INK, pad=3)
    axes.set_ylim(0, most * 1.05)
    axes.set_yticks([0, most], ["0", str(most)])
    axes.axhline(0, color=RULE, lw=0.7)
