"""Do verdicts turn with the batch's size or with the precision?"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch

from robustlab.adversarial.belief.suspect import Suspect
from robustlab.outcome import Finding

__all__ = ["precision"]


def precision(suspect: Suspect) -> Iterator[Finding]:
    """Clean predictions in a batch, alone, and in float64."""
    judge, x = suspect.judge, suspect.x
    batched = suspect.logits.argmax(dim=1)
    alone = torch.cat([judge.logits(x[i : i + 1]) for i in range(len(x))]).argmax(dim=1)
    turned = batched != alone
    try:
        exact = copy.deepcopy(suspect.backbone.network).double()
        with torch.no_grad():
            turned |= batched != exact(x.double()).argmax(dim=1)
    except Exception:  # a network with a fixed dtype inside has no float64 verdict to compare
        pass
    if bool(turned.any()):
        yield Finding(
            "precision",
            "amber",
            "{count} of {of} clean predictions turn with the batch's size or in float64.",
            suspect.named(turned),
            int(turned.sum()),
            len(x),
        )
        return
    yield Finding(
        "precision", "green", "Clean predictions are the same in a batch, alone and in float64."
    )
