"""What is it? Sizes, costs and receptive fields of each backbone, as the probe `anatomy` told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.reporting.anatomy.blocks import branching, chain, diagram
from robustlab.reporting.anatomy.charts import fields_chart, shares_chart
from robustlab.reporting.anatomy.found import KINDS, Layer, Network, network, short
from robustlab.reporting.anatomy.stepper import chosen, stepper, unreached
from robustlab.reporting.anatomy.told import lead, title
from robustlab.reporting.pixels import data_uri, scale_for
from robustlab.reporting.section import Section, Story, render, thousands
from robustlab.verdict import code, plural

__all__ = ["PROBE", "anatomy"]

PROBE = "anatomy"
ROWS = 80  # of a layer table; the CSV holds all
ROOM = 150  # page pixels of one effective field
_CSV = [
    *("layer", "kind", "input_shape", "output_shape", "kernel", "stride", "padding", "dilation"),
    *("rounding", "status", "note"),
]
_COUNTS = [
    *("parameters", "weights", "multiply_adds", "flops", "other_operations", "connections"),
    *("units", "activation_bytes", "dropped_rows", "dropped_columns"),
    *("field_rows", "field_columns", "stride_rows", "stride_columns"),
    *("centre_row", "centre_column", "fully_connected_weights", "locally_connected_weights"),
]


def anatomy(story: Story) -> Section | None:
    """The section; nothing where the probe did not run."""
    groups = [g for g in story.evidence.landed if g.plan["probe"] == PROBE]
    by_name = {one.backbone: one for g in groups if (one := network(g)) is not None}
    found = list(by_name.values())
    if not found:
        return None
    picked = chosen(found)
    body = render(
        "anatomy.html",
        story,
        names=[one.backbone for one in found],
        shares=shares_chart(story, found),
        share_rows=_share_rows(found),
        fields=fields_chart(story, found),
        maps=any(one.maps for one in found),
        ends=[(one.backbone, one.sees) for one in found if one.sees.startswith("not known")],
        field_rows=_field_rows(found),
        steps=None if picked is None else _steps(*picked),
        networks=[_network(story, one, place) for place, one in enumerate(found)],
        notes=list(dict.fromkeys(note for one in found for note in one.outcome.notes)),
        ranked=any("top5" in one.outcome.metrics for one in found),
    )
    return Section("anatomy", "Anatomy", title(found), body, lead(found))


def _share_rows(found: Sequence[Network]) -> list[list[Any]]:
    return [
        [one.backbone, column, part, "" if math.isnan(share := one.share(column, part)) else share]
        for one in found
        for column in ("parameters", "multiply_adds")
        for part in KINDS
    ]


def _field_rows(found: Sequence[Network]) -> list[list[Any]]:
    return [
        [one.backbone, layer.name, *("" if math.isnan(v) else v for v in (rows, columns))]
        for one in found
        for layer in one.maps
        for rows, columns in [(layer.get("field_rows"), layer.get("field_columns"))]
    ]


def _steps(one: Network, layer: Layer) -> dict[str, Any]:
    texts = {n: layer.texts[n].split("x")[1] for n in ("kernel", "stride", "padding", "dilation")}
    return {
        "drawing": stepper(layer),
        "unreached": unreached(layer),
        "span": int(texts["dilation"]) * (int(texts["kernel"]) - 1) + 1,
        "backbone": one.backbone,
        "layer": layer,
        "size": layer.texts["input_shape"].split("x")[-1],
        "exact": f"{layer.get('exact_columns'):.4g}",
        "fits": layer.get("fits") == 1,
        **texts,
    }


def _network(story: Story, one: Network, place: int) -> dict[str, Any]:
    blocks = chain(one)
    inside = branching(one)
    told = [layer for layer in one.layers if layer.told]
    most = {c: np.nanmax([x.get(c) for x in told] or [0]) for c in ("parameters", "multiply_adds")}
    return {
        "backbone": one.backbone,
        "image": "×".join(map(str, one.image)),
        "parameters": short(one.number("parameters")),
        "multiply_adds": short(one.number("multiply_adds")),
        "flops": short(2 * one.number("multiply_adds")),
        "units": short(one.number("units")),
        "bytes": short(one.number("activation_bytes"), "B"),
        "field": one.sees,
        "top": [
            (word, str(one.group.rate(m)))
            for m, word in (("top1", "top-1"), ("top5", "top-5"))
            if m in one.outcome.metrics
        ],
        "findings": one.outcome.findings,
        "verdict": _verdict(one),
        "rows": [_row(layer, most) for layer in told[:ROWS]],
        "left_out": max(0, len(told) - ROWS),
        "quiet": len(one.layers) - len(told),
        "csv": [[*_CSV, *_COUNTS], *(_line(layer) for layer in one.layers)],
        "file": f"anatomy-{place + 1}.csv",
        "passes": _passes(one),
        "kept": None if one.array("kept_bytes") is None else _kept(one),
        "effective": _effective(one),
        "blocks": diagram(story, one, blocks, f"anatomy-blocks-{place}") if blocks else None,
        "inside": None
        if inside is None
        else {
            "name": inside[0],
            "drawing": diagram(story, one, inside[1], f"anatomy-inside-{place}"),
        },
    }


def _verdict(one: Network) -> str:
    """Whether all layers fit, and which do not."""
    name, drops = code(one.backbone), one.unfitting
    padding = sum(layer.get("fits") == 0 and not layer.drops for layer in one.layers)
    if drops:
        listed = ", ".join(code(layer.name) for layer in drops[:6])
        more = f" and {len(drops) - 6} more" if len(drops) > 6 else ""
        return f"{name} does not fit: rows or columns are dropped by {listed}{more}"
    if padding:
        leave = "leaves" if padding == 1 else "leave"
        return f"{name} fits but for padding: {plural(padding, 'layers')} {leave} some of it over"
    blank = [x for x in one.layers if x.kind == "locally connected" and not x.texts["kernel"]]
    if blank:
        return f"{name} fits as far as windows are known; those of {code(blank[0].name)} are not"
    return f"{name} fits: every window stands whole, nothing is dropped"


def _row(layer: Layer, most: dict[str, Any]) -> dict[str, Any]:
    texts = layer.texts
    window = ""
    if texts["kernel"]:
        window = f"{texts['kernel']} /{texts['stride'].split('x')[1]}"
        window += f" p{texts['padding'].split('x')[1]}" if texts["padding"] != "0x0" else ""
        window += f" d{texts['dilation'].split('x')[1]}" if texts["dilation"] != "1x1" else ""
        groups = layer.get("groups")
        window += f" g{groups:.0f}" if groups > 1 else ""
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "output": texts["output_shape"].replace("x", "×"),
        "window": window.replace("x", "×"),
        "fit": _fit(layer),
        "red": layer.drops,
        "bars": [_barred(layer.get(c), most[c]) for c in ("parameters", "multiply_adds")],
        "field": _field(layer),
        "stride": _known(layer.get("stride_columns")),
        "bytes": short(layer.get("activation_bytes")),
        "full": _count(layer.get("fully_connected_weights")),
        "local": _count(layer.get("locally_connected_weights")),
        "note": texts["note"],
    }


def _fit(layer: Layer) -> str:
    """The size before rounding, and a word: fits, dropped, or what hangs over."""
    if math.isnan(layer.get("fits")):
        return ""
    if layer.get("fits") == 1:
        return "fits"
    exact = f"{layer.get('exact_rows'):.4g}"
    if layer.get("exact_rows") != layer.get("exact_columns"):
        exact += f"×{layer.get('exact_columns'):.4g}"
    rounding = layer.texts["rounding"]
    if layer.drops:
        lost = (layer.get("dropped_rows"), layer.get("dropped_columns"))
        return f"{exact}, {rounding}: {lost[0]:.0f} rows, {lost[1]:.0f} columns dropped"
    return f"{exact}, {rounding}: {'hangs over' if rounding == 'ceil' else 'padding left over'}"


def _barred(value: float, largest: float) -> dict[str, Any]:
    known = not math.isnan(value)
    share = round(100 * value / largest, 1) if known and largest else 0.0
    return {"text": thousands(value) if known else "not known", "share": share}


def _known(value: float) -> str:
    return "" if math.isnan(value) else f"{value:g}"


def _count(value: float) -> str:
    return "" if math.isnan(value) else short(value)


def _field(layer: Layer) -> str:
    rows, columns = layer.get("field_rows"), layer.get("field_columns")
    if math.isnan(rows):
        return "not known" if layer.ran else ""
    text = f"{rows:.0f}" if rows == columns else f"{rows:.0f}×{columns:.0f}"
    return text if layer.get("aligned") == 1 else f"{text}, paths not centred alike"


def _line(layer: Layer) -> list[Any]:
    counts = [layer.get(name) for name in _COUNTS]
    return [
        *(layer.texts[n] for n in _CSV),
        *("" if math.isnan(c) else f"{c:g}" if c % 1 else int(c) for c in counts),
    ]


def _passes(one: Network) -> dict[str, Any] | None:
    """Forward and backward, counted and timed; ratios to the forward pass."""
    counted, seconds = one.array("passes.counted"), one.array("passes.seconds")
    if counted is None:
        return None
    rows = []
    for place, word in enumerate(
        ("forward", "backward to the image: an attack", "backward to the weights: training")
    ):
        rows.append(
            {
                "word": word,
                "counted": short(float(counted[place])),
                "ratio": _ratio(counted[place], counted[0]),
                "seconds": "" if seconds is None else f"{1000 * seconds[place]:.3g} ms",
                "times": "" if seconds is None else f"{seconds[place] / seconds[0]:.2f}",
            }
        )
    return {"rows": rows, "timed": seconds is not None}


def _ratio(one: float, of: float) -> str:
    """``1.93``; in words where there is none."""
    if math.isnan(one) or math.isnan(of):
        return "not known"
    return f"{one / of:.2f}" if of else "not defined"


def _kept(one: Network) -> list[str]:
    kept = one.array("kept_bytes")
    assert kept is not None
    return [short(float(value), "B") for value in kept]


def _effective(one: Network) -> dict[str, Any] | None:
    """The fields side by side in one picture, each divided by its largest value."""
    fields, names = one.array("effective"), one.array("effective_layers")
    widths = one.array("effective_width")
    if fields is None or names is None or widths is None or not len(fields):
        return None
    count, _, width = fields.shape
    step = max(1, math.ceil(width / ROOM))
    small = fields[:, ::step, ::step].astype(np.float64)
    gap = np.full((small.shape[1], 2), np.nan)
    strip = np.concatenate([part for one in small for part in (one, gap)][:-1], axis=1)
    scale = scale_for(small.shape[2], ROOM)
    theory = {layer.path: layer.get("field_columns") for layer in one.layers}
    last = {str(name): theory.get(str(name), math.nan) for name in names}
    return {
        "uri": data_uri(_cividis(strip)),
        "width": strip.shape[1] * scale,
        "height": strip.shape[0] * scale,
        "layers": [
            (
                str(name),
                f"{value:.1f}",
                "not known" if math.isnan(last[str(name)]) else f"{last[str(name)]:.0f}",
            )
            for name, value in zip(names, widths, strict=True)
        ],
        "count": count,
    }


def _cividis(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Square roots on the scale, so that the faint edge is seen; gaps transparent."""
    from matplotlib import colormaps

    colours = np.asarray(colormaps["cividis"](np.sqrt(np.nan_to_num(values))))
    colours[..., 3] = np.isfinite(values)
    return (255 * colours).round().astype(np.uint8)
