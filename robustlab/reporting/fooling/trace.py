"""Inside the network: the two pictures followed from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.fooled import Fooled
from robustlab.reporting.fooling.charts import evenly
from robustlab.reporting.fooling.words import number, plain_name
from robustlab.reporting.palette import COLOURS
from robustlab.reporting.svg import INK, MUTED, RULE, canvas, inline
from robustlab.verdict import code

__all__ = ["trace"]

Arrays = Mapping[str, NDArray[Any]]

WIDTHS = {"wide": (880, 30, 24), "narrow": (370, 12, 13)}  # page pixels, named layers, letters
HEIGHTS = (210, 140, 170)
DASHES = {"gaussian": "--", "sign": "-.", "permuted": ":"}
NONE = 2.0  # where "no number of channels" is drawn: above all


def trace(fooled: Fooled) -> dict[str, Any] | None:
    """How far apart the two pictures are at each layer; None where they were not followed."""
    arrays = fooled.trace
    if not {"layers", "amplification"} <= set(arrays) or not len(arrays["layers"]):
        return None
    names = [plain_name(str(x)) for x in arrays["layers"]]
    lines = _lines(arrays)
    return {
        "title": _grown(names, arrays),
        "drawing": {kind: _draw(names, lines, kind) for kind in WIDTHS},
        "restored": "restoring" in lines,
        "controls": [plain_name(name) for name in lines if name not in (*_OWN, *_RANDOM)],
        "file": "trace.csv",
        "head": ["layer", *lines],
        "rows": [
            [name, *(float(v[i]) if math.isfinite(v[i]) else "" for v in lines.values())]
            for i, name in enumerate(names)
        ],
    }


_OWN = ("amplification", "flips", "restoring")
_RANDOM = ("restoring, random order",)


def _lines(arrays: Arrays) -> dict[str, NDArray[np.float64]]:
    """Every curve by its name; restoring numbers of channels as shares, infinite where none."""
    layers = len(arrays["layers"])
    found = {
        k: np.asarray(arrays[k], dtype=float) for k in ("amplification", "flips") if k in arrays
    }
    controls = [str(x) for x in arrays.get("controls", ())]
    for c, name in enumerate(controls):
        for key, own in (("control_amplification", ""), ("control_flips", ", flips")):
            if key in arrays:
                found[f"{name}{own}"] = np.asarray(arrays[key], dtype=float)[c]
    if {"restoring", "changed_channels"} <= set(arrays):
        whole = np.asarray(arrays["changed_channels"], dtype=float)
        found["restoring"] = _share(np.asarray(arrays["restoring"], dtype=float), whole)
        drawn = np.asarray(arrays.get("restoring_random", np.empty((0, layers))), dtype=float)
        if len(drawn):
            shares = np.sort([_share(one, whole) for one in drawn], axis=0)
            found[_RANDOM[0]] = shares[(len(shares) - 1) // 2]
    return found


def _share(counts: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """-1 (no number is enough) is infinite, 0 (not asked) a gap."""
    share = counts / np.maximum(whole, 1)
    return np.where(counts < 0, np.inf, np.where(counts == 0, np.nan, share))


def _grown(names: Sequence[str], arrays: Arrays) -> str:
    """Where it is largest, beside the largest of the random changes there."""
    far = np.asarray(arrays["amplification"], dtype=float)
    held = np.where(np.isfinite(far), far, -1.0)
    if (held < 0).all():
        return "The pair was followed, but nothing was measured"
    most = int(held.argmax())
    if held[most] <= 1:
        return "At no layer are the pictures further apart, relatively, than at the input"
    grown = number(round(float(held[most]), 1))
    said = f"At {code(names[most])} the difference has grown {grown} times, relative to the input"
    others = np.asarray(arrays.get("control_amplification", np.empty((0, len(far)))), dtype=float)
    if not len(others) or not np.isfinite(others[:, most]).any():
        return said
    chance = number(round(float(np.nanmax(others[:, most])), 1))
    return f"{said}; random changes of the same size {chance} times there, at most"


def _draw(names: Sequence[str], lines: Mapping[str, NDArray[np.float64]], kind: str) -> Any:
    width, named, letters = WIDTHS[kind]
    own = [key for key in _OWN if key in lines]
    titles = {"amplification": "amplified", "flips": "units flipped", "restoring": "channels"}
    alt = "How far apart the two pictures are, layer by layer; the table below holds the numbers."
    heights = [HEIGHTS[_OWN.index(key)] for key in own]
    with canvas(width, sum(heights) + 100) as figure:
        rows: Any = figure.subplots(
            len(own), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )[:, 0]
        for axes, key in zip(rows, own, strict=True):
            for name, values in lines.items():
                if _belongs(name, key):
                    _plot(axes, name, values, key)
            axes.set_ylabel(titles[key], color=MUTED, fontsize=12)
            axes.grid(axis="y", lw=0.6)
            _scale(axes, key)
        held = evenly(len(names), named)
        short = [n if len(n) <= letters else f"{n[: letters - 1]}…" for n in names]
        rows[-1].set_xticks(held, [short[i] for i in held], rotation=90)
        rows[-1].tick_params(axis="x", labelsize=11)
        rows[-1].set_xlim(-0.5, len(names) - 0.5)
        handles = {
            str(h.get_label()): h for axes in rows for h in axes.get_legend_handles_labels()[0]
        }
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside upper left",
            ncols=3 if kind == "wide" else 1,
            frameon=False,
            fontsize=11,
            labelcolor=INK,
        )
        return inline(figure, f"trace-{kind[0]}", alt)


def _belongs(name: str, panel: str) -> bool:
    if panel == "restoring":
        return name.startswith("restoring")
    if panel == "flips":
        return name == "flips" or name.endswith(", flips")
    return name == panel or not (name in (*_OWN, *_RANDOM) or name.endswith(", flips"))


def _plot(axes: Any, name: str, values: NDArray[np.float64], panel: str) -> None:
    own = name == panel
    control = name.removesuffix(", flips")
    label = "this perturbation" if own else control.replace("restoring, ", "channels in ")
    axes.plot(
        np.arange(len(values)),
        np.where(np.isposinf(values), NONE, values),
        color=COLOURS[1] if own else INK,
        ls="-" if own else DASHES.get(control, (0, (5, 2, 1, 2, 1, 2))),
        marker="o" if own else ("x" if name in _RANDOM else None),
        lw=2.0 if own else 1.4,
        ms=5,
        label=label if len(label) <= 40 else f"{label[:39]}…",
    )


def _scale(axes: Any, key: str) -> None:
    from matplotlib.ticker import NullFormatter

    if key == "flips":
        axes.set_ylim(bottom=0.0)
        axes.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.3g} %")
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if key == "restoring":
        axes.set_ylim(min(low, 0.4), NONE * 1.4)
        low = axes.get_ylim()[0]
        shown = {1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %", 1.0: "100 %", NONE: "none"}
    else:
        shown = {v: f"{v:g}" for v in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)}
        axes.axhline(1.0, color=RULE, lw=0.9)
    held = [v for v in shown if low <= v <= max(high, NONE if key == "restoring" else high)]
    axes.set_yticks(held, [shown[v] for v in held])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
