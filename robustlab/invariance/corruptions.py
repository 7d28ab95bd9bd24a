"""Common corruptions at five severities: noise, blur, weather, digital artefacts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest, choices
from robustlab.invariance.corrupted import CORRUPTIONS, SEVERITIES, corrupt
from robustlab.invariance.mce import ALEXNET
from robustlab.invariance.severity_answers import Answers, answers, check_request, strip
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.registry import probe

__all__ = ["corruptions"]


def refuse(backbone: Backbone, data: Data, *, kinds: Sequence[str], batch: int, **_: Any) -> None:
    """Corruptions that there are not, images that are not the network's."""
    _chosen(kinds)
    check_request(backbone, data, batch)


@probe("corruptions", version=1, check=refuse)
def corruptions(
    backbone: Backbone,
    data: Data,
    *,
    kinds: tuple[str, ...] = (),
    seed: int = 0,
    batch: int = 128,
) -> Outcome:
    """Errors under common corruptions after Hendrycks and Dietterich (2019), and their plain mean.

    Fourteen of their fifteen, at five severities each; frost needs photographs and is left out, so
    no mCE is given. Arrays ``prediction[kind]``, ``correct[kind]`` and ``p_true[kind]`` are [n, 5];
    column ``error[kind]`` is the share of the five severities at which an image is wrong.

    kinds: which corruptions; empty: all fourteen
    seed: with each image's id it decides what is drawn
    batch: images at a time
    """
    chosen = _chosen(kinds)
    check_request(backbone, data, batch)
    cells = [(kind, severity) for kind in chosen for severity in SEVERITIES]

    def versions(x: Tensor, ids: Sequence[str]) -> Iterator[Tensor]:
        yield x
        pixels = x.cpu().numpy()
        for kind, severity in cells:
            made = [corrupt(p, kind, severity, i, seed) for p, i in zip(pixels, ids, strict=True)]
            yield torch.tensor(np.stack(made)).to(x.device).to(x.dtype) / 255.0

    said = answers(backbone, data, versions, batch)
    five = len(SEVERITIES)
    by_kind = {
        kind: Answers(*(a[:, 1 + five * i : 1 + five * (i + 1)] for a in said.parts))
        for i, kind in enumerate(chosen)
    }
    samples = {
        "clean_correct": said.correct[:, 0],
        "worst_case_correct": said.correct.all(axis=1),
        "mean_error": 1 - said.correct[:, 1:].mean(axis=1),
        **{f"error[{kind}]": 1 - one.correct.mean(axis=1) for kind, one in by_kind.items()},
    }
    first = load_pixels(data, [0], backbone)[0]
    shown = list(versions(first, data.ids[:1]))
    return Outcome(
        samples,
        {key: array for kind, one in by_kind.items() for key, array in one.arrays(kind).items()},
        pictures=[
            Picture(kind, strip(shown[1 + five * i : 1 + five * (i + 1)]), data.ids[0])
            for i, kind in enumerate(chosen)
        ],
        metrics={
            "clean_accuracy": Metric("clean_correct"),
            "worst_case_accuracy": Metric("worst_case_correct"),
            "mean_error": Metric("mean_error", share=True),
            **{f"error[{kind}]": Metric(f"error[{kind}]", share=True) for kind in chosen},
        },
        notes=_notes(data, chosen),
        cost={"forward": float(len(data) * (1 + len(cells))), "backward": 0.0},
    )


def _chosen(kinds: Sequence[str]) -> tuple[str, ...]:
    """The corruptions asked for, in the order of the paper."""
    for kind in kinds:
        if kind == "frost":
            raise BadRequest(
                "frost needs photographs of frost, which the lab does not have; leave it out"
            )
        if kind not in CORRUPTIONS:
            raise BadRequest(f"unknown corruption {kind!r}{choices(kind, CORRUPTIONS)}")
        if list(kinds).count(kind) > 1:
            raise BadRequest(f"corruption {kind!r} is given twice; leave one out")
    return tuple(kind for kind in CORRUPTIONS if kind in kinds or not kinds)


def _missing(chosen: Sequence[str]) -> str:
    """Which of the fifteen were not measured, and why frost never is."""
    others = [kind for kind in ALEXNET if kind not in (*chosen, "frost")]
    frost = "frost is missing here, for it is made of photographs that the lab does not have"
    return frost + (f" (not asked for: {', '.join(others)})" if others else "")


def _notes(data: Data, chosen: Sequence[str]) -> tuple[str, ...]:
    side = min(data.shape[1:])
    scaled = (
        "Severities are those published for images of 224 pixels."
        if side == 224
        else f"Severities are those published for images of 224 pixels; lengths are multiplied by "
        f"{side}/224, but no flake of snow and no displacement by glass is smaller than a pixel. "
        "Defocus by less than half a pixel (32 pixels at severity 1) leaves the image as it is."
    )
    return (
        f"{len(chosen)} common corruptions after Hendrycks and Dietterich (2019), written anew: "
        "these are not the pictures of ImageNet-C.",
        scaled,
        "The error is the plain mean over corruptions and severities. No mCE is given, for three "
        "reasons: it divides by AlexNet's errors on fifteen corruptions together, and "
        f"{_missing(chosen)}; those errors are of the authors' own pictures, ImageNet-C, which "
        "these are not; and of its 1000 classes at 224 pixels. Who has all fifteen error rates on "
        "ImageNet-C gives them to robustlab.invariance.mean_corruption_error.",
        "Corrupted images are rounded to 8 bits; what is drawn is seeded by image, the same at all "
        "severities.",
    )
