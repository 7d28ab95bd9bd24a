"""The smallest count that passes a test, for many searches at once.

More channels set back need not restore what fewer did, so bisection may miss the smallest count. It
is therefore checked, and where the check fails the counts are tried one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["BISECTED", "METHODS", "NEVER", "NOT_TRIED", "SCANNED", "smallest"]

Test = Callable[[Sequence[int], Sequence[int]], list[bool]]  # (lanes, counts) -> passed
Ints = NDArray[np.int64]

NEVER, NOT_TRIED = -1, 0  # in the place of a count
SCANNED, BISECTED, RESCANNED, LOOKED = 1, 2, 3, 4
METHODS = {
    SCANNED: "every count was tried",
    BISECTED: "bisected, and no count checked on either side contradicts that it is monotone",
    RESCANNED: "not monotone: every count was tried from one up",
    LOOKED: "setting back all does not restore it; counts between were looked at evenly",
}
SCAN = 16  # so many channels are tried one by one from the start
CHECKS = 6  # counts checked on either side of what bisection gives
CHUNK = 8  # counts of a lane that are tried at a time in a scan


def smallest(test: Test, totals: Sequence[int]) -> tuple[Ints, Ints]:
    """For each lane the smallest count in 1..total that passes.

    Args:
        test: whether each pair (lane, count) passes.
        totals: the largest count of each lane; 0: there is nothing to search.

    Returns:
        Counts [lanes], `NEVER` where none passes, `NOT_TRIED` where the total is 0; how each was
        found [lanes], a key of `METHODS`, 0 where the total is 0.
    """
    found = np.full(len(totals), NOT_TRIED, np.int64)
    method = np.zeros(len(totals), np.int64)
    small = [i for i, total in enumerate(totals) if 0 < total <= SCAN]
    large = [i for i, total in enumerate(totals) if total > SCAN]
    method[small] = SCANNED
    _scan(test, {i: totals[i] for i in small}, found)
    whole = dict(zip(large, test(large, [totals[i] for i in large]), strict=True))
    tops = {i: totals[i] for i in large if whole[i]}
    lows = _bisect(test, tops, found)
    method[list(tops)] = BISECTED
    doubted = _contradicted(test, lows, {i: totals[i] for i in tops})
    _look(test, {i: totals[i] for i in large if not whole[i]}, found, method, doubted)
    method[list(doubted)] = RESCANNED
    _scan(test, doubted, found)
    return found, method


def _scan(test: Test, tops: dict[int, int], found: Ints) -> None:
    """Try 1, 2, ... up to each lane's top; what passes first is the smallest."""
    below = dict.fromkeys(tops, 0)
    for lane in tops:
        found[lane] = NEVER
    while below:
        pairs = [
            (i, k)
            for i, low in below.items()
            for k in range(low + 1, min(low + CHUNK, tops[i]) + 1)
        ]
        for (i, k), passed in zip(pairs, _asked(test, pairs), strict=True):
            if passed and found[i] == NEVER:
                found[i] = k
        below = {
            i: low + CHUNK
            for i, low in below.items()
            if found[i] == NEVER and low + CHUNK < tops[i]
        }


def _bisect(test: Test, tops: dict[int, int], found: Ints) -> dict[int, int]:
    """Between none (fails) and all (passes); gives the counts found."""
    low, high = dict.fromkeys(tops, 0), dict(tops)
    while open_ := [i for i in tops if high[i] - low[i] > 1]:
        pairs = [(i, (low[i] + high[i]) // 2) for i in open_]
        for (i, k), passed in zip(pairs, _asked(test, pairs), strict=True):
            (high if passed else low)[i] = k
    for i, k in high.items():
        found[i] = k
    return high


def _contradicted(test: Test, at: dict[int, int], totals: dict[int, int]) -> dict[int, int]:
    """Lanes where a smaller count passes, or a larger fails -> a count that passes."""
    pairs = [(i, k) for i in at for k in _evenly(1, at[i] - 1) + _evenly(at[i] + 1, totals[i] - 1)]
    doubted: dict[int, int] = {}
    for (i, k), passed in zip(pairs, _asked(test, pairs), strict=True):
        if passed != (k >= at[i]):
            doubted[i] = min(doubted.get(i, at[i]), k if passed else at[i])
    return doubted


def _look(
    test: Test, totals: dict[int, int], found: Ints, method: Ints, doubted: dict[int, int]
) -> None:
    """Lanes where all set back is not enough: fewer may be; looked at evenly."""
    pairs = [(i, k) for i, total in totals.items() for k in _evenly(1, total - 1, 2 * CHECKS)]
    for i in totals:
        found[i], method[i] = NEVER, LOOKED
    for (i, k), passed in zip(pairs, _asked(test, pairs), strict=True):
        if passed:
            doubted[i] = min(doubted.get(i, k), k)


def _asked(test: Test, pairs: Sequence[tuple[int, int]]) -> Iterable[bool]:
    return test([i for i, _ in pairs], [k for _, k in pairs]) if pairs else []


def _evenly(low: int, high: int, many: int = CHECKS) -> list[int]:
    if high < low:
        return []
    return sorted({int(k) for k in np.linspace(low, high, min(many, high - low + 1)).round()})
