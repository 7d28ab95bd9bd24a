"""Intervals and tests of rates against scipy, against what they promise (coverage), and mutants."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robustlab import statistics
from robustlab.outcome import Metric, Outcome
from robustlab.results import measure
from robustlab.statistics import (
    Rate,
    bootstrap_mean,
    clopper_pearson,
    mcnemar,
    rate,
    wilson,
)

METHODS = {"wilson": wilson, "exact": clopper_pearson}
CASES = [(k, n) for n in (1, 2, 7, 40, 200, 1000) for k in {0, 1, n // 3, n // 2, n - 1, n}]
CASES += [(n, n) for n in (10**6, 10**9)] + [(0, 10**6)]


def check_against_scipy(method, function, confidence=0.95):
    for k, n in CASES:
        found = function(k, n, confidence)
        expected = stats.binomtest(k, n).proportion_ci(confidence, method=method)
        assert found.low == pytest.approx(expected.low, abs=1e-12, rel=1e-9)
        assert found.high == pytest.approx(expected.high, abs=1e-12, rel=1e-9)
        assert (found.value, found.n) == (k / n, n)


@pytest.mark.parametrize("confidence", [0.95, 0.5, 0.999])
@pytest.mark.parametrize("method", METHODS)
def test_intervals_are_scipys(method, confidence):
    check_against_scipy(method, METHODS[method], confidence)


def wald(k, n, confidence=0.95):
    half = stats.norm.ppf(0.5 + confidence / 2) * math.sqrt(k / n * (1 - k / n) / n)
    return Rate(k / n, max(0.0, k / n - half), min(1.0, k / n + half), n)


def one_sided(k, n, confidence=0.95):
    return clopper_pearson(k, n, 2 * confidence - 1)


MUTANTS = {
    "wald": wald,
    "one-sided": one_sided,
    "wilson": wilson,
    "exact": clopper_pearson,
    "90 %": lambda k, n, confidence=0.95: wilson(k, n, 0.9),
}


@pytest.mark.parametrize(
    ("method", "mutant"),
    [(m, name) for m in METHODS for name in MUTANTS if name != m],
)
def test_that_check_kills(method, mutant):
    with pytest.raises(AssertionError):
        check_against_scipy(method, MUTANTS[mutant])


def check_shape(function, k, n):
    """Inside [0, 1], around the value, never of zero width; closed at 0 and n."""
    found = function(k, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    assert (found.low == 0) == (k == 0)
    assert (found.high == 1) == (k == n)


counts = st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize("function", METHODS.values(), ids=METHODS)
@given(kn=counts)
def test_shape(function, kn):
    check_shape(function, *kn)


def test_shape_kills_wald():
    with pytest.raises(AssertionError):
        check_shape(wald, 200, 200)


@pytest.mark.parametrize("function", METHODS.values(), ids=METHODS)
def test_symmetry(function):
    """The interval of the failures is the mirror image."""
    for k, n in CASES:
        one, other = function(k, n), function(n - k, n)
        assert one.low == pytest.approx(1 - other.high, abs=1e-12)
        assert one.high == pytest.approx(1 - other.low, abs=1e-12)


@pytest.mark.parametrize("function", METHODS.values(), ids=METHODS)
def test_nothing_measured_is_not_zero(function):
    found = function(0, 0)
    assert found.n == 0
    assert all(math.isnan(x) for x in (found.value, found.low, found.high))
    assert str(found) == "not measured"
    assert str(rate([])) == "not measured"


@pytest.mark.parametrize("function", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts(function, k, n):
    with pytest.raises(ValueError, match=f"{k} successes of {n} is not a rate"):
        function(k, n)


def coverage(function, p, n):
    """Exact chance that the interval holds p, summed over all outcomes."""
    holds = [found.low <= p <= found.high for k in range(n + 1) for found in [function(k, n)]]
    return float(np.sum(stats.binom.pmf(np.arange(n + 1), n, p)[holds]))


def check_coverage(function, least, on_average):
    chances = [coverage(function, p, n) for n in (20, 200) for p in np.linspace(0.01, 0.99, 50)]
    assert min(chances) >= least
    assert on_average[0] <= np.mean(chances) <= on_average[1]


def test_coverage():
    """Clopper-Pearson never falls below 95 %; Wilson is 95 % on average (Brown et al. 2001)."""
    check_coverage(clopper_pearson, 0.95, (0.96, 0.99))
    check_coverage(wilson, 0.83, (0.94, 0.96))


def test_coverage_kills_wald():
    with pytest.raises(AssertionError):
        check_coverage(wald, 0.83, (0.94, 0.96))


def test_rate_counts_bools():
    assert rate([True, False, True, True]) == wilson(3, 4)
    assert rate(np.zeros(5, bool)) == wilson(0, 5)
    assert str(rate([True] * 200)) == "100.0 % [98.1, 100.0]"
    assert str(Rate(0.01, -0.0001, 0.024, 9)) == "1.0 % [0.0, 2.4]"  # not -0.0
    assert str(wilson(784, 2000)) == "39.2 % [37.1, 41.4]"


# McNemar ------------------------------------------------------------------------------------------


def check_mcnemar(function):
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(1, 300))
        a, b = rng.random(n) < rng.random(), rng.random(n) < rng.random()
        found = function(a, b)
        only_a, only_b = int((a > b).sum()), int((b > a).sum())
        assert (found.only_first, found.only_second, found.n) == (only_a, only_b, n)
        both = only_a + only_b
        expected = stats.binomtest(only_a, both, 0.5).pvalue if both else 1.0
        assert found.p == pytest.approx(expected, rel=1e-9)
        mirrored = function(b, a)
        assert (mirrored.only_first, mirrored.p) == (only_b, found.p)


def test_mcnemar():
    check_mcnemar(mcnemar)
    assert mcnemar([True, False], [True, False]).p == 1.0


def chi_squared(a, b):
    exact = mcnemar(a, b)
    x, y = exact.only_first, exact.only_second
    p = float(stats.chi2.sf((x - y) ** 2 / (x + y), 1)) if x + y else 1.0
    return statistics.Paired(x, y, exact.n, p)


def unpaired(a, b):
    exact = mcnemar(a, b)
    return statistics.Paired(
        exact.only_first,
        exact.only_second,
        exact.n,
        float(stats.fisher_exact([[sum(a), sum(~a)], [sum(b), sum(~b)]])[1]),
    )


@pytest.mark.parametrize("mutant", [chi_squared, unpaired])
def test_mcnemar_kills(mutant):
    with pytest.raises(AssertionError):
        check_mcnemar(mutant)


def test_mcnemar_refuses_other_images():
    with pytest.raises(ValueError, match="equal shapes"):
        mcnemar([True], [True, False])


# Bootstrap ----------------------------------------------------------------------------------------


def test_bootstrap_is_deterministic():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values)
    shuffled = bootstrap_mean(values[::-1])
    assert shuffled.value == pytest.approx(values.mean())


def test_bootstrap_in_blocks():
    """Beyond two million numbers a draw goes in blocks: still all draws, still the same shape."""
    values = np.random.default_rng(0).normal(size=1_500_000)
    found = bootstrap_mean(values, draws=20)
    assert found.low < found.value < found.high
    assert found.high - found.low < 5 / math.sqrt(len(values))


def bootstrap_coverage(function, trials=300, n=60):
    """How often the interval holds the true mean, of a skewed distribution."""
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(trials):
        found = function(rng.exponential(size=n), seed=trial, draws=400)
        hits += found.low <= 1.0 <= found.high
    return hits / trials


def check_bootstrap(function):
    """95 % asymptotically; the percentile bootstrap of 60 skewed values gives about 93 %."""
    assert 0.88 <= bootstrap_coverage(function) <= 0.98


def test_bootstrap_coverage():
    check_bootstrap(bootstrap_mean)


def of_single_values(values, seed, draws):
    low, high = np.quantile(values, [0.025, 0.975])
    return Rate(float(np.mean(values)), float(low), float(high), len(values))


def of_half(values, seed, draws):
    return bootstrap_mean(values, seed, draws, confidence=0.8)


@pytest.mark.parametrize("mutant", [of_single_values, of_half])
def test_bootstrap_coverage_kills(mutant):
    with pytest.raises(AssertionError):
        check_bootstrap(mutant)


def test_bootstrap_leaves_out_what_is_not_finite():
    found = bootstrap_mean([1.0, np.nan, 3.0, np.inf])
    assert (found.value, found.n) == (2.0, 2)
    assert found.low <= 2.0 <= found.high
    one = bootstrap_mean([4.0, np.nan])
    assert (one.value, one.n) == (4.0, 1)
    assert math.isnan(one.low)
    none = bootstrap_mean([np.nan])
    assert none.n == 0
    assert math.isnan(none.value)


def covers(function, n, confidence):
    """Chance that the interval holds the true median, whatever the distribution: count below it."""
    held = 0.0
    for below in range(n + 1):  # values below the true median, 0 here
        values = np.arange(n) - below + 0.5
        found = function(values, confidence)
        held += stats.binom.pmf(below, n, 0.5) * (found.low <= 0 <= found.high)
    return held


def check_median(function):
    rng = np.random.default_rng(3)
    for n in (1, 2, 5, 6, 7, 20, 41, 200):
        values = rng.exponential(size=n)
        found = function(values, 0.95)
        assert found.n == n
        assert found.value == pytest.approx(np.median(values))
        assert covers(function, n, 0.95) >= 0.95
        assert math.isinf(found.low) == (n < 6)
        if n >= 6:  # no shorter pair of order statistics at equal tails would do
            rank = int(np.searchsorted(np.sort(values), found.low)) + 1
            assert stats.binom.cdf(rank - 1, n, 0.5) <= 0.025 < stats.binom.cdf(rank, n, 0.5)
            assert found.high == np.sort(values)[n - rank]
        lost = np.where(np.arange(n) < 3 * n // 4, np.inf, values)
        assert n < 3 or math.isinf(function(lost, 0.95).value)


def test_median():
    check_median(statistics.median)
    assert statistics.median([]).n == 0
    assert statistics.median([2.0, np.inf]).value == math.inf
    with pytest.raises(ValueError, match="NaN"):
        statistics.median([1.0, math.nan])


MEDIANS = {
    "finite values only": lambda v, c: statistics.median(np.asarray(v)[np.isfinite(v)], c),
    "one tail": lambda v, c: statistics.median(v, 2 * c - 1),
    "a rank too far in": lambda v, c: replace(
        statistics.median(v, c),
        low=np.sort(v)[min(len(v) - 1, stats.binom.ppf(0.025, len(v), 0.5).astype(int))],
    ),
    "lower median": lambda v, c: replace(
        statistics.median(v, c), value=np.sort(v)[(len(v) - 1) // 2]
    ),
}


@pytest.mark.parametrize("mutant", MEDIANS)
def test_the_check_of_medians_kills(mutant):
    with pytest.raises(AssertionError):
        check_median(MEDIANS[mutant])


def test_a_mean_of_shares_has_an_interval_at_0_and_1():
    none, every = statistics.mean_share(np.zeros(30)), statistics.mean_share(np.ones(30))
    assert none == statistics.wilson(0, 30)
    assert every == statistics.wilson(30, 30)
    some = np.array([0.0, 0.5, 1.0, 1.0])
    assert statistics.mean_share(some) == statistics.bootstrap_mean(some)
    halves = statistics.mean_share(np.full(5, 0.5))
    assert halves.value == 0.5
    assert statistics.mean_share([]).n == 0
    with pytest.raises(ValueError, match="shares"):
        statistics.mean_share([0.0, 1.5])


def test_the_summary_measures_shares_so():
    columns = {"steady": np.ones(30), "moved": np.zeros(30)}
    outcome = Outcome(columns)
    assert measure(outcome, Metric("steady", share=True)) == statistics.wilson(30, 30)
    assert measure(outcome, Metric("moved", share=True)) == statistics.wilson(0, 30)
    assert measure(outcome, Metric("moved")).high == 0  # a distance knows no largest value
