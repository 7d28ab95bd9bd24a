"""A network's answers to several versions of each image, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import exact_kernels, load_pixels
from robustlab.adversarial.losses import correct
from robustlab.adversarial.verification import Judge
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.invariance.changes.background import background

__all__ = ["Answers", "Versions", "answers", "backgrounds", "check_request", "strip"]

# (images [k, C, H, W] in [0, 1], their ids) -> the versions of them, one after the other.
Versions = Callable[[Tensor, Sequence[str]], Iterable[Tensor]]


@dataclass(frozen=True)
class Answers:
    """What a network says of m versions of n images, each array [n, m].

    Attributes:
        prediction: int16, the class with the largest logit.
        correct: bool, whether it is the true one; a tie is not.
        p_true: float32, the probability of the true class.
    """

    prediction: NDArray[np.int16]
    correct: NDArray[np.bool_]
    p_true: NDArray[np.float32]

    @property
    def parts(self) -> tuple[NDArray[Any], ...]:
        """The three arrays."""
        return self.prediction, self.correct, self.p_true

    def arrays(self, name: str = "") -> dict[str, NDArray[Any]]:
        """As arrays of an outcome: ``correct``, or ``correct[name]``."""
        end = f"[{name}]" if name else ""
        return {
            f"prediction{end}": self.prediction,
            f"correct{end}": self.correct,
            f"p_true{end}": self.p_true,
        }


def answers(backbone: Backbone, data: Data, versions: Versions, batch: int) -> Answers:
    """Answers to every version of every image; only one version of one batch is held at a time."""
    judge, parts = Judge(backbone.network, backbone.dtype), []
    with exact_kernels(), torch.inference_mode():
        for first in range(0, len(data), batch):
            rows = range(first, min(first + batch, len(data)))
            x = load_pixels(data, np.array(rows), backbone)[0]
            y = torch.tensor(data.labels[rows.start : rows.stop])
            ids = data.ids[rows.start : rows.stop]
            parts.append([_answer(judge, one, y) for one in versions(x, ids)])
    columns = [[np.stack(one, axis=1) for one in zip(*part, strict=True)] for part in parts]
    return Answers(*(np.concatenate(blocks) for blocks in zip(*columns, strict=True)))


def _answer(judge: Judge, x: Tensor, y: Tensor) -> tuple[Any, Any, Any]:
    logits = judge.logits(x).double().cpu()
    p_true = logits.softmax(dim=1).gather(1, y[:, None]).squeeze(1)
    prediction = logits.argmax(dim=1).numpy().astype(np.int16)
    return prediction, correct(logits, y).numpy(), p_true.numpy().astype(np.float32)


def backgrounds(backbone: Backbone, data: Data, batch: int) -> NDArray[np.bool_]:
    """In which images the background can be told, bool [n]; see `background`."""
    firsts = range(0, len(data), batch)
    rows = (np.arange(i, min(i + batch, len(data))) for i in firsts)
    parts = [background(load_pixels(data, one, backbone)[0]).told.cpu().numpy() for one in rows]
    return np.concatenate(parts)


def check_request(backbone: Backbone, data: Data, batch: int) -> None:
    """Refuse images that are not the network's, a single class, and an empty batch."""
    backbone.accepts(data)
    if len(data.classes) < 2:
        raise BadRequest(
            f"{data.name} has one class, so every answer is right; give data of two or more"
        )
    if batch < 1:
        raise BadRequest(f"batch must be at least 1, not {batch}")


def strip(versions: Iterable[Tensor]) -> NDArray[np.uint8]:
    """Versions of one image [1, C, H, W] side by side as pixels: uint8 [H, m W] or [H, m W, 3]."""
    row = torch.cat([one[0] for one in versions], dim=2)
    pixels = (row.double() * 255).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
