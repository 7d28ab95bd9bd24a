"""Where the panda turns into the vulture: a changed image followed from layer to layer.

Four questions a layer: how far is the changed image from the clean one, and would noise of the same
size be as far; how many units changed sides; does a linear read-out still tell the class; and how
many channels must be set back for the label to return.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from robustlab.adversarial.images import exact_kernels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters.trace_controls import CONTROLS
from robustlab.filters.trace_layers import traced_layers
from robustlab.filters.trace_pictures import pictured
from robustlab.filters.trace_readout import deal, pooled, read
from robustlab.filters.trace_search import METHODS
from robustlab.filters.trace_survey import Survey
from robustlab.filters.trace_twins import attacked, drawn, shifted
from robustlab.hooks import Layer, counted, feature_maps
from robustlab.outcome import Metric, Outcome
from robustlab.registry import probe

__all__ = ["depth_trace"]

Array = NDArray[Any]


@probe("depth_trace", scope="set", version=2, uses=("{attack}",))
def depth_trace(
    backbone: Backbone,
    data: Data,
    *,
    change: Literal["attack", "circular", "zero"] = "attack",
    attack: str = "pgd",
    norm: str = "linf",
    eps: str = "8/255",
    shift: tuple[int, ...] = (0, 1),
    images: int = 48,
    layers: int = 12,
    draws: int = 5,
    readout: int = 600,
    folds: int = 4,
    seed: int = 0,
    batch: int = 128,
) -> Outcome:
    """Where, layer by layer, a changed image leaves its class, and what brings the label back.

    change: attack, or a shift that is circular or lets black in (zero)
    attack: which attack makes the adversarial twin, by its name in the catalogue
    norm: norm of its budget
    eps: its budget, as "8/255"
    shift: (dy, dx) in whole pixels, down and right positive; where a shift is asked for
    images: at most so many images are changed and followed; 0: all
    layers: at most so many, evenly spread among those that no branch goes round; 0: all
    draws: random orders of channels that the order by change is held against
    readout: at most so many images teach and are read by the linear read-out; 0: no read-out
    folds: parts of the images that the read-out is taught and tested in turn
    seed: with each image's id it decides all draws
    batch: images at a time
    """
    _check(backbone, data, images, draws, readout, folds, batch)
    rows = drawn(data, images)
    with exact_kernels():
        if change == "attack":
            asked = {"attack": attack, "norm": norm, "eps": eps}
            twins = attacked(backbone, data, rows, **asked, seed=seed, batch=batch)
        else:
            twins = shifted(data, rows, shift, change)
        with counted(backbone.network) as passes:
            chosen, passed_over, beside = _layers(backbone, data, layers)
            survey = Survey(backbone, data, chosen, twins, draws, seed, batch)
            survey.run()
            arrays = {**survey.arrays(), **_pictured(survey)}
            said = _read_out(survey, readout, folds) if readout else None
    arrays |= said or _unread(survey)
    cost = {**twins.cost, "forward": twins.cost["forward"] + float(sum(passes))}
    samples = _samples(survey, arrays, said is not None)
    return Outcome(
        samples,
        arrays=arrays,
        metrics=_metrics(),
        notes=_notes(survey, passed_over, beside, readout > 0 and said is None),
        cost=cost,
    )


def _check(
    backbone: Backbone, data: Data, images: int, draws: int, readout: int, folds: int, batch: int
) -> None:
    backbone.accepts(data)
    least = {"images": 0, "draws": 0, "readout": 0, "folds": 2, "batch": 1}
    given = {"images": images, "draws": draws, "readout": readout, "folds": folds, "batch": batch}
    for name, value in given.items():
        if value < least[name]:
            raise BadRequest(f"{name}={value} of 'depth_trace' is below {least[name]}")


def _layers(backbone: Backbone, data: Data, limit: int) -> tuple[list[Layer], list[str], list[str]]:
    if limit < 0:
        raise BadRequest(f"layers={limit} of 'depth_trace' is below 0; 0 takes all")
    two = np.repeat(data.batch([0]), 2, axis=0)
    images = torch.tensor(two).to(backbone.device, backbone.dtype)
    found, passed_over, beside = traced_layers(backbone.network, images, limit)
    if not found:
        raise BadRequest(f"{backbone.name} has no layer that hooks can see")
    return found, passed_over, beside


def _pictured(survey: Survey) -> dict[str, Array]:
    """The first image that lost its label, in the order of the draw; the first measured else."""
    twins = survey.twins
    for asked in (survey.lost, survey.measured):
        places = [i for i, row in enumerate(twins.rows) if asked[row]]
        if places:
            break
    else:
        return {}
    at = places[:1]
    pair = (survey.tensor(twins.clean[at]), survey.tensor(twins.changed[at]))
    return {
        "maps_id": np.array(survey.data.ids[twins.rows[at[0]]]),
        "maps_row": np.array(twins.rows[at[0]]),
        "maps_image_clean": twins.clean[at[0]],
        "maps_image_changed": twins.changed[at[0]],
        **pictured(survey.backbone.network, *pair, list(survey.layers)),
    }


def _read_out(survey: Survey, most: int, folds: int) -> dict[str, Array] | None:
    """What a linear read-out of every layer says, [n, layers] int16 of clean and changed images."""
    data, network = survey.data, survey.backbone.network
    measured = np.flatnonzero(survey.measured).tolist()
    others = [row for row in drawn(data, 0) if not survey.measured[row]]
    rows = [*measured, *others[: max(0, most - len(measured))]]
    rows.sort(key=lambda row: data.ids[row])
    if not measured:
        return None
    vectors: list[list[Array]] = [[] for _ in survey.layers]
    # One layer's maps at a time would cost as many passes as layers; a few images at a time do.
    for first in range(0, len(rows), 16):
        images = survey.tensor(data.batch_8bit(rows[first : first + 16]))
        maps, _ = feature_maps(network, images, survey.layers)
        for kept, layer in zip(vectors, survey.layers, strict=True):
            kept.append(pooled(maps[layer.name]).cpu().numpy())
    fold = deal(data.batch_8bit(rows), folds, survey.seed)
    place = {row: i for i, row in enumerate(rows)}
    twin = 2 * [place[row] for row in measured]
    labels = data.labels[rows]
    found = _unread(survey)
    for i, kept in enumerate(vectors):
        both = [held[row][i] for held in (survey.vectors, survey.permuted) for row in measured]
        said = read(np.concatenate(kept), labels, fold, np.stack(both), twin)
        if said is None:
            return None
        found["readout_clean"][rows, i] = said[0]
        found["readout_changed"][measured, i], found["readout_permuted"][measured, i] = np.split(
            said[1], 2
        )
    return found


def _unread(survey: Survey) -> dict[str, Array]:
    shape = (len(survey.data), len(survey.layers))
    return {
        f"readout_{name}": np.full(shape, -1, np.int16) for name in ("clean", "changed", "permuted")
    }


def _samples(survey: Survey, arrays: dict[str, Array], read_out: bool) -> dict[str, Array]:
    """A row an image: the numbers at the logits, and the layer at which it has left its class."""
    chosen = np.zeros(len(survey.data), bool)
    chosen[survey.twins.rows] = True
    # An image that did not change has no amplification: 0 / 0 is NaN.
    with np.errstate(invalid="ignore"):
        far = survey.found["relative_distance"][:, -1] / survey.input[:, 0]
        others = survey.control["relative_distance"][..., -1] / survey.input[:, 1:]
    columns: dict[str, Array] = {
        "id": np.array(survey.data.ids),
        "label": survey.data.labels,
        "chosen": chosen,
        "right": survey.right,
        "measured": survey.measured,
        "lost": survey.lost,
        "logit_amplification": far.astype(np.float64),
    }
    for c, name in enumerate(CONTROLS):
        columns[f"{name}_logit_amplification"] = others[:, c].astype(np.float64)
    columns["left_at"] = np.full(len(survey.data), -1, np.int32)
    if read_out:
        own = arrays["readout_changed"] == survey.data.labels[:, None]
        last = np.where(own, np.arange(1, own.shape[1] + 1), 0).max(axis=1)
        columns["left_at"] = np.where(survey.measured, last, -1).astype(np.int32)
    return columns


def _metrics() -> dict[str, Metric]:
    names = ["logit_amplification", *(f"{name}_logit_amplification" for name in CONTROLS)]
    return {
        "lost": Metric("lost", among="right"),
        **{name: Metric(name, among="measured") for name in names},
    }


def _notes(
    survey: Survey, passed_over: Sequence[str], beside: Sequence[str], unread: bool
) -> list[str]:
    notes = [f"What was done to the images: {survey.twins.what}.", *survey.twins.notes]
    if not survey.measured.any():
        notes.append("No image could be followed: none that is right was fooled as 8-bit pixels.")
    elif unread:
        notes.append("Too few images or classes to teach a linear read-out of the layers.")
    used = survey.method[survey.lost]
    if (used > 0).any():
        told = [f"{int((used == k).sum())}: {x}" for k, x in METHODS.items() if (used == k).any()]
        notes.append(f"How the smallest counts of channels were found: {'; '.join(told)}.")
    if beside:
        notes.append(
            f"Branches go round {len(beside)} layers, which cannot bring the label back alone and "
            "are left out; layers=0 shows them."
        )
    if passed_over:
        over = ", ".join(passed_over)
        notes.append(f"Neither maps nor vectors, so passed over: {over}.")
    return notes
