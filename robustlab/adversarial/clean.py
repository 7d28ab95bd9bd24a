"""Clean accuracy, and whether the network's outputs are what every attack takes them for."""

from __future__ import annotations

import numpy as np
import torch

from robustlab.adversarial.belief import examine
from robustlab.adversarial.images import exact_kernels, load_pixels
from robustlab.adversarial.losses import correct
from robustlab.adversarial.verification import Judge
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.outcome import Metric, Outcome
from robustlab.registry import probe

__all__ = ["clean"]


@probe("clean", version=4, uses=("pgd", "fgsm", "square", "noise"))
def clean(backbone: Backbone, data: Data, *, batch: int = 128, sample: int = 16) -> Outcome:
    """Predictions and confidences on unattacked images, and reasons to distrust the network.

    batch: images at a time
    sample: images on which the network is examined; 0: none
    """
    judge = Judge(backbone.network, backbone.dtype)

    def logits_of(rows: object) -> torch.Tensor:
        return judge.logits(load_pixels(data, rows, backbone)[0]).double().cpu()

    with exact_kernels():
        firsts = range(0, len(data), batch)
        logits = torch.cat([logits_of(np.arange(i, min(i + batch, len(data)))) for i in firsts])
        findings = examine(backbone, data, sample)
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
        cost={"forward": float(len(data)), "backward": 0.0},
        findings=findings,
    )
