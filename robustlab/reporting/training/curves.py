"""The curves of a training: losses, accuracies, learning rate, the kept epoch marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustlab.reporting.palette import Style, styles
from robustlab.reporting.svg import MUTED, PAPER, canvas, inline
from robustlab.reporting.training.record import COLUMNS, Floats, Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["figures", "shown", "title"]

MOST = 400  # epochs that a figure and its table carry
WIDE_RANGE = 30.0  # the largest over the smallest loss from which on the axis is logarithmic
LOOKS = styles(["train", "validation", "robust", "single step"])  # one look a kind, in all figures


@dataclass(frozen=True)
class Plot:
    """One figure: its title, what the axis says, the columns drawn and their places in LOOKS."""

    key: str
    title: str
    axis: str
    columns: Mapping[str, str]
    heights: tuple[int, int]


PLOTS = (
    Plot(
        "loss",
        "Loss",
        "loss (nats)",
        {"train_loss": "train", "val_loss": "validation"},
        (330, 290),
    ),
    Plot(
        "accuracy",
        "Accuracy",
        "accuracy (%)",
        {
            "train_accuracy": "train",
            "val_accuracy": "validation",
            "val_robust_accuracy": "robust",
            "val_single_step_accuracy": "single step",
        },
        (330, 290),
    ),
    Plot("lr", "Learning rate", "learning rate", {"lr": "train"}, (190, 190)),
)
WIDTHS = (880, 370)


def shown(training: Training) -> NDArray[np.int64]:
    """Epochs that are drawn, from 1: all, or evenly chosen ones and the kept."""
    if training.epochs <= MOST:
        return np.arange(1, training.epochs + 1)
    chosen = np.linspace(1, training.epochs, MOST).round().astype(np.int64)
    return np.union1d(chosen, [training.kept or 1])


def figures(training: Training) -> list[dict[str, Any]]:
    """One figure a plot that has a column, in a wide and a narrow drawing."""
    return [_figure(training, plot) for plot in PLOTS if set(plot.columns) & set(training.curve)]


def _figure(training: Training, plot: Plot) -> dict[str, Any]:
    epochs = shown(training)
    percent = 100.0 if plot.key == "accuracy" else 1.0
    lines = {
        c: percent * training.curve[c][epochs - 1] for c in plot.columns if c in training.curve
    }
    log = plot.key == "loss" and _spread(list(lines.values())) > WIDE_RANGE
    alt = _alt(training, plot, log)
    drawn = [
        _draw(training, plot, lines, (width, height), log, f"{plot.key}-{width}", alt)
        for width, height in zip(WIDTHS, plot.heights, strict=True)
    ]
    return {
        "title": plot.title,
        "log": log,
        "wide": drawn[0],
        "narrow": drawn[1],
        "file": f"training-{plot.key}.csv",
        "head": ["epoch", *(COLUMNS[c][0] for c in lines)],
        "rows": _rows(training, list(lines)),
        "legend": [(COLUMNS[c][0], LOOKS[plot.columns[c]]) for c in lines],
    }


def _spread(lines: Sequence[Floats]) -> float:
    values = np.concatenate(lines)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    return high / low if low > 1 / WIDE_RANGE**20 else 1.0


def _draw(
    training: Training,
    plot: Plot,
    lines: Mapping[str, Floats],
    size: tuple[int, int],
    log: bool,
    prefix: str,
    alt: str,
) -> Any:
    epochs = shown(training)
    with canvas(*size) as figure:
        axes = figure.add_subplot()
        _frame(axes, plot, training.epochs, log)
        if training.kept:
            axes.axvline(training.kept, color=MUTED, lw=1, ls=(0, (1, 3)), zorder=0)
        for column, values in lines.items():
            _line(axes, epochs, values, LOOKS[plot.columns[column]], training.kept)
        return inline(figure, prefix, alt)


def _line(axes: Axes, epochs: NDArray[Any], values: Floats, look: Style, kept: int | None) -> None:
    """One line; its marker stands at the kept epoch, or at every point of a short curve."""
    few = len(epochs) <= 12
    places = range(len(epochs)) if few else np.flatnonzero(epochs == (kept or epochs[-1])).tolist()
    axes.plot(
        epochs,
        values,
        color=look.colour,
        dashes=look.dash or (None, None),
        lw=1.8,
        marker=look.marker,
        markevery=list(places),
        markersize=7.5,
        markeredgecolor=PAPER,
    )


def _frame(axes: Axes, plot: Plot, epochs: int, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(plain)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(plain)
    axes.set_xlim(1 - 0.02 * epochs, 1 + 1.01 * max(1, epochs - 1))
    axes.grid(axis="y", lw=0.7)
    axes.set_axisbelow(True)
    axes.set(xlabel="epoch", ylabel=plot.axis)


def _alt(training: Training, plot: Plot, log: bool) -> str:
    """The figure in words: first, best and last value of every line, and the kept epoch."""
    parts = []
    for column in plot.columns:
        values = training.curve.get(column)
        if values is None:
            continue
        places = np.flatnonzero(np.isfinite(values))
        accuracy = plot.key == "accuracy"
        best = _highest(values if accuracy else -values, training.kept)
        word = "highest" if accuracy else "lowest"
        told = ", ".join(
            f"{say} {_value(plot, values[at])} in epoch {at + 1}"
            for say, at in (("first", places[0]), (word, best), ("last", places[-1]))
        )
        parts.append(f"{COLUMNS[column][0]}: {told}")
    kept = f" Kept is epoch {training.kept}." if training.kept else ""
    scale = ", logarithmic" if log else ""
    return f"Line chart of {plot.axis}{scale} by epoch. {'; '.join(parts)}.{kept}"


def _value(plot: Plot, value: float) -> str:
    return f"{100 * value:.1f} %" if plot.key == "accuracy" else f"{value:.3g}"


def _highest(values: Floats, kept: int | None) -> int:
    """Where the column is highest, from 0: in the kept epoch if it shares that, else the first."""
    first = int(np.nanargmax(values))
    return kept - 1 if kept and values[kept - 1] == values[first] else first


def title(training: Training) -> str:
    """The best validation accuracy, robust where it is measured, and how soon most was there."""
    robust = "val_robust_accuracy" in training.curve
    values = training.curve.get("val_robust_accuracy" if robust else "val_accuracy")
    if values is None:
        return "The curves, epoch by epoch"
    best, first = _highest(values, training.kept), int(np.nanargmax(values))
    high = float(values[best])
    near = int(np.flatnonzero(values >= high - 0.01)[0])
    what = "Robust validation" if robust else "Validation"
    told = f"{what} accuracy is highest in epoch {best + 1}: {100 * high:.1f} %"
    if first < best:
        told += f", first reached in epoch {first + 1}"
    return told if near == first else f"{told}; epoch {near + 1} comes within a point of it"


def _rows(training: Training, columns: Sequence[str]) -> list[list[str]]:
    """The drawn epochs and their values."""
    return [
        [str(epoch), *(_cell(training.curve[c][epoch - 1]) for c in columns)]
        for epoch in shown(training).tolist()
    ]


def _cell(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""
