"""Controls: perturbations of the same size, which should not do what the attack's does.

Sign noise moves every value by plus or minus the largest change of the attack (Goodfellow et al.
2015, section 4: noise of the same size). It is as large in Linf and in no norm smaller, but for
what is cut off. The permuted perturbation has the attack's own pixel changes at other places, so
that every norm stays. What would leave the levels 0 to 255 is cut off, and its share is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooled import Answer, Pixels, Reading
from robustlab.fooling.readings import BATCH, Read, check_class, look, tell
from robustlab.randomness import SampleRandom

__all__ = ["DRAWS", "KINDS", "answered", "clipped", "controls", "permuted", "sign_noise"]

DRAWS = 16

Changes = NDArray[np.int16]  # of values, in grey levels, [C, H, W]


def sign_noise(delta: Changes, rng: SampleRandom) -> Changes:
    """Every value up or down by the largest of ``delta``, a fair coin each."""
    signs = np.where(rng.uniform(delta.shape)[0] < 0.5, -1, 1)
    return (signs * int(np.abs(delta).max())).astype(np.int16)


def permuted(delta: Changes, rng: SampleRandom) -> Changes:
    """The pixels of ``delta`` in another order, all orders alike; channels stay together."""
    flat = delta.reshape(len(delta), -1)
    order = rng.uniform((flat.shape[1],))[0].argsort(kind="stable")
    return np.ascontiguousarray(flat[:, order].reshape(delta.shape))


KINDS: dict[str, Callable[[Changes, SampleRandom], Changes]] = {
    "sign noise of the same size": sign_noise,
    "the same perturbation, its pixels permuted": permuted,
}


def clipped(original: Pixels, delta: Changes) -> tuple[Pixels, int]:
    """The changed picture, and how many grey levels of change 0 and 255 cut off in sum."""
    wanted = original.astype(np.int16) + delta
    kept = wanted.clip(0, 255)
    return kept.astype(np.uint8), int(np.abs(wanted - kept).sum(dtype=np.int64))


def controls(
    backbone: Backbone,
    read: Read,
    original: Pixels,
    changed: Pixels,
    label: int,
    target: int | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    batch: int = BATCH,
) -> tuple[Answer, ...]:
    """What perturbations of the same size do that are not the attack's: one `Answer` a kind.

    Args:
        read: from 8-bit pixels [C, H, W] to what ``backbone`` takes.
        original, changed: uint8 [C, H, W], the clean picture and the attack's.
        label, target: indices of the class seen in the clean picture, and of the one asked for.
        draws: of each kind; a draw is the same whatever the number of draws.

    Returns:
        `Answer`s whose ``after`` is of the draw that came furthest: at the target, or else fooled,
        or else with the likeliest target (without one: the least likely label).

    Raises:
        BadRequest: pictures of two shapes, no such class, or no draws.
    """
    check_class(backbone, label, target)
    if original.shape != changed.shape:
        raise BadRequest(f"pictures of {original.shape} and {changed.shape} cannot be compared")
    if draws < 1:
        raise BadRequest(f"draws must be at least 1, not {draws}")
    delta = changed.astype(np.int16) - original.astype(np.int16)
    (clean,) = look(backbone, [read(original)])
    before = tell(backbone.name, backbone.classes, clean, label, target)
    found = []
    for name in KINDS:
        cut: list[tuple[int, int]] = []
        shown = _shown(original, delta, name, range(draws), seed, cut)
        logits = look(backbone, map(read, shown), batch=batch)
        rows = [tell(backbone.name, backbone.classes, row, label, target) for row in logits]
        gone, asked = map(sum, zip(*cut, strict=True))
        found.append(answered(name, before, rows, label, target, gone / max(1, asked)))
    return tuple(found)


def _shown(
    original: Pixels, delta: Changes, name: str, draws: range, seed: int, cut: list[tuple[int, int]]
) -> Iterator[Pixels]:
    """The pictures of one kind, one at a time; ``cut`` gets the grey levels cut off and asked."""
    for draw in draws:
        change = KINDS[name](delta, SampleRandom(seed, [str(draw)], "control", name))
        picture, gone = clipped(original, change)
        cut.append((gone, int(np.abs(change).sum(dtype=np.int64))))
        yield picture


def answered(
    name: str,
    before: Reading,
    draws: list[Reading],
    label: int,
    target: int | None,
    lost: float = 0.0,
) -> Answer:
    """The `Answer` of several draws, told by the one that came furthest."""

    def reached(one: Reading) -> tuple[bool, bool, float]:
        far = -one.label if target is None else one.target
        return one.index == target, one.index != label, far

    best = max(draws, key=reached)
    return Answer(
        name=name,
        before=before,
        after=best,
        fooled=best.index != label,
        at_target=best.index == target,
        tries=len(draws),
        fooling=sum(one.index != label for one in draws),
        hitting=sum(one.index == target for one in draws),
        lost=lost,
    )
