"""Stratified choice: how many of each class, and which. Seeded by hashing, so that the choice
depends on no library's random generator and not on the order in which the images lie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest

__all__ = ["quotas", "rank", "stratified"]


def quotas(counts: Sequence[int], n: int) -> list[int]:
    """Share ``n`` seats among classes in proportion to ``counts`` (largest remainder, Hamilton).

    Integers throughout, so no rounding decides; equal remainders go to the lower class. Needs
    n <= sum(counts); then no class gets more than it has.
    """
    total = sum(counts)
    shares = [divmod(n * count, total) for count in counts]
    seats = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(counts)), key=lambda index: -shares[index][1])
    for index in by_remainder[: n - sum(seats)]:
        seats[index] += 1
    return seats


def rank(seed: int | str, item: str) -> bytes:
    """The place of ``item`` in the shuffle ``seed``: sort by it."""
    return hashlib.sha256(f"{seed}:{item}".encode()).digest()


def stratified(
    labels: NDArray[Any], ids: Sequence[str], n: int, seed: int | str, name: str
) -> NDArray[np.int64]:
    """Rows of ``n`` images, ascending. ``labels`` [N], ``ids`` N texts; ``name`` for the errors."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise BadRequest(f"take {n!r} of {name!r}: give a whole number of at least 1")
    if n > len(labels):
        raise BadRequest(
            f"take {n} of {name!r}: it has only {len(labels)} images; take at most {len(labels)}"
        )
    classes = np.unique(labels)
    members = [np.flatnonzero(labels == one) for one in classes]
    chosen: list[int] = []
    for rows, seats in zip(members, quotas([len(r) for r in members], n), strict=True):
        ranked = sorted(rows.tolist(), key=lambda row: rank(seed, ids[row]))
        chosen += ranked[:seats]
    return np.array(sorted(chosen), dtype=np.int64)
