"""Did the attack do anything? Backward passes, images that moved, pixels at 0 and 1 that moved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from robustlab.adversarial.belief.case import Case
from robustlab.adversarial.belief.slopes import slopes
from robustlab.errors import BadRequest
from robustlab.outcome import Finding

__all__ = ["idle"]

_IMAGES = 64
_SLIGHT = 1e-3  # of an image's largest change: what inverting a tanh leaves of a pixel that stays
_EXPECTED = 10.0  # pixels that should have moved; fewer say nothing


def idle(case: Case) -> Iterator[Finding]:
    """A gradient attack without a backward pass, images given back as they came, frozen pixels."""
    did: list[str] = []
    fine = True
    for one in (_no_backward(case, did), _unmoved(case, did), _frozen(case, did)):
        if one is not None:
            fine = False
            yield one
    if fine and did:
        yield Finding("idle", "green", f"The attack {', '.join(dict.fromkeys(did))}.")


def _no_backward(case: Case, did: list[str]) -> Finding | None:
    """Stages that say they follow gradients and took none on the images that stand."""
    lazy = []
    for number, who, stage in case.stages():
        alone = case.attack.minimum_norm  # in an ensemble it gets what is left, as the others do
        asked = case.found.attackable if alone else case.standing.any(axis=0)
        if not asked.any() or not case.walks(stage):
            continue
        if case.found.stage_backward[number][asked].sum() > 0:
            did.append("took gradients")
        else:
            lazy.append(who)
    if not lazy:
        return None
    return Finding(
        "idle",
        "red",
        f"{''.join(lazy)}an attack with gradients that made no backward pass which the lab could "
        "count: it followed nothing. If it needs none, say knowledge = 'score' or 'decision'.",
    )


def _unmoved(case: Case, did: list[str]) -> Finding | None:
    """Nothing that came back at any eps above zero differed from the clean image."""
    some = np.array(case.budgets) > 0
    searched = case.found.searched[some].any(axis=0)
    if not searched.any():
        return None
    if case.found.moved[some].any():
        did.append("changed images")
        return None
    return Finding(
        "idle",
        "red",
        "all {of} images came back as they were: the attack changed nothing, and its figure is "
        "that of clean images. Let it return what it tried.",
        case.named(searched),
        int(searched.sum()),
        int(searched.sum()),
    )


def _frozen(case: Case, did: list[str]) -> Finding | None:
    """Pixels at exactly 0 or 1 that never move, where gradients as steep moved others.

    Of the pixels of an image whose slope is at least the median of those that moved, a share p
    moved; the steep pixels at 0 or 1 whose slope leads into the box should do so as often. None of
    them did, and p times their number was ten or more. Sparse attacks have a small p, and a network
    that does not look at its border has no slope there. The slopes are those of the network that is
    attacked: a search on others is not held to them.
    """
    if case.spatial:
        return None  # every pixel is another pixel's; none is held still
    index = int(np.argmax(case.budgets))
    rows = np.flatnonzero(case.found.attackable)[:_IMAGES]
    if not len(rows) or case.budgets[index] <= 0 or case.transfers:
        return None
    x, _, y = case.images(rows)
    change = (case.candidates(index, rows) - x).abs().flatten(1).double()
    moved = change > _SLIGHT * change.amax(dim=1, keepdim=True)
    flat = x.flatten(1)
    edge = (flat == 0) | (flat == 1)
    if not bool(edge.any()) or not bool((moved & ~edge).any()):
        return None
    if bool((moved & edge).any()):
        did.append("moved pixels at 0 and 1")
        return None
    kept = moved.any(dim=1)
    chosen = rows[kept.cpu().numpy()]
    try:
        slope = slopes(case.backbone, x[kept], y[kept], "margin", case.threat(index, chosen))
    except BadRequest:  # no gradient to tell which pixels should have moved
        return None
    expected = _expected(slope.flatten(1), flat[kept], moved[kept], edge[kept])
    if float(expected.sum()) < _EXPECTED:
        return None
    kept_rows = np.zeros(len(case.found.ids), bool)
    kept_rows[chosen] = True
    return Finding(
        "idle",
        "red",
        "no pixel that is exactly 0 or 1 moved on any of {of} images, where others on a slope as "
        "steep did: they are frozen, as where a tanh is inverted at its ends. Move the clean image "
        "a little off 0 and 1 before it is transformed.",
        case.named(kept_rows),
        int(kept.sum()),
        int(kept.sum()),
    )


def _expected(slope: Tensor, x: Tensor, moved: Tensor, edge: Tensor) -> Tensor:
    """How many pixels at 0 or 1 should have moved, an image."""
    size = slope.abs()
    steep = torch.stack(
        [s >= s[m].median() if bool(m.any()) else m for s, m in zip(size, moved, strict=True)]
    )
    steep &= size > 0
    inner = steep & ~edge
    share = (moved & inner).sum(dim=1) / inner.sum(dim=1).clamp_min(1)
    inward = edge & steep & torch.where(x == 0, slope > 0, slope < 0)
    expected: Tensor = share * inward.sum(dim=1)
    return expected
