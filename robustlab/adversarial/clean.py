"""Clean accuracy: what the network says of the images before anything is done to them."""

from __future__ import annotations

import numpy as np
import torch

from robustlab.adversarial.losses import fooled
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.outcome import Metric, Outcome
from robustlab.registry import probe

__all__ = ["clean"]

_PROBABILITIES = (
    "The outputs are non-negative and sum to one: probabilities, not logits. Gradients through a "
    "softmax vanish where the network is sure, so attacks look weaker than they are."
)
_LOG_PROBABILITIES = "The exponentials of the outputs sum to one: log-probabilities, not logits."


@probe("clean")
def clean(backbone: Backbone, data: Data, *, batch: int = 128) -> Outcome:
    """Predictions and confidences on unattacked images.

    batch: images at a time
    """
    logits = np.concatenate(
        [
            backbone(data.batch(np.arange(first, min(first + batch, len(data)))))
            .double()
            .cpu()
            .numpy()
            for first in range(0, len(data), batch)
        ]
    )
    tensor, labels = torch.tensor(logits), torch.tensor(data.labels)
    samples = {
        "id": np.array(data.ids),
        "label": data.labels,
        "prediction": logits.argmax(axis=1),
        "confidence": tensor.softmax(dim=1).amax(dim=1).numpy(),
        "clean_correct": ~fooled(tensor, labels).numpy(),
    }
    notes, arrays = [], {}
    if bool((logits >= 0).all()) and np.allclose(logits.sum(axis=1), 1, atol=1e-4):
        notes, arrays = [_PROBABILITIES], {"probabilities": np.array([True])}
    elif np.allclose(tensor.logsumexp(dim=1).numpy(), 0, atol=1e-4):
        notes = [_LOG_PROBABILITIES]
    return Outcome(
        samples,
        arrays,
        metrics={"clean_accuracy": Metric("clean_correct")},
        notes=notes,
        cost={"forward": float(len(data)), "backward": 0.0},
    )
