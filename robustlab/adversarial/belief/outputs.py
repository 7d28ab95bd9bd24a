"""Are the outputs logits? Attacks take them for that."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from robustlab.adversarial.belief.suspect import Suspect
from robustlab.outcome import Finding

__all__ = ["outputs"]


def outputs(suspect: Suspect) -> Iterator[Finding]:
    """Probabilities, log-probabilities, and outputs that are no numbers."""
    logits = suspect.logits
    broken = ~logits.isfinite().all(dim=1)
    rows = logits[~broken]
    if bool(broken.any()):
        yield Finding(
            "outputs",
            "red",
            "{count} of {of} images give outputs that are no finite numbers; they count as wrong.",
            suspect.named(broken),
            int(broken.sum()),
            len(logits),
        )
    if len(rows) and bool((rows >= 0).all()) and _all_near(rows.sum(dim=1), 1.0):
        yield Finding(
            "outputs",
            "red",
            "the outputs are probabilities instead of logits: none is negative, and they sum to "
            "one. Behind a softmax gradients vanish, and an attack may fail for that alone. Take "
            "the softmax off.",
        )
    elif len(rows) and rows.shape[1] > 1 and _all_near(rows.logsumexp(dim=1), 0.0):
        yield Finding(
            "outputs",
            "amber",
            "the outputs are log-probabilities instead of logits; losses that compare logits "
            "(margin, dlr) are safe, cross-entropy may underflow. Take the log-softmax off.",
        )
    elif not bool(broken.any()):
        yield Finding("outputs", "green", "Outputs look like logits and are finite.")


def _all_near(values: torch.Tensor, wanted: float) -> bool:
    return bool(((values - wanted).abs() < 1e-4).all())
