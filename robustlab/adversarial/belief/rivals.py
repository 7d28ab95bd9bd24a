"""Does anything that should be weaker fool more? Raw independent runs on a few images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from robustlab.adversarial.belief.raw import LADDER, PGD, STEPS, too_many
from robustlab.adversarial.belief.suspect import Suspect
from robustlab.errors import BadRequest
from robustlab.outcome import Finding

__all__ = ["rivals"]

_QUERIES, _DRAWS = 100, 3
# Attack -> its parameters, its name in a sentence, and what it means if it wins.
_RIVALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "fgsm": (
        {"loss": "margin"},
        "a single step (FGSM)",
        "many small steps are led astray where a long one is not.",
    ),
    "square": (
        {"queries": _QUERIES},
        f"an attack that sees no gradient (Square, {_QUERIES} queries)",
        "gradients are masked; believe no attack with gradients alone.",
    ),
    "noise": (
        {"restarts": _DRAWS},
        f"noise of the same size ({_DRAWS} draws)",
        "gradients do not lead to mistakes that lie all around; believe no attack with them alone.",
    ),
}


def rivals(suspect: Suspect) -> Iterator[Finding]:
    """A short PGD against one step, a blind search and noise, each run afresh at the same eps.

    What only the rival fools, less what only PGD fools, at the eps of `LADDER` where that is most;
    Square is run where PGD leaves about half of the images. Amber above zero, red beyond
    max(2 images, 1 %).
    """
    n = len(suspect.y)
    try:
        white = {eps: suspect.fooled_by("pgd", eps, **PGD) for eps in LADDER}
    except BadRequest:
        return  # no gradient at all: another detector says so
    telling = min(LADDER, key=lambda eps: abs(float(white[eps].mean()) - 0.5))
    fine = True
    for name, (params, who, meaning) in _RIVALS.items():
        leads = {
            eps: _lead(suspect.fooled_by(name, eps, **params), white[eps])
            for eps in ((telling,) if name == "square" else LADDER)
        }
        eps = max(leads, key=lambda e: leads[e])
        if leads[eps] > 0:
            fine = False
            yield Finding(
                "rivals",
                too_many(leads[eps], n),
                f"at eps {eps} (Linf) {who} fools {{count}} of {{of}} images more than PGD of "
                f"{STEPS} steps: {meaning}",
                (),
                leads[eps],
                n,
            )
    if fine:
        yield Finding(
            "rivals",
            "green",
            f"On {{of}} images neither one step, nor {_QUERIES} queries of Square, nor noise fools "
            f"more than PGD of {STEPS} steps, each run afresh.",
            (),
            0,
            n,
        )


def _lead(rival: Any, white: Any) -> int:
    return int(np.sum(rival & ~white)) - int(np.sum(white & ~rival))
