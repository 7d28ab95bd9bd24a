"""Sources by name: the table, splits put where they belong, names made unique; no torch needed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustlab.data.checks import unique_names
from robustlab.data.sources import SOURCES, load_data, on_the_test_part, with_split
from robustlab.errors import BadRequest


@pytest.mark.parametrize(
    ("source", "part", "wanted"),
    [
        ("digits", "train", "digits:train"),
        ("mnist?pad=2", "train", "mnist:train?pad=2"),
        ("cifar100?root=a:b&download=false", "val", "cifar100:val?root=a:b&download=false"),
        ("fashion-mnist", "test", "fashion-mnist:test"),
    ],
)
def test_with_split(source, part, wanted):
    assert with_split(source, part) == wanted


@pytest.mark.parametrize(
    ("source", "part", "message"),
    [
        ("npz:a.npz", "train", "no splits of its own; give train, val and test a source each"),
        ("folder:pets?size=8", "train", "'folder:pets.size=8' has no splits of its own"),
        ("imagenet:x", "val", "no splits of its own"),
        ("mnist:test?pad=2", "train", "names a split already; write 'mnist.pad=2'"),
        ("mnits", "train", "unknown data source 'mnits'; did you mean 'mnist'"),
        ("mnist", "vall", "no split 'vall'; did you mean 'val'"),
    ],
)
def test_without_split(source, part, message):
    with pytest.raises(BadRequest, match=message):
        with_split(source, part)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_with_split_is_what_load_data_reads(part):
    assert load_data(with_split("digits", part)).name == f"digits:{part}"


def test_every_listed_source_is_known():
    for form, _ in SOURCES:
        if form == "samples:imagenet":  # which is there
            assert len(load_data(form)) == 20
            continue
        source = form.replace("SPLIT", "none").replace("PATH", "/none/none")
        with pytest.raises(BadRequest) as told:
            load_data(source)
        assert "unknown data source" not in str(told.value)
    assert len({form for form, _ in SOURCES}) == len(SOURCES)


def test_unique_names_by_hand():
    names = ["crane", "maillot", "crane", "tench", "maillot"]
    assert unique_names(names) == ("crane (0)", "maillot (1)", "crane (2)", "tench", "maillot (4)")


def check_unique(make, names):
    """All differ, and a name that was alone is kept."""
    made = make(names)
    assert len(set(made)) == len(made) == len(names)
    alone = [name for name, times in Counter(names).items() if times == 1]
    assert set(alone) <= set(made)


@given(st.lists(st.text("abc", min_size=1, max_size=2)))
def test_unique_names(names):
    check_unique(unique_names, names)


@pytest.mark.parametrize(
    "mutant",
    [tuple, lambda names: tuple(f"{name} ({k})" for k, name in enumerate(names)), lambda _: ()],
)
def test_that_check_kills(mutant):
    with pytest.raises(AssertionError):
        check_unique(mutant, ["a", "b", "a"])


def test_sources_are_imported_without_torch(python):
    code = """
import sys
from robustlab.data import Data, load_data
from robustlab.data.sources import SOURCES, with_split
load_data("digits:test", take=5)
print([name for name in ("torch", "torchvision") if name in sys.modules])
"""
    done = python("-c", code)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"source": "digits"}, ""),
        ({"source": "mnist?pad=2"}, " --data 'mnist:test?pad=2'"),
        (
            {"train": "npz:a.npz", "val": "npz:b.npz", "test": "npz:c d.npz"},
            " --data 'npz:c d.npz'",
        ),
        ({"source": "nothing"}, ""),
        ({"source": 3}, ""),
        ({}, ""),
    ],
)
def test_on_the_test_part(table, expected):
    assert on_the_test_part(table) == on_the_test_part(table, 200) == expected
    assert on_the_test_part(table, 72) == (expected and f"{expected} --take 72")
