"""Can the gradient be followed? At the clean images, for cross-entropy and for the margin."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from robustlab.adversarial.access import VANISHED
from robustlab.adversarial.belief.slopes import slopes
from robustlab.adversarial.belief.suspect import Suspect
from robustlab.adversarial.losses import correct
from robustlab.errors import BadRequest
from robustlab.outcome import Finding, Level

__all__ = ["gradients"]


def gradients(suspect: Suspect) -> Iterator[Finding]:
    """Zero, vanishing and non-finite gradients on the images that are right unattacked."""
    kept = correct(suspect.logits, suspect.y)
    if not bool(kept.any()):
        return
    x, y = suspect.x[kept], suspect.y[kept]
    ids = suspect.named(kept)
    try:
        found = {name: _slopes(suspect, x, y, name) for name in ("ce", "margin")}
    except BadRequest:
        yield Finding(
            "gradients",
            "red",
            "no gradient leads from the logits to the image, so attacks with gradients cannot "
            "run; attack it with square, or write a surrogate (Attack.surrogate).",
        )
        return
    broken = ~(found["ce"].isfinite() & found["margin"].isfinite())
    gone = {name: slope.nan_to_num(1.0) < VANISHED for name, slope in found.items()}
    underflow = gone["ce"] & ~gone["margin"]
    nowhere = gone["ce"] & gone["margin"]
    fine = True
    judged: list[tuple[Tensor, Level, str]] = [
        (broken, "red", "{count} of {of} images have gradients that are no finite numbers."),
        (
            nowhere,
            "red" if 2 * int(nowhere.sum()) >= len(x) else "amber",
            "{count} of {of} images have no gradient, neither of cross-entropy nor of the margin: "
            "attacks with gradients stand still there, and what they leave standing is not "
            "robust. Run square beside them, or write a surrogate (Attack.surrogate).",
        ),
        (
            underflow,
            "red" if 2 * int(underflow.sum()) >= len(x) else "amber",
            "on {count} of {of} images the gradient of cross-entropy is lost to rounding, that of "
            "the margin is not: the logits are too large for a softmax. Use loss = 'margin' or "
            "'dlr'.",
        ),
    ]
    for rows, level, text in judged:
        if bool(rows.any()):
            fine = False
            names = tuple(n for n, hit in zip(ids, rows.tolist(), strict=True) if hit)
            yield Finding("gradients", level, text, names, int(rows.sum()), len(x))
    if fine:
        yield Finding("gradients", "green", "Gradients at the clean images are finite, not zero.")


def _slopes(suspect: Suspect, x: Tensor, y: Tensor, loss: str) -> Tensor:
    """Largest absolute entry of each image's gradient on the original network, [n]."""
    return slopes(suspect.backbone, x, y, loss).flatten(1).abs().amax(dim=1)
