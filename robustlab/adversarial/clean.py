"""Clean accuracy, and whether the network's outputs are what every attack takes them for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from robustlab.adversarial.images import exact_kernels, load_pixels
from robustlab.adversarial.losses import correct
from robustlab.adversarial.verification import Judge
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.outcome import Metric, Outcome
from robustlab.registry import probe

__all__ = ["clean"]

_WITNESSES = 8  # images that are classified twice, and alone
_TOLERANCE = 1e-3  # of the largest logit; rounding moves logits by a millionth of it


@probe("clean", version=2)
def clean(backbone: Backbone, data: Data, *, batch: int = 128) -> Outcome:
    """Predictions and confidences on unattacked images; each note is a reason for distrust.

    batch: images at a time
    """
    judge = Judge(backbone.network, backbone.dtype)

    def logits_of(rows: object) -> Tensor:
        return judge.logits(load_pixels(data, rows, backbone)[0]).double().cpu()

    with exact_kernels():
        firsts = range(0, len(data), batch)
        logits = torch.cat([logits_of(np.arange(i, min(i + batch, len(data)))) for i in firsts])
        few = np.arange(min(_WITNESSES, len(data)))
        together, again = logits_of(few), logits_of(few)
        alone = torch.cat([logits_of(few[i : i + 1]) for i in few])
    labels = torch.tensor(data.labels)
    samples = {
        "id": np.array(data.ids),
        "label": data.labels,
        "prediction": logits.argmax(dim=1).numpy(),
        "confidence": logits.softmax(dim=1).amax(dim=1).numpy(),
        "clean_correct": correct(logits, labels).numpy(),
    }
    return Outcome(
        samples,
        metrics={"clean_accuracy": Metric("clean_correct")},
        notes=[*_of_outputs(logits), *_of_passes(together, again, alone)],
        cost={"forward": float(len(data)), "backward": 0.0},
    )


def _of_outputs(logits: Tensor) -> Iterator[str]:
    broken = int(logits.isnan().any(dim=1).sum())
    if broken:
        yield f"{broken} of {len(logits)} images give outputs that are no numbers; they are wrong."
    elif bool((logits >= 0).all()) and torch.allclose(
        logits.sum(dim=1), torch.ones(len(logits), dtype=logits.dtype), atol=1e-4
    ):
        yield (
            "The outputs look like probabilities instead of logits: non-negative, and they sum to "
            "one. Behind a softmax gradients vanish, and an attack may fail for that reason alone."
        )
    elif torch.allclose(
        logits.logsumexp(dim=1), torch.zeros(len(logits), dtype=logits.dtype), atol=1e-4
    ):
        yield "The outputs look like log-probabilities instead of logits."


def _of_passes(together: Tensor, again: Tensor, alone: Tensor) -> Iterator[str]:
    if not bool(together.isfinite().all()):
        return
    allowed = _TOLERANCE * float(together.abs().max().clamp_min(1e-12))
    if float((together - again).abs().max()) > allowed:
        yield (
            "Two passes over the same images give different outputs: the network is random, and "
            "every figure here is one draw. Attack its average instead."
        )
    elif float((together - alone).abs().max()) > allowed:
        yield (
            "An image alone gives other outputs than in a batch: what the others are decides its "
            "verdict, as with batch norm that uses the batch. No figure here holds for one image."
        )
