"""What the page claims of neighbours under attack: the clearest change, none where unclear."""

import numpy as np
import pytest

from robustlab import Data
from robustlab.filters.retrieval_told import Told
from robustlab.outcome import Outcome
from robustlab.reporting.filters.looking import _retrieval_title
from robustlab.results import Group, measure
from robustlab.statistics import wilson


def told(n, after, fooled=0):
    """Told of n images of one class: every neighbour of its own class before, ``after`` of five
    after, of the first ``fooled``.
    """
    own, other = np.zeros(n, np.int64), np.ones(n, np.int64)
    pixels = np.zeros((2 * n, 1, 4, 4), np.uint8)
    data = Data(pixels, np.r_[own, other], ["a", "b"], ids=[str(i) for i in range(2 * n)])
    before = np.tile(np.arange(5), (n, 1)).astype(np.int32)
    rows = before.copy()
    rows[:, after:] += n
    distance = np.ones((n, 5), np.float32)
    found = {"fooled": np.arange(n) < fooled, "pixels": pixels[:n]} if fooled else None
    return Told(data, np.arange(n), (before, distance), (rows, distance), other, found)


def group(name, **how):
    one = told(**how)
    outcome = Outcome(one.samples(), arrays=one.arrays(), metrics=one.metrics())
    plan = {"probe": "retrieval", "kind": "probe", "params": {}}
    return Group(name, "retrieval", plan, (), (), (), (), outcome)


def test_all_neighbours_of_one_class_is_no_certainty():
    outcome = group("net", n=32, after=1, fooled=8).outcome
    for name, n in (("same_class_before", 32), ("same_class_before[fooled]", 8)):
        assert measure(outcome, outcome.metrics[name]) == wilson(n, n)


def test_the_title_names_the_largest_change():
    title = _retrieval_title(
        [
            group("first", n=20, after=3, fooled=20),
            group("second", n=20, after=5, fooled=20),
            group("third", n=20, after=1, fooled=20),
        ]
    )
    assert title == (
        "fooling `third` takes the neighbours of the image's class from 100 % to 20 %, "
        "the largest change of 3 networks"
    )


@pytest.mark.parametrize(("after", "fooled"), [(5, 20), (4, 1)])
def test_nothing_is_claimed_where_intervals_overlap(after, fooled):
    title = _retrieval_title([group("net", n=20, after=after, fooled=fooled)])
    assert "not clear" in title
    assert "takes" not in title


def test_without_an_attack_neighbours_alone_are_told():
    title = _retrieval_title([group("net", n=8, after=1)])
    assert title == "100.0 % of the neighbours in `net` share the image's class"
