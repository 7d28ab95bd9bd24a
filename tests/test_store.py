"""A run directory: what landed is read back as it was, what did not land counts as nothing."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from robustlab import atomic
from robustlab.errors import BadRequest, CellFailed, NoVerdict
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.record import Record
from robustlab.results import Results
from robustlab.store import Store

CELL = "0123456789abcdef01234567"
RECORD = Record(
    CELL,
    {"probe": "p", "params": {"eps": ["0.1"]}, "seed": 0},
    3,
    metrics={"rate": Metric("hit", "among", True)},
    notes=("ein Satz mit Umlaut: ä",),
    cost={"forward": 3.0},
    pictures=(("shifts", "a caption"),),
    started="2026-03-01T09:00:00+00:00",
    seconds=1.5,
    device="cpu",
    threads=2,
)
OUTCOME = Outcome(
    samples={
        "id": np.array(["a/1", "b/2", "ä/3"]),
        "hit": np.array([True, False, True]),
        "among": np.array([True, True, False]),
        "distance": np.array([0.1, np.inf, np.nan]),
        "label": np.array([1, 2, 3]),
    },
    arrays={"matrix": np.arange(6.0).reshape(2, 3), "flag": np.array(True)},
    pictures=(Picture("shifts", np.eye(3, dtype=np.uint8), "a caption"),),
    metrics=RECORD.metrics,
    notes=RECORD.notes,
    cost=RECORD.cost,
)


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "run")


@pytest.fixture
def landed(store):
    store.land(RECORD, OUTCOME)
    return store


def check_read_back(store):
    record = store.record(CELL)
    assert replace(record, arrays="") == RECORD
    found = store.outcome(CELL)
    for kind in ("samples", "arrays"):
        given, read = getattr(OUTCOME, kind), getattr(found, kind)
        assert list(given) == list(read)
        for name in given:
            np.testing.assert_array_equal(read[name], given[name])
            assert read[name].dtype == given[name].dtype
    (picture,) = found.pictures
    assert (picture.name, picture.caption) == ("shifts", "a caption")
    np.testing.assert_array_equal(picture.pixels, np.eye(3))
    assert (found.metrics, found.notes, found.cost) == (RECORD.metrics, RECORD.notes, RECORD.cost)


def test_landed_is_read_back(landed):
    check_read_back(landed)
    assert leftovers(landed) == []


@pytest.mark.parametrize("what", ["samples", "arrays", "pictures"])
def test_that_check_kills(store, what):
    store.land(RECORD, replace(OUTCOME, **{what: type(getattr(OUTCOME, what))()}))
    with pytest.raises((AssertionError, ValueError)):
        check_read_back(store)


def leftovers(store):
    return [p.name for p in store.folder.rglob("*") if p.name.endswith(".tmp")]


# Killed at any moment ---------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it; `test_resume` sends real ones."""


def killing(monkeypatch, step):
    """Let the process die at the ``step``-th fsync or rename of a file."""
    count = iter(range(100))
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def dying(*arguments, real=real):
            if next(count) == step:
                raise Killed
            return real(*arguments)

        monkeypatch.setattr(os, name, dying)


@pytest.mark.parametrize("step", range(6))
def test_killed_while_landing(store, monkeypatch, step):
    """At every step between the first byte and the last fsync: landed means whole."""
    with monkeypatch.context() as patch:
        killing(patch, step)
        with pytest.raises(Killed):
            store.land(RECORD, OUTCOME)
    # Steps: arrays fsync, rename, folder fsync; then the same for the record, which lands last.
    if step < 5:
        assert store.record(CELL) is None
        with pytest.raises(NoVerdict, match=f"cell {CELL} of .* has not landed"):
            store.outcome(CELL)
    else:
        check_read_back(store)
    store.land(RECORD, OUTCOME)
    check_read_back(store)
    assert leftovers(store) == []


def test_record_first_would_be_caught(store, monkeypatch):
    """The mutant of the order: a record written before its arrays."""
    write, swapped = atomic.write, []
    monkeypatch.setattr(atomic, "write", lambda *given: swapped.append(given))
    store.land(RECORD, OUTCOME)
    monkeypatch.setattr(atomic, "write", write)
    (arrays, record) = swapped
    assert (arrays[0].suffix, record[0].suffix) == (".npz", ".json")
    atomic.write(*record)
    assert store.record(CELL) is None  # and even then it does not count


def test_what_a_killed_writer_left_is_swept(store):
    for name in (f".{CELL}.npz.aabbcc.tmp", f".{CELL}.json.aabbcc.tmp", ".other.npz.aa.tmp"):
        (store.cells / name).write_text("half")
    store.land(RECORD, OUTCOME)
    assert leftovers(store) == [".other.npz.aa.tmp"]  # another cell's may be being written


# Damage -----------------------------------------------------------------------------------------


def test_arrays_alone_and_record_alone_count_as_nothing(landed):
    (landed.cells / f"{CELL}.npz").rename(landed.cells / "kept")
    assert landed.record(CELL) is None
    (landed.cells / "kept").rename(landed.cells / f"{CELL}.npz")
    (landed.cells / f"{CELL}.json").unlink()
    assert landed.record(CELL) is None


def test_older_schema_counts_as_not_landed(landed):
    path = landed.cells / f"{CELL}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 0}))
    assert landed.record(CELL) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"schema": 1}',
        b'{"schema": 1, "x": 1}',
        b'{"schema": 1, "id": "a", "asked": {}, "n": 1, "pictures": [1]}',
        b'{"schema": 1, "id": "a", "asked": {}, "n": 1, "metrics": {"a": {"b": 1}}}',
    ],
)
def test_damaged_records_say_what_to_do(landed, content):
    (landed.cells / f"{CELL}.json").write_bytes(content)
    with pytest.raises(NoVerdict, match=f"{CELL}.json .*delete it and run the suite again"):
        landed.record(CELL)


def test_damaged_arrays_say_what_to_do(landed):
    """Cut off anywhere, or one byte changed anywhere."""
    path = landed.cells / f"{CELL}.npz"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:cut] for cut in (0, 1, 30, len(whole) // 2, len(whole) - 1)]
    for place in rng.integers(0, len(whole), 150):
        damaged.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(NoVerdict, match=f"{CELL}.npz is damaged; delete it and run the suite"):
            landed.outcome(CELL)
    path.write_bytes(whole)
    check_read_back(landed)


@pytest.mark.parametrize("content", [b"{", b"[1]"])
def test_damaged_run_file(landed, content):
    (landed.folder / "run.json").write_bytes(content)
    with pytest.raises(NoVerdict, match=r"run.json cannot be read .*delete it and run"):
        Results(landed.folder)


def test_not_a_run_directory(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadRequest, match=r"is not a run directory \(it has no run.json\)"):
            Store.open(folder)


# Failures ---------------------------------------------------------------------------------------


def test_a_failure_is_no_result_and_goes_when_the_cell_lands(store):
    store.fail(replace(RECORD, status="failed", error="ValueError: no"))
    assert store.record(CELL) is None
    assert store.failure(CELL).error == "ValueError: no"
    store.land(RECORD, OUTCOME)
    assert store.failure(CELL) is None
    check_read_back(store)


# What may enter -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome({"a": [1, 2]}), "column 'a' has shape [2]; one value an image is [3]"),
        (Outcome({"a": [[1], [2], [3]]}), "column 'a' has shape [3, 1]"),
        (Outcome({"a": [None] * 3}), "column 'a' holds object; use bool, integer, float or text"),
        (Outcome({"eps": [1.0] * 3}), "column 'eps' is one of the lab's own; call it otherwise"),
        (
            Outcome({"hit": [True] * 3}, metrics={"m": Metric("hitt")}),
            "metric 'm' needs a column 'hitt'; did you mean 'hit'?",
        ),
        (
            Outcome({"hit": [True] * 3}, metrics={"m": Metric("hit", among="x")}),
            "metric 'm' needs a column 'x'",
        ),
        (
            Outcome({"w": ["a"] * 3}, metrics={"m": Metric("w")}),
            "metric 'm' cannot be taken of 'w', which is text",
        ),
        (
            Outcome({"a": [1.0] * 3}, metrics={"m": Metric("a", negate=True)}),
            "metric 'm' needs 'a' to be a column of bools",
        ),
        (
            Outcome({"a": [1.0] * 3}, metrics={"m": Metric("a", among="a")}),
            "metric 'm' needs 'a' to be a column of bools",
        ),
        (Outcome({}, arrays={"x": np.array([{}])}), "array 'x' holds object; use numbers or text"),
        (
            Outcome({}, pictures=[Picture("p", np.zeros((2, 2)))]),
            "picture 'p' is float64 [2, 2]; give uint8 pixels",
        ),
        (
            Outcome({}, pictures=[Picture("p", np.zeros((2, 2, 4), np.uint8))]),
            "picture 'p' is uint8 [2, 2, 4]",
        ),
        (
            Outcome({}, pictures=[Picture("p", np.zeros((2, 2), np.uint8))] * 2),
            "two pictures are called 'p'; rename one",
        ),
    ],
)
def test_outcomes_that_could_not_be_told_fail_their_cell(outcome, told):
    with pytest.raises(CellFailed) as error:
        outcome.checked(3)
    assert told in str(error.value)


def test_checked_outcomes_can_be_kept(store):
    """Numpy scalars where plain ones are wanted, and whatever can be read as a column."""
    given = Outcome(
        samples={"hit": [True, False, True], "size": (1, 2, 3), "word": ["a", "b", "c"]},
        cost={"forward": np.int64(3)},
        notes=[np.str_("n")],
        pictures=[Picture("p", [[0]] * 1 and np.zeros((1, 1), np.uint8))],
    )
    checked = given.checked(3)
    assert checked.metrics == {"hit": Metric("hit")}
    store.land(replace(RECORD, cost=checked.cost, notes=checked.notes), checked)
    assert store.outcome(CELL).cost == {"forward": 3.0}
    assert store.outcome(CELL).notes == ("n",)
