"""The smallest count that passes, against trying every count."""

from __future__ import annotations

import numpy as np
import pytest

from robustlab.filters import trace_search
from robustlab.filters.trace_search import (
    BISECTED,
    LOOKED,
    NEVER,
    RESCANNED,
    SCANNED,
    smallest,
)


def asking(tables):
    """A test that looks counts up: ``tables[lane][count - 1]``."""

    def test(lanes, counts):
        return [bool(tables[i][k - 1]) for i, k in zip(lanes, counts, strict=True)]

    return test


def direct(table):
    return int(np.argmax(table)) + 1 if np.any(table) else NEVER


def test_small_lanes_are_exact_whatever_they_do():
    generator = np.random.default_rng(0)
    tables = [generator.random(int(n)) < 0.15 for n in generator.integers(1, 17, 200)]
    found, method = smallest(asking(tables), [len(t) for t in tables])
    assert found.tolist() == [direct(t) for t in tables]
    assert set(method.tolist()) == {SCANNED}


def test_monotone_lanes_are_exact_and_cheap():
    generator = np.random.default_rng(1)
    tables = [np.arange(1, 1001) >= k for k in generator.integers(1, 1001, 50)]
    asked = []

    def counting(lanes, counts):
        asked.extend(lanes)
        return asking(tables)(lanes, counts)

    found, method = smallest(counting, [1000] * 50)
    assert found.tolist() == [direct(t) for t in tables]
    assert set(method.tolist()) == {BISECTED}
    assert len(asked) <= 50 * (1 + 10 + 2 * trace_search.CHECKS)


def check_dips():
    """Passes from 50 on, and from 5 to 20 too; or fails again beyond what bisection gives."""
    counts = np.arange(1, 101)
    dip = (counts >= 50) | ((counts >= 5) & (counts <= 20))
    gap = (counts >= 10) & ~((counts > 60) & (counts < 90))
    found, method = smallest(asking([dip, gap]), [100, 100])
    assert found.tolist() == [5, 10]
    assert method.tolist() == [RESCANNED, RESCANNED]


def test_what_is_not_monotone_is_scanned():
    check_dips()


def test_that_check_kills_bisection_alone(monkeypatch):
    monkeypatch.setattr(trace_search, "_contradicted", lambda *_: {})
    with pytest.raises(AssertionError):
        check_dips()


def test_all_of_it_is_not_always_enough():
    counts = np.arange(1, 101)
    some = (counts >= 20) & (counts < 80)
    found, method = smallest(asking([some, counts < 0]), [100, 100])
    assert found.tolist() == [20, NEVER]
    assert method.tolist() == [RESCANNED, LOOKED]


def test_nothing_to_search():
    found, method = smallest(asking([[]]), [0])
    assert (found.tolist(), method.tolist()) == ([0], [0])
