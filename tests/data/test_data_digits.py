"""The shipped digits are fixed for good: a changed pixel or split would change every result."""

import numpy as np
import pytest

from robustlab.data import Data, load_data
from robustlab.errors import BadRequest

GOLDEN = {
    "digits": (1797, "2153ee51e7b1f0a475fcad681f22909a94515d6919b33ab492b0f46d58e90c07"),
    "digits:train": (1077, "48c5bca0a5d4dab727509ca4513add6675c2334079339da4701b8b4c26d6066e"),
    "digits:val": (360, "6c82af89824d361f264d49ed6d46971cf6b64e8169da409150ad9cb725ce8a00"),
    "digits:test": (360, "03ebc2ec1953cefea8010bb7d6ad1c3618a13635e919beb934f58a88ef30f86f"),
}


@pytest.mark.parametrize("source", GOLDEN)
def test_golden(source):
    data = load_data(source)
    assert (len(data), data.fingerprint) == GOLDEN[source]
    assert data.shape == (1, 32, 32)
    assert data.name == source
    assert data.classes == tuple("0123456789")


def check_split(parts, whole):
    """Disjoint, complete, and each class in its proportion."""
    ids = [one for part in parts for one in part.ids]
    assert sorted(ids) == sorted(whole.ids)
    for part in parts:
        share = np.bincount(whole.labels) * len(part) / len(whole)
        assert np.all(np.abs(np.bincount(part.labels, minlength=10) - share) < 1.5)


def splits():
    return [load_data(f"digits:{part}") for part in ("train", "val", "test")]


def test_splits():
    check_split(splits(), load_data("digits"))


@pytest.mark.parametrize(
    "mutate",
    [
        lambda whole: [whole.subset(slice(1077)), *splits()[1:]],
        lambda whole: [*splits()[:2], splits()[1]],
        lambda whole: [whole.subset(np.argsort(whole.labels)[a:b]) for a, b in
                       ((0, 1077), (1077, 1437), (1437, 1797))],
    ],
    ids=["overlap", "val is test", "sorted by class"],
)  # fmt: skip
def test_that_check_kills(mutate):
    whole = load_data("digits")
    with pytest.raises(AssertionError):
        check_split(mutate(whole), whole)


def test_drawn_from_scikit_learn():
    """The drawing, shrunk back, is the original; the frame is black; the id is its index."""
    from sklearn.datasets import load_digits

    raw, labels = load_digits(return_X_y=True)
    data = load_data("digits:test")
    index = [int(one.rsplit("/", 1)[1]) for one in data.ids]
    np.testing.assert_array_equal(data.labels, labels[index])
    frame = np.ones((32, 32), bool)
    frame[6:26, 6:26] = False
    assert data.images[:, 0, frame].max() == 0
    drawn = data.batch(slice(None))[:, 0, 6:26, 6:26]
    coarse = drawn.reshape(-1, 4, 5, 4, 5).mean((2, 4))
    original = raw[index].reshape(-1, 8, 8)
    halved = original.reshape(-1, 4, 2, 4, 2).mean((2, 4)) / 16
    correlation = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(coarse, halved, strict=True)
    ]
    assert min(correlation) > 0.95


def test_passed_through_and_taken():
    data = load_data("digits:test")
    assert load_data(data) is data
    part = load_data("digits:test", take=50, seed=3)
    assert part.ids == data.take(50, 3).ids
    assert np.bincount(part.labels).tolist() == [5] * 10
    assert isinstance(part, Data)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digits:tets", "no split 'tets'; did you mean 'test'"),
        ("digits:", "name a split"),
        ("digts", "unknown data source 'digts'; did you mean 'digits'"),
        ("zzz", "unknown data source 'zzz'; there is"),
        ("digits:test?pad=2", "digits takes no options"),
        ("mnits:test", "unknown data source 'mnits:test'; did you mean 'mnist:test'"),
        ("imagenet", "no path; write 'imagenet:PATH'"),
        ("npz:", "no path"),
        ("folder:", "no path"),
    ],
)
def test_unknown_sources(source, message):
    with pytest.raises(BadRequest, match=message):
        load_data(source)
