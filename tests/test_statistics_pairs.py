"""Intervals for means over pairs of images, which share images: coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robustlab.invariance.shift_measures import unrelated_error, unrelated_shares
from robustlab.statistics import bootstrap_mean, mean_of_pairs

N, TRIALS = 40, 250


def vectors(rng, wide=10):
    """Of images, some of which lie further out than others."""
    return rng.standard_normal((N, wide)) * np.exp(0.3 * rng.standard_normal((N, 1)))


def ring(found):
    """||f(y) - f(x)|| / ||f(x) - mean||, y the next image, and the places of y."""
    about = np.linalg.norm(found - found.mean(axis=0), axis=1)
    other = np.roll(np.arange(N), -1)
    return np.linalg.norm(found[other] - found, axis=1) / about, other


def rings(interval):
    """(interval of each trial, the mean over all trials)."""
    rng = np.random.default_rng(0)
    return [interval(*ring(vectors(rng))) for _ in range(TRIALS)]


def all_pairs(values):
    rng = np.random.default_rng(1)
    return [bootstrap_mean(values(vectors(rng)), draws=400) for _ in range(TRIALS)]


def check(found):
    """Intervals hold the truth about as often as they say, and are as wide as the means scatter."""
    means = np.array([one.value for one in found])
    truth = means.mean()
    covered = np.mean([one.low <= truth <= one.high for one in found])
    wide = np.mean([one.high - one.low for one in found]) / (2 * 1.96 * means.std(ddof=1))
    assert 0.9 <= covered <= 0.985
    assert 0.85 <= wide <= 1.2


def test_pairs_in_a_ring():
    check(rings(mean_of_pairs))


def test_all_pairs():
    check(all_pairs(unrelated_shares))


def test_the_check_kills_resampling_values_as_if_they_shared_nothing():
    with pytest.raises(AssertionError):
        check(rings(lambda values, other: bootstrap_mean(values, draws=400)))
    with pytest.raises(AssertionError):
        check(all_pairs(unrelated_error))


def test_the_check_kills_products_counted_once():
    def halved(values, other):
        whole, alone = mean_of_pairs(values, other), bootstrap_mean(values, draws=400)
        reach = math.hypot(whole.high - whole.value, alone.high - alone.value) / math.sqrt(2)
        return type(whole)(whole.value, whole.value - reach, whole.value + reach, whole.n)

    with pytest.raises(AssertionError):
        check(rings(halved))


def by_hand(values, other):
    """The variance as the double sum over values that share an image."""
    n = len(values)
    total = 0.0
    for i in range(n):
        for j in range(n):
            if {i, other[i]} & {j, other[j]}:
                total += (values[i] - values.mean()) * (values[j] - values.mean())
    return total / n**2 * n / (n - 1)


@pytest.mark.parametrize("seed", range(6))
def test_the_sum_against_the_loop(seed):
    """Rings, and pairs that are told both ways."""
    import scipy.stats

    rng = np.random.default_rng(seed)
    other = np.roll(np.arange(12), -1) if seed % 2 else np.array([1, 0, 3, 2, 5, 4, 7, 8, 9, 6])
    values = rng.standard_normal(len(other)) + np.arange(len(other)) % 3
    found, variance = mean_of_pairs(values, other), by_hand(values, other)
    if variance <= 0:
        variance = ((values - values.mean()) ** 2).sum() / len(values) / (len(values) - 1)
    reach = scipy.stats.t.ppf(0.975, len(values) - 1) * math.sqrt(variance)
    assert found.high - found.value == pytest.approx(reach)
    assert found.value - found.low == pytest.approx(reach)


def test_what_is_missing_is_left_out():
    values, other = np.array([1.0, np.nan, 2.0, 4.0]), np.array([1, 2, 3, -1])
    found = mean_of_pairs(values, other)
    assert (found.value, found.n) == (1.5, 2)
    assert mean_of_pairs(values[:2], np.array([1, 0])).n == 1
    assert math.isnan(mean_of_pairs(values[:2], np.array([1, 0])).low)
    assert mean_of_pairs([], []).n == 0


def test_shares_have_the_mean_of_the_errors():
    found = vectors(np.random.default_rng(3))
    assert unrelated_shares(found).mean() == pytest.approx(unrelated_error(found).mean())
    assert np.isnan(unrelated_shares(np.ones((4, 2)))).all()
    assert len(unrelated_shares(found[:2])) == 2
