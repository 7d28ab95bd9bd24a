"""Does the network answer at random?"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from robustlab.adversarial.belief.suspect import Suspect
from robustlab.outcome import Finding

__all__ = ["randomness"]

_PASSES = 5


def randomness(suspect: Suspect) -> Iterator[Finding]:
    """Several passes over the same images in the same batch."""
    passes = torch.stack([suspect.judge.logits(suspect.x).double() for _ in range(_PASSES)])
    passes = passes.nan_to_num(0.0)
    apart = (passes - passes[0]).abs().amax(dim=(0, 2)) > suspect.tolerance
    if not bool(apart.any()):
        yield Finding("randomness", "green", "The same images get the same outputs every time.")
        return
    predictions = passes.argmax(dim=2)
    turned = (predictions != predictions[0]).any(dim=0)
    yield Finding(
        "randomness",
        "red",
        f"the network answers at random: in {_PASSES} passes {{count}} of {{of}} images change "
        "their prediction. Attack its average: add eot = 20 to every attack.",
        suspect.named(turned),
        int(turned.sum()),
        len(suspect.x),
    )
