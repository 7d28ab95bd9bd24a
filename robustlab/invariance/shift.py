"""The probe `shift`: what small translations of an image do to a network's answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.invariance import shift_measures as measures
from robustlab.invariance.shift_lines import line_maps
from robustlab.invariance.shift_maps import Mapper, Maps
from robustlab.invariance.shifts import check_radius, check_room, ground, tell_mode
from robustlab.outcome import Finding, Metric, Outcome
from robustlab.registry import probe

__all__ = ["shift"]

Array = NDArray[Any]

_PICTURE_BYTES = 1 << 20  # pictures of one cell, at most


def _circle(mapper: Mapper, backbone: Backbone) -> None:
    if mapper.period:
        return
    height, width = backbone.input_shape[1:]
    raise BadRequest(
        f"{backbone.name}: circular shifts are meaningless here, for the network makes no circle "
        f"of its image: at no multiple of its stride ({mapper.stride}) below {height}x{width} "
        "pixels are its logits those of the unshifted image. That takes circular padding in every "
        "layer, a global head, and sizes that the strides divide "
        "(swap_pooling(..., padding='circular') gives the first). Use mode 'zero', 'canvas' or "
        "'reflect', or say seams = true to measure it with the seam in the picture"
    )


def _check(
    backbone: Backbone,
    data: Data,
    radius: int,
    mode: str,
    draws: int,
    subpixel: int,
    axis: str,
    pictures: int,
    batch: int,
) -> None:
    size = backbone.input_shape[1:]
    check_radius(size, radius, mode)
    measures.check_axis(axis)
    least = {"draws": (draws, 1), "subpixel": (subpixel, 1), "batch": (batch, 1)}
    for name, (value, low) in (least | {"pictures": (pictures, 0)}).items():
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise BadRequest(f"{name} {value!r} is no whole number from {low}")
    if len(backbone.classes) < 2:
        raise BadRequest(
            f"{backbone.name} and {data.name} know one class: every answer is that class, and "
            "nothing can change; give a network and data of at least two"
        )
    if mode != "crop":
        backbone.accepts(data)
        return
    if data.shape[0] != backbone.input_shape[0]:
        backbone._check_shape(data.shape, f"those of {data.name}")
    check_room((data.shape[1], data.shape[2]), (size[0], size[1]), radius)


def refuse(backbone: Backbone, data: Data, *, seams: bool, seed: int, **params: Any) -> None:
    """What cannot be measured: a shift larger than the canvas leaves, a circle that is none.

    Raises:
        BadRequest: with the nearest thing that can.
    """
    _check(backbone, data, **params)
    radius, mode, batch = params["radius"], params["mode"], params["batch"]
    if mode == "canvas":
        for first in range(0, len(data), batch):
            rows = np.arange(first, min(first + batch, len(data)))
            ground(load_pixels(data, rows, backbone)[0], radius, mode, start=first)
    if mode == "circular" and not seams:
        _circle(Mapper(backbone, radius, mode, batch=batch), backbone)


@probe("shift", version=2, check=refuse)
def shift(
    backbone: Backbone,
    data: Data,
    *,
    radius: int = 8,
    mode: str = "zero",
    draws: int = 10,
    subpixel: int = 1,
    axis: str = "diagonal",
    seams: bool = False,
    pictures: int = 3,
    seed: int = 0,
    batch: int = 128,
) -> Outcome:
    """The network's answer at every shift of an image by up to some pixels: accuracy, flips, worst.

    radius: pixels; all (2 radius + 1)^2 shifts are computed
    mode: what comes in from outside: crop, canvas, zero, circular or reflect
    draws: shifts drawn for each image for the worst of k, beside the unshifted image
    subpixel: parts of a pixel a step along the axis; 1: whole pixels only
    axis: x, y or diagonal, of the sub-pixel line
    seams: circular shifts also of a network whose padding makes no circle, whose seam then counts
    pictures: images kept for the page beside the first: those whose answer changes most
    seed: of the drawn shifts
    batch: shifted images at a time
    """
    _check(backbone, data, radius, mode, draws, subpixel, axis, pictures, batch)
    mapper = Mapper(backbone, radius, mode, batch=batch)
    if mode == "circular" and not seams:
        _circle(mapper, backbone)
    maps = mapper(data)
    samples, metrics = _columns(data, maps, radius, draws, seed)
    samples |= {
        "period": np.full(len(data), mapper.period),
        "stride": np.full(len(data), mapper.stride),
    }
    arrays = {
        "prediction": maps.prediction,
        "probability": maps.probability,
        "loss": maps.loss,
        "dp": maps.dp,
        "logits": maps.logits,
        "logit_change": maps.logit_change,
    }
    if maps.embedding is not None and maps.embedding_change is not None:
        arrays["embedding"] = maps.embedding
        arrays["embedding_change"] = maps.embedding_change
    passes = maps.passes
    if subpixel > 1:
        line = line_maps(backbone, data, radius, mode, axis, subpixel, batch)
        passes += line.passes
        arrays |= {"line_prediction": line.prediction, "line_probability": line.probability}
        samples |= {"subpixel_change": line.changed, "subpixel_dp": line.dp}
        metrics |= {n: Metric(n, share=True) for n in ("subpixel_change", "subpixel_dp")}
    arrays |= _pictures(backbone, data, maps, radius, mode, pictures)
    return Outcome(
        samples,
        arrays,
        metrics=metrics,
        notes=_notes(backbone, data, mapper, maps, radius, mode, draws, subpixel, axis),
        cost={"forward": float(passes), "backward": 0.0},
        findings=_findings(mapper, mode, len(data)),
    )


def _columns(
    data: Data, maps: Maps, radius: int, draws: int, seed: int
) -> tuple[dict[str, Any], dict[str, Metric]]:
    """Columns [n] and the numbers of the summary, at each of several radii."""
    labels, middle = data.labels, radius
    still = maps.prediction[:, middle, middle]
    losing = measures.losing_shift(maps.prediction, maps.loss, labels)
    rows, place = np.arange(len(data)), losing + radius
    samples: dict[str, Any] = {
        "clean_correct": still == labels,
        "clean_prediction": still.astype(np.int64),
        "losing_dy": losing[:, 0],
        "losing_dx": losing[:, 1],
        "losing_prediction": maps.prediction[rows, place[:, 0], place[:, 1]].astype(np.int64),
        "losing_loss": maps.loss[rows, place[:, 0], place[:, 1]],
        "checked": maps.checked,
        "computed_anew": maps.anew,
        "redecided": maps.redecided,
    }
    metrics = {"clean_accuracy": Metric("clean_correct")}
    for within in reversed(measures.radii_within(radius)):
        found = _within(data, maps, within, draws, seed)
        samples |= {f"{name}[radius={within}]": column for name, column in found.items()}
        for name in found:
            share = name not in ("logit_change", "embedding_change")
            metrics[f"{name}[radius={within}]"] = Metric(f"{name}[radius={within}]", share=share)
        stays = f"reference_consistency[radius={within}]"
        metrics[f"consistency_of_correct[radius={within}]"] = Metric(
            stays, "clean_correct", share=True
        )
    return samples, metrics


def _within(data: Data, maps: Maps, radius: int, draws: int, seed: int) -> dict[str, Array]:
    """The columns of one radius, each a function of the maps' middle."""
    prediction, labels = measures.centre(maps.prediction, radius), data.labels
    dp = measures.centre(maps.dp, radius)
    shifts = measures.draw_shifts(data.ids, draws, radius, seed)
    found: dict[str, Array] = {
        "mean_shift_accuracy": measures.share_right(prediction, labels),
        "worst_shift_accuracy": measures.right_everywhere(prediction, labels),
        "worst_of_k_accuracy": measures.right_at(prediction, labels, shifts),
        "pair_consistency": measures.pair_consistency(prediction),
        "reference_consistency": measures.reference_consistency(prediction),
    }
    for axis in measures.AXES:
        found[f"change_{axis}"] = measures.steps_changed(prediction, axis)
        found[f"dp_{axis}"] = measures.step_mean(dp, axis)
    # Absolute: an error is relative to the spread over all images, which a shard does not know.
    changes = {"logit_change": maps.logit_change, "embedding_change": maps.embedding_change}
    for name, values in changes.items():
        if values is not None:
            found[name] = measures.mean_elsewhere(measures.centre(values, radius))
    return found


def _pictures(
    backbone: Backbone, data: Data, maps: Maps, radius: int, mode: str, pictures: int
) -> dict[str, Array]:
    """The picture around some images, uint8, of which all their shifts are windows: the first image
    and those whose answer changes most.
    """
    order = np.argsort(measures.pair_consistency(maps.prediction), kind="stable")
    changing = [
        int(row) for row in order if (maps.prediction[row] != maps.prediction[row, 0, 0]).any()
    ]
    height, width = (side + 2 * radius for side in backbone.input_shape[1:])
    room = max(1, _PICTURE_BYTES // (backbone.input_shape[0] * height * width))
    rows = np.array(list(dict.fromkeys([0, *changing[:pictures]]))[:room])
    x = load_pixels(data, rows, backbone)[0]
    wide = ground(x, radius, mode, backbone.input_shape[1:])
    levels = (wide.double() * 255.0).round().clamp(0, 255).byte().cpu().numpy()
    return {"picture_row": rows, "clean": levels}


def _notes(
    backbone: Backbone,
    data: Data,
    mapper: Mapper,
    maps: Maps,
    radius: int,
    mode: str,
    draws: int,
    subpixel: int,
    axis: str,
) -> list[str]:
    size = backbone.input_shape[1:]
    notes = [
        f"Boundary mode {mode}, radius {radius}: all {(2 * radius + 1) ** 2} shifts by whole "
        f"pixels; {tell_mode(mode, size, radius, data.shape[1:])}. Shifts come before the "
        "network's own normalisation.",
        f"The worst of k takes {draws} shifts drawn for each image, and the unshifted image.",
        "Logit and embedding errors are ||f(T_s x) - f(x)|| / ||f(x) - mean of f over the "
        "images||, as those of the probe equivariance; changes are the numerators alone. Pair "
        "consistency counts every pair of different shifts.",
    ]
    if maps.embedding is None:
        notes.append("The logits come out of no linear layer, so there is no embedding error.")
    else:
        notes.append("The embedding is the input of the last linear layer.")
    if mapper.period:
        notes.append(
            f"The network's logits repeat every {mapper.period} pixels of circular shift: found "
            "by asking it, and checked with the original network at one more shift of each image. "
            "Where a shift is a roll of the image to the last bit, one period was computed; the "
            "errors at whole periods are therefore 0 exactly."
        )
    if subpixel > 1:
        how = "band-limited (Fourier, not clipped)" if mode == "circular" else "bilinear"
        notes.append(f"Sub-pixel shifts along {axis}, {subpixel} steps a pixel: {how}.")
    return notes


def _findings(mapper: Mapper, mode: str, n: int) -> list[Finding]:
    if mode != "circular" or mapper.period:
        return []
    text = (
        "circular shifts of a network that makes no circle of its image (padding, head or sizes): "
        "the figures hold for a picture with a seam, not for the network's invariance "
        "({count} of {of} images)"
    )
    return [Finding("shift", "amber", text, count=n, of=n)]
