"""The probe `anatomy`: the layer table, what was measured of it, and top-1 and top-5 beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.arithmetic.door import CONVENTION, Anatomy
from robustlab.arithmetic.door import anatomy as described
from robustlab.arithmetic.effective import effective_field, effective_width, map_layers
from robustlab.arithmetic.measured import measured_fields
from robustlab.arithmetic.passes import PASSES, counted_passes, kept_bytes, timed_passes
from robustlab.arithmetic.rules_shapes import PICKED
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.outcome import Finding, Metric, Outcome
from robustlab.registry import probe

__all__ = ["anatomy"]

PICTURES = 6  # effective fields shown, evenly over the depth
LARGEST = 10**9  # multiply-adds up to which fields are measured layer by layer
Arrays = dict[str, Any]


@probe("anatomy", scope="set", version=3)
def anatomy(
    backbone: Backbone,
    data: Data,
    *,
    batch: int = 64,
    effective: int = 16,
    check: int = 12,
    repeats: int = 3,
) -> Outcome:
    """Layer by layer: sizes, parameters, multiply-adds, receptive fields; what a gradient costs.

    batch: images at a time
    effective: images that effective receptive fields are averaged over; 0: none
    check: layers whose receptive field is also measured, by gradient; 0: none
    repeats: times that passes are timed; 0: not timed
    """
    found = described(backbone)
    samples, cost = _ranked(backbone, data, batch)
    arrays = _table(found) | _summed(found)
    arrays |= _passes(backbone, data, min(batch, 16), repeats)
    arrays |= _effective(backbone, data, effective, batch)
    findings, unmeasured = _checked(backbone, found, check)
    metrics = {name: Metric(name) for name in samples}
    return Outcome(
        samples,
        arrays=arrays,
        metrics=metrics,
        notes=[CONVENTION, *unmeasured],
        cost={"forward": cost, "backward": 0.0},
        findings=tuple(findings),
    )


def _images(backbone: Backbone, data: Data, rows: NDArray[Any]) -> Tensor:
    return torch.tensor(data.batch(rows), device=backbone.device, dtype=backbone.dtype)


def _batches(n: int, batch: int) -> Iterator[NDArray[Any]]:
    for first in range(0, n, batch):
        yield np.arange(first, min(first + batch, n))


def _ranked(backbone: Backbone, data: Data, batch: int) -> tuple[Arrays, float]:
    """Whether the label is the first, and among the first five."""
    ranks = []
    for rows in _batches(len(data), batch):
        logits = backbone(_images(backbone, data, rows)).double()
        own = logits.gather(1, torch.tensor(data.labels[rows], device=logits.device)[:, None])
        ranks.append((logits > own).sum(1).cpu().numpy())  # NaN: of rank 0, and wrong all the same
        ranks[-1][~torch.isfinite(logits).all(1).cpu().numpy()] = logits.shape[1]
    rank = np.concatenate(ranks)
    samples: Arrays = {"top1": rank == 0}
    if len(backbone.classes) > 5:
        samples["top5"] = rank < 5
    return samples, float(len(data))


def _table(found: Anatomy) -> Arrays:
    """A column each, ``layers.NAME`` [rows]: numbers as float64, NaN where not known."""
    arrays: Arrays = {}
    for name in found.layers:
        column = found.layers[name]
        if name == "sources":
            arrays["layers.sources"] = np.array([" ".join(map(str, one)) for one in column], str)
        elif column.dtype == object:
            arrays[f"layers.{name}"] = np.array([_text(one) for one in column], str)
        else:
            arrays[f"layers.{name}"] = column.astype("Float64").to_numpy(
                np.float64, na_value=np.nan
            )
    return arrays


def _text(value: Any) -> str:
    """(3, 224, 224) as ``3x224x224``."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return "" if value is None or value is pd.NA or value != value else str(value)


def _summed(found: Anatomy) -> Arrays:
    unknown = found.multiply_adds is None
    return {
        "input_shape": np.array(found.input_shape),
        "parameters": np.array(found.parameters),
        "multiply_adds": np.array(np.nan if unknown else float(found.multiply_adds or 0)),
        "units": np.array(found.units),
        "activation_bytes": np.array(found.activation_bytes),
    }


def _passes(backbone: Backbone, data: Data, batch: int, repeats: int) -> Arrays:
    """Forward, and backward towards inputs, weights and both: [4], in the order of `PASSES`."""
    arrays: Arrays = {"passes": np.array(PASSES)}
    shape = backbone.input_shape
    try:
        counted = counted_passes(backbone.network, shape)
        arrays["passes.counted"] = np.array([getattr(counted, kind) for kind in PASSES])
        kept = [kept_bytes(backbone.network, shape, kind) for kind in ("inputs", "weights")]
        arrays["kept_bytes"] = np.array(kept)
    except (RuntimeError, NotImplementedError):  # cannot run without numbers: not counted
        arrays["passes.counted"] = np.full(len(PASSES), np.nan)
    if repeats > 0:
        rows = np.arange(min(batch, len(data)))
        timed = timed_passes(backbone.network, _images(backbone, data, rows), repeats)
        arrays["passes.seconds"] = np.array([getattr(timed, kind) for kind in PASSES]) / len(rows)
    return arrays


def _effective(backbone: Backbone, data: Data, images: int, batch: int) -> Arrays:
    """Effective fields [k, H, W] of layers spread over the depth, and their widths [k]."""
    maps = map_layers(backbone.network, backbone.input_shape)
    if images < 1 or not maps:
        return {}
    last = {shape[1:]: name for name, shape in maps}  # the last layer of each size of map
    names = list(dict.fromkeys(last.values()))[-PICTURES:]
    rows = [np.arange(len(data))[:images]]
    parts = [part for one in rows for part in np.array_split(one, -(-len(one) // min(batch, 16)))]
    fields = []
    for name in names:
        batches = [_images(backbone, data, part) for part in parts]
        fields.append(effective_field(backbone.network, name, batches))
    return {
        "effective": np.array(fields, np.float16),
        "effective_layers": np.array([name.removeprefix(_wrapped(backbone)) for name in names]),
        "effective_width": np.array([effective_width(one) for one in fields]),
    }


def _checked(backbone: Backbone, found: Anatomy, check: int) -> tuple[list[Finding], list[str]]:
    """Recursion against gradient, layer by layer; or why that was not looked at."""
    if check < 1:
        return [], []
    if found.multiply_adds is None:
        return [], [
            "Receptive fields were not measured by gradient: the work of this network is not "
            "known, and that is done up to a limit of work alone."
        ]
    if found.multiply_adds >= LARGEST:
        return [], [
            "Receptive fields were not measured by gradient: that is done up to "
            f"{LARGEST / 1e9:g} billion multiply-adds a forward pass."
        ]
    try:
        measured = measured_fields(backbone.network, backbone.input_shape, check)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return [], [
            "Receptive fields were not measured by gradient: this network does not run in the "
            f"copy whose weights are all positive ({type(error).__name__})."
        ]
    if not measured:
        return [], [
            "Receptive fields were not measured by gradient: no module whose fields are known "
            "gives a map of rows and columns."
        ]
    wrong = [one for one in measured if not one.agrees]
    paths = tuple(one.path.removeprefix(_wrapped(backbone)) for one in wrong)
    level, text = _judged(paths, _moving(found))
    return [Finding("receptive field", level, text, paths, len(wrong), len(measured))], []


def _wrapped(backbone: Backbone) -> str:
    """What the lab's own normalisation puts in front of the network's names."""
    return "" if backbone.network is backbone.module else "module."


def _moving(found: Anatomy) -> set[str]:
    """Layers whose field moves with the image: those that pick by its values, and all after; and
    the modules that these stand in.
    """
    picks = found.layers["note"].astype(str).str.contains(PICKED, regex=False)
    names = [str(name).partition(":")[0] for name in found.layers["layer"][picks.cummax()]]
    parts = [name.split(".") for name in names]
    return {".".join(one[:depth]) for one in parts for depth in range(1, len(one) + 1)}


def _judged(wrong: Sequence[str], moving: set[str]) -> tuple[Any, str]:
    if not wrong:
        return "green", (
            "Receptive fields equal those measured by gradient in {of} of {of} layers."
        )
    if moving.issuperset(wrong):
        return "amber", (
            "Receptive fields differ from those measured by gradient in {count} of {of} layers: "
            "they come at or after a layer that chooses its grid by the values (polyphase), and "
            "their field moves with the image."
        )
    return "red", (
        "Receptive fields differ from those measured by gradient in {count} of {of} layers: do "
        "not use this table's receptive fields."
    )
