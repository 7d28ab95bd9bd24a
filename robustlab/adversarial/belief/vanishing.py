"""Gradients along the walk: zero, vanishing, not finite, or lost in the cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustlab.adversarial.access import VANISHED
from robustlab.adversarial.belief.case import Case, Rows
from robustlab.adversarial.belief.slopes import slopes
from robustlab.outcome import Finding

__all__ = ["vanishing"]

_IMAGES = 16
_STOOD = 0.5  # of an image's steps without a gradient: it hardly moved


def vanishing(case: Case) -> Iterator[Finding]:
    """Steps of the attack on images that stood at that eps; those that it broke need none.

    A gradient counts as vanished below 1e-30. Red: not finite on any image, or gone on half of the
    steps of half of the images; amber: gone at any step.
    """
    found = case.found
    stood = case.standing
    if case.attack.minimum_norm:  # one walk for all budgets
        stood = np.broadcast_to(found.attackable, stood.shape)
    stood = stood & (found.gradients > 0)
    of = int(stood.any(axis=0).sum())
    if not of:
        return
    broken = (stood & (found.broken_gradients > 0)).any(axis=0)
    some = stood & (found.zero_gradients > 0)
    still = (stood & (found.zero_gradients >= _STOOD * found.gradients)).any(axis=0)
    if broken.any():
        yield Finding(
            "vanishing",
            "red",
            "on {count} of {of} images left standing a step met a gradient that is no finite "
            "number: from there on it walks nowhere. Look for a division or a logarithm in the "
            "loss or the network.",
            case.named(broken),
            int(broken.sum()),
            of,
        )
    if some.any():
        gone = some.any(axis=0)
        yield Finding(
            "vanishing",
            "red" if still.sum() >= 0.5 * of else "amber",
            "on {count} of {of} images left standing the gradient was zero or vanishing at some "
            f"step: {_advice(case, some)}",
            case.named(gone),
            int(gone.sum()),
            of,
        )
    if not broken.any() and not some.any():
        yield Finding(
            "vanishing",
            "green",
            "Where images were left standing, no step met a gradient that is zero or not finite.",
        )


def _advice(case: Case, some: Rows) -> str:
    """What to do: another loss, where the margin's gradient is there and cross-entropy's is not."""
    if case.transfers:
        return (
            "the surrogate gives nothing to follow there. Use loss = 'margin' or another surrogate."
        )
    if any(getattr(stage, "loss", "ce") == "ce" for _, _, stage in case.stages()):
        index = int(np.argmax(some.sum(axis=1)))
        rows = np.flatnonzero(some[index])[:_IMAGES]
        _, _, y = case.images(rows)
        at, threat = case.candidates(index, rows), case.threat(index, rows)
        ce, margin = (
            slopes(case.backbone, at, y, loss, threat).flatten(1).abs().amax(dim=1) >= VANISHED
            for loss in ("ce", "margin")
        )
        if bool((margin & ~ce).any()):
            return (
                "cross-entropy is lost to rounding where the margin is not. Use loss = 'margin' "
                "or 'dlr'."
            )
    return (
        "what stands there is not robust for that. Run square beside it, or write a surrogate "
        "(Attack.surrogate)."
    )
