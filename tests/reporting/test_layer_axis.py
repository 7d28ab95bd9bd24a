"""The names below an axis of layers."""

from __future__ import annotations

import pytest

from robustlab.reporting.layer_axis import WIDTHS, evenly, factor_ticks, short


@pytest.mark.parametrize(("many", "most"), [(1, 12), (12, 12), (13, 12), (500, 30)])
def test_both_ends_are_among_the_places(many, most):
    places = evenly(many, most)
    assert places[0] == 0
    assert places[-1] == many - 1
    assert len(places) == min(many, most)
    assert places == sorted(set(places))


@pytest.mark.parametrize("letters", [letters for _, letters, _ in WIDTHS.values()])
def test_names_that_differ_at_either_end_stay_apart(letters):
    names = [f"{front}.a.very.long.way.to.{end}" for front in "pq" for end in ("conv", "relu")]
    assert len({short(name, letters) for name in names}) == 4
    assert all(len(short(name, letters)) <= letters for name in names)
    assert short("layer2.1.relu2", letters) == "layer2.1.relu2"  # blocks of a ResNet stay apart


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.2, 40, [0.3, 1, 3, 10, 30]),
        (0.8, 2.5, [1, 2]),
        (0.9, 1.6, [1, 1.5]),
        (0.6, 1.1, [0.7, 1]),
        (0.95, 1.25, [1, 1.1, 1.2]),
    ],
)
def test_a_scale_of_factors_has_two_ticks_at_least(low, high, ticks):
    assert factor_ticks(low, high) == ticks


def test_ticks_of_any_range():
    for low in (0.003, 0.31, 0.99, 1.0, 7.3, 150.0):
        for wide in (1.03, 1.2, 2.0, 5.0, 80.0):
            ticks = factor_ticks(low, low * wide)
            assert 2 <= len(ticks) <= 8, (low, wide, ticks)
            assert ticks == sorted(set(ticks))
