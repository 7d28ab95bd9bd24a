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
from robustlab.data.imagenet import class_names
from robustlab.errors import BadRequest, choices
from robustlab.invariance.corrupted import (
    CORRUPTIONS,
    FIFTEEN,
    SEVERITIES,
    Pictures,
    corrupt,
    read_frost,
)
from robustlab.invariance.mce import ALEXNET, weighed
from robustlab.invariance.severity_answers import Answers, answers, check_request, strip
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.registry import probe

__all__ = ["comparable", "corruptions"]

_IMAGENET = 1000


def refuse(
    backbone: Backbone, data: Data, *, kinds: Sequence[str], batch: int, frost: str, **_: Any
) -> None:
    """Corruptions that there are not, frost that cannot be read, images not the network's."""
    _chosen(kinds, frost)
    check_request(backbone, data, batch)
    _frosts(data, frost)


@probe("corruptions", version=2, check=refuse, folders=("frost",))
def corruptions(
    backbone: Backbone,
    data: Data,
    *,
    kinds: tuple[str, ...] = (),
    frost: str = "",
    seed: int = 0,
    batch: int = 128,
) -> Outcome:
    """Errors under common corruptions after Hendrycks and Dietterich (2019), and their plain mean.

    Fourteen of their fifteen, at five severities each, and frost where photographs of it are given.
    Of all fifteen on ImageNet's 1,000 classes at 224 pixels there is an mCE, elsewhere the plain
    mean. Arrays ``prediction[kind]``, ``correct[kind]`` and ``p_true[kind]`` are [n, 5]; column
    ``error[kind]`` is the share of the five severities at which an image is wrong.

    kinds: which corruptions; empty: all that can be made
    frost: folder of photographs of frost, of one's own, at most 16; empty: no frost
    seed: with each image's id it decides what is drawn
    batch: images at a time
    """
    chosen = _chosen(kinds, frost)
    check_request(backbone, data, batch)
    frosts = _frosts(data, frost)
    cells = [(kind, severity) for kind in chosen for severity in SEVERITIES]

    def versions(x: Tensor, ids: Sequence[str]) -> Iterator[Tensor]:
        yield x
        pixels = x.cpu().numpy()
        for kind, severity in cells:
            made = [
                corrupt(p, kind, severity, i, seed, frosts)
                for p, i in zip(pixels, ids, strict=True)
            ]
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
    metrics = {
        "clean_accuracy": Metric("clean_correct"),
        "worst_case_accuracy": Metric("worst_case_correct"),
        "mean_error": Metric("mean_error", share=True),
        **{f"error[{kind}]": Metric(f"error[{kind}]", share=True) for kind in chosen},
    }
    if comparable(data, chosen):
        samples["mce"] = weighed({kind: samples[f"error[{kind}]"] for kind in chosen})
        metrics["mce"] = Metric("mce")
    first = load_pixels(data, [0], backbone)[0]
    shown = list(versions(first, data.ids[:1]))
    return Outcome(
        samples,
        {key: array for kind, one in by_kind.items() for key, array in one.arrays(kind).items()},
        pictures=[
            Picture(kind, strip(shown[1 + five * i : 1 + five * (i + 1)]), data.ids[0])
            for i, kind in enumerate(chosen)
        ],
        metrics=metrics,
        notes=_notes(data, chosen),
        cost={"forward": float(len(data) * (1 + len(cells))), "backward": 0.0},
    )


def _chosen(kinds: Sequence[str], frost: str) -> tuple[str, ...]:
    """The corruptions asked for, in the order of the paper."""
    possible = FIFTEEN if frost else tuple(CORRUPTIONS)
    for kind in kinds:
        if kind == "frost" and not frost:
            raise BadRequest(
                "frost needs photographs of frost, which the lab does not have; give a folder of "
                "your own, frost = './frost', or leave it out"
            )
        if kind not in possible:
            raise BadRequest(f"unknown corruption {kind!r}{choices(kind, possible)}")
        if list(kinds).count(kind) > 1:
            raise BadRequest(f"corruption {kind!r} is given twice; leave one out")
    if frost and kinds and "frost" not in kinds:
        raise BadRequest("photographs of frost are given, and 'frost' is not among the kinds")
    return tuple(kind for kind in possible if kind in kinds or not kinds)


def _frosts(data: Data, frost: str) -> Pictures:
    return read_frost(frost, (data.shape[1], data.shape[2])) if frost else ()


def comparable(data: Data, kinds: Sequence[str]) -> bool:
    """Whether AlexNet's errors are of the same task: the fifteen, 1,000 classes, 224 pixels."""
    alike = len(data.classes) == _IMAGENET and data.shape[1:] == (224, 224)
    return alike and set(kinds) == set(ALEXNET) and data.classes == class_names()


def _missing(data: Data, chosen: Sequence[str]) -> str:
    """Why AlexNet's errors are no measure here."""
    why = []
    if "frost" not in chosen:
        why.append(
            "frost is missing here, for it is made of photographs that the lab does not have "
            "(frost = './frost' takes your own)"
        )
    others = [kind for kind in ALEXNET if kind not in (*chosen, "frost")]
    if others:
        why.append(f"not asked for: {', '.join(others)}")
    if len(data.classes) != _IMAGENET or data.classes != class_names():
        why.append(f"{data.name} has other classes than the 1,000 of ImageNet")
    if data.shape[1:] != (224, 224):
        why.append(f"the images have {data.shape[1]}x{data.shape[2]} pixels, not 224x224")
    return "; ".join(why)


def _told(data: Data, chosen: Sequence[str]) -> str:
    """What is given: the mCE with its reservation, or the plain mean and why."""
    if comparable(data, chosen):
        return (
            "The mCE is the mean over the fifteen corruptions of the error divided by AlexNet's "
            "on ImageNet-C, as published (section 4.1). The divisors are of the authors' own "
            "pictures and these are made anew, with other photographs of frost: compare networks "
            "of this run by it, and published figures with care."
        )
    return (
        "The error is the plain mean over corruptions and severities. No mCE is given: it divides "
        "by AlexNet's errors on all fifteen corruptions of ImageNet-C, its 1,000 classes at 224 "
        f"pixels, and {_missing(data, chosen)}. Who has all fifteen error rates on ImageNet-C "
        "gives them to robustlab.invariance.mean_corruption_error."
    )


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
        _told(data, chosen),
        "Corrupted images are rounded to 8 bits; what is drawn is seeded by image, the same at all "
        "severities.",
    )
