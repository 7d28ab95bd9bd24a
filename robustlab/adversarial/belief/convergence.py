"""Had the search come to rest? The loss over the last tenth of its steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustlab.adversarial.access import TRACED
from robustlab.adversarial.belief.case import Case
from robustlab.outcome import Finding
from robustlab.resting import in_logits, still_rising, too_many

__all__ = ["convergence"]


def convergence(case: Case) -> Iterator[Finding]:
    """The best loss so far, over the last tenth of the steps, of images that never left.

    An image still rises if its slope there is more than half of the curve's average slope. A fixed
    step size never comes quite to rest, so an attack is doubted if a quarter of the images rise,
    and more than two. Kept are the losses of the first search of each of the first 64 images, and
    of at most 128 steps: a longer search is not looked at, nor one for the smallest perturbation.
    """
    looked, fine = 0, True
    for number, who, stage in case.stages():
        if stage.minimum_norm:
            continue
        n = len(case.found.ids)
        whole, rising = np.zeros(n, bool), np.zeros(n, bool)
        steps = 0
        for index in range(len(case.budgets)):
            curves = case.found.losses.get((number, index))
            if curves is None:
                continue
            wide = int((~np.isnan(curves)).any(axis=0).sum())
            if not 3 <= wide < TRACED:
                continue
            stood = case.standing[index, : len(curves)] & ~np.isnan(curves[:, :wide]).any(axis=1)
            whole[: len(curves)] |= stood
            seen = curves[:, :wide].astype(np.float64)
            if getattr(stage, "loss", "ce") == "ce":
                seen = in_logits(seen)
            rising[: len(curves)] |= stood & still_rising(seen)
            steps = max(steps, wide)
        looked += int(whole.sum())
        count = int(rising.sum())
        if too_many(count, int(whole.sum())):
            fine = False
            yield Finding(
                "convergence",
                "amber",
                f"{who}the loss still rises over the last tenth of {steps} steps on {{count}} of "
                "{of} images left standing at any eps: the search was stopped too early. Use more "
                "steps, or longer ones where all of them together only just reach eps.",
                case.named(rising),
                count,
                int(whole.sum()),
            )
    if looked and fine:
        yield Finding(
            "convergence", "green", "Where images were left standing, the loss was at rest."
        )
