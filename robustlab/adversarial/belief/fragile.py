"""Verdicts on attacked images that turn with batch size or precision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustlab.adversarial.belief.case import Case, Rows
from robustlab.outcome import Finding

__all__ = ["fragile"]


def fragile(case: Case) -> Iterator[Finding]:
    """Images whose best candidate, at any eps, was judged otherwise alone or in float64."""
    turned: Rows = np.asarray(case.found.fragile.any(axis=0))
    if turned.any():
        yield Finding(
            "fragile",
            "amber",
            "the verdicts on {count} of {of} images flip with batch size or precision:",
            case.named(turned),
            int(turned.sum()),
            len(turned),
        )
        return
    yield Finding("fragile", "green", "No image's verdict flips with batch size or precision.")
