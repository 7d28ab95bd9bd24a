"""Is the target of a targeted attack another class than the label?"""

from __future__ import annotations

from collections.abc import Iterator

from robustlab.adversarial.belief.case import Case
from robustlab.outcome import Finding

__all__ = ["targets"]


def targets(case: Case) -> Iterator[Finding]:
    """Images that are right unattacked and whose target is their own label: nothing to reach.

    They are left out of target success. One class as everybody's target has some of them, and that
    is said in green; a rule that gives an image its own label is doubted, and if nothing is left
    there is no figure.
    """
    found = case.found
    if found.target is None:
        return
    own = found.clean_correct & (found.target == found.labels)
    count, of = int(own.sum()), int(found.clean_correct.sum())
    if not count:
        yield Finding("targets", "green", "No image has its own label as its target.")
        return
    names = case.named(own)
    if count == of:
        text = (
            "the target of all {of} images that are right is their own label, so there was nothing "
            "to reach. Take another target, or target = 'least-likely'."
        )
        yield Finding("targets", "red", text, names, count, of)
        return
    one_class = len(set(found.target.tolist())) == 1
    yield Finding(
        "targets",
        "green" if one_class else "amber",
        "{count} of {of} images have the target as their label and are left out of its success.",
        names,
        count,
        of,
    )
