"""Each image has its own stream: companions, order, batches and restarts elsewhere do not count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustlab.randomness import SampleRandom

IDS = tuple(f"digits/test/{index:06d}" for index in range(12))
SHAPE = (1, 4, 5)
DRAWS = {
    "uniform": lambda random: random.uniform(SHAPE, -2.0, 3.0),
    "normal": lambda random: random.normal(SHAPE),
    "exponential": lambda random: random.exponential(SHAPE),
    "integers": lambda random: random.integers(1000),
}


def check_own_streams(make, rows, draws):
    """Images ``rows`` alone draw what they draw among all, draw after draw."""
    ids = tuple(IDS[row] for row in rows)
    alone, among = make(7, ids), make(7, IDS)
    for name in draws:
        np.testing.assert_array_equal(DRAWS[name](alone), DRAWS[name](among)[list(rows)])


some_rows = st.lists(st.integers(0, len(IDS) - 1), unique=True)
some_draws = st.lists(st.sampled_from(sorted(DRAWS)), min_size=1, max_size=4)


@given(some_rows.filter(len), some_draws)
def test_batches_and_order_do_not_count(rows, draws):
    check_own_streams(lambda seed, ids: SampleRandom(seed, ids, "start", 0), rows, draws)


class OneStream(SampleRandom):
    """The usual mistake: one generator for the whole batch."""

    def __init__(self, seed, ids, *purpose):
        shared = np.random.default_rng(seed)
        self._streams = [shared] * len(ids)


class ByPosition(SampleRandom):
    """Another: the stream hangs on the place in the batch."""

    def __init__(self, seed, ids, *purpose):
        super().__init__(seed, [str(place) for place in range(len(ids))], *purpose)


@pytest.mark.parametrize("mutant", [OneStream, ByPosition])
def test_that_check_kills(mutant):
    with pytest.raises(AssertionError):
        check_own_streams(mutant, [5, 2], ["normal"])


@given(some_rows)
def test_narrowing_goes_on_where_the_streams_stand(rows):
    """An image that stays in the batch draws on as if nobody had left."""
    whole, narrowed = SampleRandom(0, IDS), SampleRandom(0, IDS)
    whole.normal(SHAPE)
    narrowed.normal(SHAPE)
    part = narrowed.narrow(rows)
    assert len(part) == len(rows)
    expected = whole.uniform(SHAPE)[rows] if rows else np.empty((0, *SHAPE))
    np.testing.assert_array_equal(part.uniform(SHAPE), expected)
    # Those who left have drawn nothing in the meantime.
    left = [row for row in range(len(IDS)) if row not in rows]
    if left:
        after = narrowed.narrow(left).uniform(SHAPE)
        fresh = SampleRandom(0, IDS)
        fresh.normal(SHAPE)
        np.testing.assert_array_equal(after, fresh.uniform(SHAPE)[left])


def test_seed_id_and_purpose_tell_streams_apart():
    keys = [
        (0, "a"),
        (1, "a"),
        (0, "b"),
        (0, "a", "start"),
        (0, "a", "start", 0),
        (0, "a", "start", 1),
        (0, "a", "linf", "0.1", 0),
        (0, "a", "linf", "0.2", 0),
        (0, "astart"),
    ]
    first = {SampleRandom(key[0], [key[1]], *key[2:]).normal(SHAPE).tobytes() for key in keys}
    assert len(first) == len(keys)


def test_golden():
    """The same on every machine and with every version: old runs stay repeatable."""
    random = SampleRandom(0, ["digits/test/000000"], "start", 0)
    found = [*random.uniform((2,))[0], *random.normal((2,))[0], *random.integers(10**6)]
    expected = [0.48291732716030056, 0.3043779493199509, 0.3833245491109876, 1.4345377594213533]
    np.testing.assert_allclose(found, [*expected, 327849], rtol=1e-15)


def test_shapes_and_ranges():
    random = SampleRandom(3, IDS)
    uniform = random.uniform((500,), -2.0, 3.0)
    assert uniform.shape == (12, 500)
    assert uniform.dtype == np.float64
    assert uniform.min() >= -2
    assert uniform.max() < 3
    assert abs(uniform.mean() - 0.5) < 0.1
    normal = random.normal((500,))
    assert abs(normal.mean()) < 0.1
    assert abs(normal.std() - 1) < 0.05
    assert random.exponential((500,)).min() >= 0
    integers = random.integers(3)
    assert set(integers) <= {0, 1, 2}
    assert integers.dtype == np.int64
    for empty in (SampleRandom(0, ()), random.narrow([])):
        assert empty.normal(SHAPE).shape == (0, *SHAPE)
        assert empty.integers(3).shape == (0,)
