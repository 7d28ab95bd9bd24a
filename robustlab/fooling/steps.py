"""A single step against many, over budgets: the lecture's gradient sign beside the iterated attack.

The single step goes the whole budget along the sign of one gradient (Goodfellow et al. 2015,
section 4): it soon leaves the label, and rarely reaches the target, for its gradient holds near the
clean picture alone. Both are told by the 8-bit picture, rounded towards the clean one, so a budget
below one grey level is the clean picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from robustlab.adversarial import Access, Threat, gradient_search, to_8bit
from robustlab.adversarial.images import exact_kernels, load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.fooled import Budgeted, Pixels
from robustlab.fooling.readings import Read, as_it_is, check_class, look, tell
from robustlab.registry import resolve

__all__ = [
    "LEVELS",
    "PICTURE",
    "as_data",
    "eps_of",
    "many_steps",
    "over_budgets",
    "single_step",
    "single_steps",
]

LEVELS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
PICTURE = "picture"  # the id of the one image, on which an attack's random numbers hang


def as_data(seen: Backbone, original: Pixels, label: int, picture: str = PICTURE) -> Data:
    """One picture [C, H, W] as data: searches that share seed, id and budget are the same search"""
    return Data(original[None], [label], classes=seen.classes, name=picture, ids=[picture])


def eps_of(level: float) -> str:
    """A budget in grey levels as attacks take it."""
    return f"{level:g}/255"


def single_step(
    seen: Backbone, original: Pixels, label: int, target: int | None, level: float
) -> Pixels:
    """The picture after one step of ``level`` grey levels along the sign of the gradient.

    The lab's `fgsm` (its loss, its threat, its step), but the step itself, always: as an attack
    `fgsm` keeps the clean image where the step leads away from the target.

    Args:
        seen: the network, from the whole picture to logits.
        original: uint8 [C, H, W].
        level: Linf budget in grey levels.

    Returns:
        uint8 [C, H, W], within the whole levels of the budget.
    """
    fgsm = resolve("fgsm").obj(eps=eps_of(level), target=target, early_exit=False)
    x, pixels = load_pixels(as_data(seen, original, label), [0], seen)
    y = torch.tensor([label], device=seen.device)
    goal = None if target is None else torch.tensor([target], device=seen.device)
    threat: Threat = fgsm.threat(fgsm.budgets(seen.input_shape)[0].value, goal)
    model = Access(seen.network, 1, dtype=seen.dtype)
    step: dict[str, Any] = {"steps": 1, "step_size": threat.eps, "loss": fgsm.objective}
    with exact_kernels():
        moved, _ = gradient_search(
            model, x, y, x, threat, keep_best=False, early_exit=False, **step
        )
    return np.asarray(to_8bit(moved.detach(), pixels, threat)[0].cpu().numpy())


def single_steps(
    seen: Backbone,
    original: Pixels,
    label: int,
    target: int | None = None,
    *,
    levels: Sequence[float] = LEVELS,
    backbone: Backbone | None = None,
    read: Read = as_it_is,
) -> Budgeted:
    """What the single step reaches at each budget; see `single_step` and `many_steps`."""

    def reached(level: float) -> Pixels:
        return single_step(seen, original, label, target, level)

    return over_budgets("fgsm", reached, original, label, target, levels, backbone or seen, read)


def many_steps(
    seen: Backbone,
    original: Pixels,
    label: int,
    target: int | None = None,
    *,
    attack: str = "pgd",
    params: Mapping[str, Any] | None = None,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    picture: str = PICTURE,
    fast: bool = True,
    backbone: Backbone | None = None,
    read: Read = as_it_is,
) -> Budgeted:
    """What an attack reaches at each Linf budget, searched afresh for the highest confidence.

    Args:
        seen: the network that is searched, from the whole picture to logits.
        original: uint8 [C, H, W]; label, target: indices of classes, None: untargeted.
        attack, params: a name of the catalogue and its own parameters.
        levels: budgets in grey levels, ascending.
        seed, picture: with the budget they decide all randomness; see `as_data`.
        fast: search on the fast copy of the network.
        backbone, read: who judges the 8-bit picture, and how it is read; ``seen`` itself if none.

    Raises:
        BadRequest: no such attack, parameter or class, or budgets that are not ascending.
    """
    settings = {"norm": "linf", "early_exit": False, "target": target, **(params or {})}
    data = as_data(seen, original, label, picture)

    def reached(level: float) -> Pixels:
        one = resolve(attack).obj(eps=eps_of(level), **settings)
        found = one(seen, data, seed=seed, batch=1, fast=fast)
        return np.asarray(found.images_8bit[0, 0])

    return over_budgets(attack, reached, original, label, target, levels, backbone or seen, read)


def over_budgets(
    name: str,
    reached: Callable[[float], Pixels],
    original: Pixels,
    label: int,
    target: int | None,
    levels: Sequence[float],
    backbone: Backbone,
    read: Read,
) -> Budgeted:
    """One attack's row: the pictures of the budgets, one at a time, told by ``backbone``.

    Args:
        reached: from a budget in grey levels, 1 or more, to the 8-bit picture of a search there.

    Raises:
        BadRequest: no such class, or levels that do not ascend.
    """
    check_class(backbone, label, target)
    if not levels or list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] <= 255:
        raise BadRequest(f"levels must ascend within 0 and 255, not {list(levels)}")
    shown = (read(reached(level) if level >= 1 else original) for level in levels)
    logits = look(backbone, shown)
    told = [tell(backbone.name, backbone.classes, row, label, target) for row in logits]
    return Budgeted(
        attack=name,
        eps=np.array(levels, dtype=np.float64),
        label=np.array([one.label for one in told]),
        target=np.array([one.target for one in told]),
        fooled=np.array([one.index != label for one in told]),
        at_target=np.array([one.index == target for one in told]),
        prediction=tuple(one.top[0][1] for one in told),
    )
