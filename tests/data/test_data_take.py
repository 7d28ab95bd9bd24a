"""`Data.take`: stratified, seeded, and chosen by ids alone. The properties kill three mutants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustlab.data import Data
from robustlab.data.stratified import quotas
from robustlab.errors import BadRequest


def make(labels):
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Data(images, labels, 5)


def check_stratified(data, part, n):
    """n images; each class within one of its exact share; the old order."""
    assert len(part) == n
    for label in range(5):
        share = n * np.sum(data.labels == label) / len(data)
        assert abs(np.sum(part.labels == label) - share) < 1
    places = [data.ids.index(one) for one in part.ids]
    assert places == sorted(set(places))


def check_order_free(data, take, n, seed, shuffled):
    """The same images, however the data lie."""
    assert set(take(data, n, seed).ids) == set(take(data.subset(shuffled), n, seed).ids)


def check(take, labels, n, seed, shuffled):
    data = make(labels)
    check_stratified(data, take(data, n, seed), n)
    check_order_free(data, take, n, seed, shuffled)


@st.composite
def cases(draw):
    labels = draw(st.lists(st.integers(0, 4), min_size=1, max_size=60))
    n = draw(st.integers(1, len(labels)))
    return labels, n, draw(st.integers(0, 3)), draw(st.permutations(range(len(labels))))


@settings(max_examples=80, deadline=None)
@given(cases())
def test_take_is_stratified_and_order_free(case):
    check(lambda data, n, seed: data.take(n, seed), *case)


def first(data, n, seed):
    return data.subset(slice(n))


def unstratified(data, n, seed):
    return data.subset(np.sort(np.random.default_rng(seed).permutation(len(data))[:n]))


def by_position(data, n, seed):
    rows = []
    for label, seats in enumerate(quotas(np.bincount(data.labels, minlength=5).tolist(), n)):
        rows += np.flatnonzero(data.labels == label)[:seats].tolist()
    return data.subset(sorted(rows))


@pytest.mark.parametrize("mutant", [first, unstratified, by_position])
def test_those_properties_kill(mutant):
    labels = [k % 5 for k in range(50)]
    with pytest.raises(AssertionError):
        check(mutant, labels, 10, 0, list(range(49, -1, -1)))


def test_the_seed_chooses():
    data = make([k % 5 for k in range(100)])
    taken = [data.take(20, seed).ids for seed in (0, 0, 1)]
    assert taken[0] == taken[1] != taken[2]
    assert data.take(100).ids == data.ids


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.data())
def test_quotas_never_exceed_the_class(counts, data):
    counts[0] += 1
    n = data.draw(st.integers(0, sum(counts)))
    seats = quotas(counts, n)
    assert sum(seats) == n
    assert all(0 <= seat <= count for seat, count in zip(seats, counts, strict=True))


def test_largest_remainder_by_hand():
    # 10 seats for 47, 16, 15.8, ... of Wikipedia's example: Hamilton gives 5, 2, 1, 1, 1, 0.
    assert quotas([47000, 16000, 15800, 12000, 6100, 3100], 10) == [5, 2, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("n", "message"),
    [
        (7, "take 7 of 'own': it has only 6 images; take at most 6"),
        (0, "at least 1"),
        (-1, "at least 1"),
        (2.5, "take 2.5"),
        (True, "take True"),
    ],
)
def test_impossible_takes(n, message):
    with pytest.raises(BadRequest, match=message):
        make([0, 1, 2, 3, 4, 0]).take(n)
