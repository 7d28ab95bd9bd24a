"""How accuracy falls as one thing about the images is changed more and more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from torch import Tensor

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.invariance.changes import Change, change_images, find_change
from robustlab.invariance.severity_answers import answers, backgrounds, check_request, strip
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.registry import probe

__all__ = ["severity"]


def refuse(
    backbone: Backbone, data: Data, *, change: str, levels: Sequence[float], batch: int, **_: Any
) -> None:
    """Levels that the change does not have, images that are not the network's."""
    find_change(change).settled(change, levels)
    check_request(backbone, data, batch)


@probe("severity", version=1, check=refuse)
def severity(
    backbone: Backbone,
    data: Data,
    *,
    change: Literal[
        "rotation",
        "scale",
        "contrast",
        "brightness",
        "lighting",
        "deformation",
        "occlusion",
        "clutter",
        "blur",
        "noise",
    ] = "rotation",
    levels: tuple[float, ...] = (),
    padding: Literal["zeros", "border", "reflect"] = "zeros",
    seed: int = 0,
    batch: int = 128,
) -> Outcome:
    """Accuracy at each severity of one change of the images, and the worst case over all of them.

    An image counts in the worst case only where it is right at every level. What is drawn for an
    image (a direction, a place, noise) is the same at all its levels, so that the levels are
    paired. Arrays ``prediction``, ``correct`` and ``p_true`` are [n, levels], the levels ascending,
    as the metrics ``accuracy[level=...]`` name them.

    change: what is changed
    levels: severities in the unit of the change, 0 always among them; empty: the usual ones
    padding: outside a turned, scaled or bent image: black (zeros), its border, or its mirror image
    seed: with each image's id it decides what is drawn
    batch: images at a time
    """
    found = find_change(change)
    settled = found.settled(change, levels)
    check_request(backbone, data, batch)

    def versions(x: Tensor, ids: Sequence[str]) -> Iterator[Tensor]:
        return (change_images(x, change, level, ids, seed, padding) for level in settled)

    said = answers(backbone, data, versions, batch)
    named = [f"{level:.10g}" for level in settled]
    samples = {
        "clean_correct": said.correct[:, settled.index(0.0)],
        "worst_case_correct": said.correct.all(axis=1),
        **{f"correct[level={n}]": said.correct[:, i] for i, n in enumerate(named)},
    }
    told: dict[str, Metric] = {}
    if change == "clutter":
        samples["background_told"] = backgrounds(backbone, data, batch)
        told = {"background_told": Metric("background_told")}
    first = load_pixels(data, [0], backbone)[0]
    picture = Picture("levels", strip(versions(first, data.ids[:1])), data.ids[0])
    return Outcome(
        samples,
        said.arrays(),
        pictures=[picture],
        metrics={
            "clean_accuracy": Metric("clean_correct"),
            "worst_case_accuracy": Metric("worst_case_correct"),
            **{f"accuracy[level={n}]": Metric(f"correct[level={n}]") for n in named},
            **told,
        },
        notes=_notes(change, found, padding, data),
        cost={"forward": float(len(data) * len(settled)), "backward": 0.0},
    )


_OUTSIDE = {
    "zeros": "black lies outside the image",
    "border": "the image's border is repeated outside",
    "reflect": "the image is mirrored outside",
}


def _notes(change: str, found: Change, padding: str, data: Data) -> tuple[str, ...]:
    """Unit, interpolation, fill, and what a reader must know to repeat the numbers."""
    notes = [f"{change.capitalize()} ({found.unit}): the image is {found.what}."]
    if found.fills:
        notes.append(f"Interpolation is bilinear; {_OUTSIDE[padding]}.")
    if "%" in found.unit:
        side = min(data.shape[1:])
        notes.append(f"The shorter side has {side} pixels: 1 % is {side / 100:g} pixels.")
    notes.append("Changed images are not rounded to 8 bits; what is drawn is seeded by image.")
    return tuple(notes)
