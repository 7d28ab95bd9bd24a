"""Do CNNs see as people do? Accuracy without shape, without texture, with coarse detail alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.invariance.changes.seen import high_pass, low_pass, patch_shuffle, silhouette
from robustlab.invariance.severity_answers import (
    Answers,
    answers,
    backgrounds,
    check_request,
    strip,
)
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.randomness import SampleRandom
from robustlab.registry import probe

__all__ = ["seeing"]


def refuse(
    backbone: Backbone, data: Data, *, seed: int, batch: int, **kinds: Sequence[Any]
) -> None:
    """Versions that there are not: each is made of the first image."""
    asked = _asked(**kinds)
    check_request(backbone, data, batch)
    first = load_pixels(data, [0], backbone)[0]
    for kind, values in asked.items():
        for value in values:
            _version(first, data.ids[:1], kind, value, seed)


@probe("seeing", version=1, check=refuse)
def seeing(
    backbone: Backbone,
    data: Data,
    *,
    grids: tuple[int, ...] = (2, 4, 8),
    low: tuple[float, ...] = (0.5, 0.25, 0.125, 0.0625),
    high: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5),
    silhouettes: tuple[str, ...] = ("flat", "reversed", "filled", "outline"),
    seed: int = 0,
    batch: int = 128,
) -> Outcome:
    """Accuracy on shuffled patches, on low and high spatial frequencies alone, and on silhouettes.

    Arrays ``prediction[kind]``, ``correct[kind]`` and ``p_true[kind]`` are [n, versions] for the
    kinds patch_shuffle, low_pass, high_pass and silhouette, in the order of the metrics
    ``accuracy[kind=...]``. Silhouettes are counted only of images whose background can be told.

    grids: patches a side
    low: cut-offs of low-pass images, shares of the Nyquist frequency
    high: cut-offs of high-pass images, shares of the Nyquist frequency
    silhouettes: kinds of silhouettes: flat, reversed, filled, outline
    seed: with each image's id it decides the order of the patches
    batch: images at a time
    """
    asked = _asked(grids, low, high, silhouettes)
    check_request(backbone, data, batch)

    def versions(x: Tensor, ids: Sequence[str]) -> Iterator[Tensor]:
        yield x
        for kind, values in asked.items():
            yield from (_version(x, ids, kind, value, seed) for value in values)

    said = answers(backbone, data, versions, batch)
    told = backgrounds(backbone, data, batch)
    samples: dict[str, NDArray[np.bool_]] = {
        "clean_correct": said.correct[:, 0],
        "background_told": told,
    }
    arrays: dict[str, Any] = {}
    metrics = {"clean_accuracy": Metric("clean_correct")}
    first = load_pixels(data, [0], backbone)[0]
    shown, pictures, place = list(versions(first, data.ids[:1])), [], 1
    for kind, values in asked.items():
        here = slice(place, place + len(values))
        part = Answers(*(array[:, here] for array in said.parts))
        arrays |= part.arrays(kind)
        among = "background_told" if kind == "silhouette" else None
        for i, value in enumerate(values):
            name = f"{kind}={value if isinstance(value, str) else format(value, '.10g')}"
            samples[f"correct[{name}]"] = part.correct[:, i]
            metrics[f"accuracy[{name}]"] = Metric(f"correct[{name}]", among=among)
        pictures.append(Picture(kind, strip(shown[here]), data.ids[0]))
        place += len(values)
    metrics["background_told"] = Metric("background_told")
    return Outcome(
        samples,
        arrays,
        pictures=pictures,
        metrics=metrics,
        notes=_NOTES,
        cost={"forward": float(len(data) * place), "backward": 0.0},
    )


_NOTES = (
    "No people were asked here: what people make of such images stands in the literature, or can "
    "be judged from the pictures.",
    "Patches of an image are put together in a seeded order, never the one they had; where the "
    "grid does not divide the size, the rim stays where it is.",
    "Cut-offs are sharp, in shares of the Nyquist frequency (half a cycle a pixel); images are "
    "taken as periodic. High-pass images lie on the mean of each channel; both are cut to [0, 1].",
    "Silhouettes are made and counted only where the background can be told: the border ring of "
    "the image has one colour. Filled ones have no holes, so that 0, 6, 8 and 9 lose theirs.",
)


def _version(
    x: Tensor, ids: Sequence[str], kind: str, value: int | float | str, seed: int
) -> Tensor:
    if isinstance(value, str):
        return silhouette(x, value)[0]
    if kind == "low_pass":
        return low_pass(x, float(value))
    if kind == "high_pass":
        return high_pass(x, float(value))
    return patch_shuffle(x, int(value), SampleRandom(seed, ids, "shuffle", int(value)))


def _asked(
    grids: Sequence[int], low: Sequence[float], high: Sequence[float], silhouettes: Sequence[str]
) -> dict[str, tuple[int | float | str, ...]]:
    """Kind of version -> its values; what is empty is left out, what stands twice refused."""
    kinds: dict[str, Sequence[int | float | str]] = {
        "patch_shuffle": grids,
        "low_pass": low,
        "high_pass": high,
        "silhouette": silhouettes,
    }
    asked = {kind: tuple(values) for kind, values in kinds.items() if values}
    if not asked:
        raise BadRequest("seeing has nothing to do: give grids, low, high or silhouettes")
    for kind, values in asked.items():
        for value in values:
            if list(values).count(value) > 1:
                raise BadRequest(f"{kind}: {value!r} is given twice; leave one out")
    return asked
