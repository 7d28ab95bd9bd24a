"""Are the images normalised as the network was trained? Known statistics are tried in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.adversarial.belief.suspect import Suspect
from robustlab.adversarial.images import load_pixels
from robustlab.outcome import Finding

__all__ = ["KNOWN", "normalisation"]

Stats = tuple[tuple[float, ...], tuple[float, ...]]

# Name -> mean and std a channel, on the [0, 1] scale.
KNOWN: dict[str, Stats] = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "CIFAR-100's": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "CIFAR-10's in bytes": ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)),
    "SVHN's": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "CLIP's": ((0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)),
    "MNIST's": ((0.1307,), (0.3081,)),
    "Fashion-MNIST's": ((0.2860,), (0.3530,)),
    "[-1, 1]": ((0.5,), (0.5,)),
    "[0, 255]": ((0.0,), (1 / 255,)),
    "no": ((0.0,), (1.0,)),
}
_IMAGES = 256
_CLEARLY, _POINTS = 1e-3, 0.05  # exact McNemar's p, and what is gained


def normalisation(suspect: Suspect) -> Iterator[Finding]:
    """Another normalisation that is right on clearly more images than the one at hand."""
    rows = list(range(min(_IMAGES, len(suspect.whole))))
    x, _ = load_pixels(suspect.whole, rows, suspect.backbone)
    y = np.asarray(suspect.whole.labels)[rows]
    backbone = suspect.backbone
    present = _right(suspect.judge.logits(x), y)
    better: list[tuple[str, Stats, int]] = []
    for name, stats in KNOWN.items():
        if len(stats[0]) not in (1, x.shape[1]):
            continue
        mean, std = (torch.tensor(_spread(s, x.shape[1])).to(x).view(-1, 1, 1) for s in stats)
        with torch.no_grad():
            logits = backbone.module(((x - mean) / std).to(backbone.dtype))
        right = _right(logits, y)
        paired = statistics.mcnemar(right, present)
        if paired.p < _CLEARLY and right.mean() - present.mean() >= _POINTS:
            better.append((name, stats, int(right.sum())))
    if not better:
        yield Finding(
            "normalisation", "green", "No other known normalisation of the images does better."
        )
        return
    name, stats, most = max(better, key=lambda one: one[2])
    equal = [other for other, _, count in better if count == most and other != name]
    as_good = f" ({', '.join(equal)}: as good)" if equal else ""
    mean_text, std_text = (",".join(f"{v:g}" for v in _spread(s, x.shape[1])) for s in stats)
    option = "?mean=none" if name == "no" else f"?mean={mean_text}&std={std_text}"
    yield Finding(
        "normalisation",
        "red",
        f"with {name} normalisation{as_good} instead of the present one {{count}} of {{of}} images "
        f"are right, now {int(present.sum())}: it is given images as it was not trained on. Add "
        f"{option} to its reference.",
        (),
        most,
        len(rows),
    )


def _right(logits: torch.Tensor, y: NDArray[np.int64]) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = logits.argmax(dim=1).cpu().numpy() == y
    return right


def _spread(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) * channels if len(values) == 1 else tuple(values)
