"""Suites: TOML in, the same TOML out; every key known, every other refused with the nearest."""

import string
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from robustlab.errors import BadRequest
from robustlab.suite import BackboneSpec, ProbeSpec, Suite, load_suite, shipped_suites

SUITES = [
    *("anatomy", "autoattack", "blackbox", "features", "filters", "l0", "l1", "l2", "linf"),
    *("panda", "pooling", "quick", "spatial", "standard", "transfer", "twins"),
]

# Round trip -----------------------------------------------------------------------------------

words = st.text(string.ascii_letters + "äß-_. /\"'\\\n", min_size=1, max_size=12)
names = st.text(string.ascii_lowercase, min_size=1, max_size=8).filter(
    lambda name: name not in ("use", "sweep")
)
finite = st.floats(allow_nan=False, allow_infinity=False)
plain = st.booleans() | st.integers(-(2**62), 2**62) | finite | words
values = plain | st.lists(plain, max_size=3)
channels = st.none() | st.lists(finite, min_size=1, max_size=3).map(tuple)


@st.composite
def probe_specs(draw):
    params = draw(st.dictionaries(names, values, max_size=3))
    sweep = draw(st.dictionaries(names, st.lists(plain, min_size=1, max_size=3), max_size=2))
    return ProbeSpec(draw(words), params, {k: v for k, v in sweep.items() if k not in params})


suites = st.builds(
    Suite,
    name=st.just("mine"),
    title=st.just("") | words,
    seed=st.integers(0, 2**62),
    shard=st.integers(1, 10**6),
    source=words,
    take=st.none() | st.integers(1, 10**6),
    backbones=st.lists(
        st.builds(BackboneSpec, ref=words, name=st.none() | words, mean=channels, std=channels),
        max_size=3,
    ).map(tuple),
    probes=st.lists(probe_specs(), min_size=1, max_size=3).map(tuple),
)


def check_round_trip(suite, to_dict=Suite.to_dict):
    """Through TOML text and back, nothing is lost."""
    text = tomli_w.dumps(to_dict(suite))
    assert Suite.from_dict(tomllib.loads(text), "mine.toml") == suite


@given(suites)
def test_round_trip(suite):
    check_round_trip(suite)


@pytest.mark.parametrize("field", ["title", "seed", "shard", "data", "backbone", "probe"])
def test_round_trip_kills(field):
    """Every field matters: a writer that leaves one out is caught."""
    suite = Suite(
        "mine", "t", 1, 7, "npz:x", 5, (BackboneSpec("b", "n", (1.0,), (2.0,)),), (ProbeSpec("p"),)
    )
    check_round_trip(suite)
    with pytest.raises((AssertionError, BadRequest)):
        check_round_trip(suite, lambda one: {k: v for k, v in one.to_dict().items() if k != field})


def test_nothing_was_forgotten_above():
    """A new field of `Suite` must be added to the round trip."""
    known = ["name", "title", "seed", "shard", "source", "take", "backbones", "probes", "folder"]
    assert [f.name for f in fields(Suite)] == known


@pytest.mark.parametrize("name", sorted(shipped_suites()))
def test_shipped(name):
    suite = load_suite(name)
    check_round_trip(Suite.from_dict(suite.to_dict(), "mine.toml"))
    assert suite.name == name
    assert suite.title
    assert load_suite(suite) is suite


def test_shipped_names():
    assert sorted(shipped_suites()) == SUITES


def test_sweep():
    spec = ProbeSpec("pgd", {"steps": 5}, {"loss": ["ce", "margin"], "restarts": [1, 2]})
    assert list(spec.bindings()) == [
        {"steps": 5, "loss": "ce", "restarts": 1},
        {"steps": 5, "loss": "ce", "restarts": 2},
        {"steps": 5, "loss": "margin", "restarts": 1},
        {"steps": 5, "loss": "margin", "restarts": 2},
    ]
    assert list(ProbeSpec("pgd", {"steps": 5}).bindings()) == [{"steps": 5}]


# Refused --------------------------------------------------------------------------------------

HEAD = "schema = 1\n"
PROBE = "[[probe]]\nuse = 'pgd'\n"
BACKBONE = "[[backbone]]\nref = 'mlp@digits'\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sed = 1\n" + PROBE, "unknown key 'sed'; did you mean 'seed'?"),
        ("seeed = 1\n" + PROBE, "unknown key 'seeed'; did you mean 'seed'?"),
        ("zzz = 1\n" + PROBE, "unknown key 'zzz'; there is backbone, data, probe, schema"),
        ("[data]\nsorce = 'x'\n" + PROBE, "data: unknown key 'sorce'; did you mean 'source'?"),
        (
            BACKBONE + "nam = 'x'\n" + PROBE,
            "backbone 1: unknown key 'nam'; did you mean 'name'?",
        ),
        (BACKBONE * 2 + "stdd = [1]\n" + PROBE, "backbone 2: unknown key 'stdd'"),
        (BACKBONE + "padding = 1\n" + PROBE, "backbone 1: 'padding' must be a str, not 1"),
        (BACKBONE + "pol = 'avg'\n" + PROBE, "backbone 1: unknown key 'pol'; did you mean 'pool'?"),
        (PROBE + "[[gate]]\nmetric = 'x'", "key 'gate': gates are not built yet; leave it out"),
        ("engine = 'ray'\n" + PROBE, "key 'engine': engines are not built yet; leave it out"),
        ("", "no [[probe]]; add a line [[probe]], then use = 'pgd'"),
        ("[probe]\nuse = 'pgd'", "'probe' must be a list of tables; write [[probe]]"),
        ("[backbone]\nref = 'x'\n" + PROBE, "'backbone' must be a list of tables"),
        ("probe = [1]", "'probe' must be a list of tables"),
        ("[[probe]]\nsteps = 1", "probe 1: it has no 'use'"),
        (PROBE + "[[probe]]\nuse = 1", "probe 2: 'use' must be a str, not 1"),
        ("[[backbone]]\nname = 'x'\n" + PROBE, "backbone 1: it has no 'ref'"),
        ("schema = 2\n" + PROBE, "schema 2 is not known; this version reads 1"),
        ("seed = '1'\n" + PROBE, "'seed' must be a int, not '1'"),
        ("seed = true\n" + PROBE, "'seed' must be a int, not True"),
        ("shard = 0\n" + PROBE, "shard must be at least 1, not 0"),
        ("data = 'digits'\n" + PROBE, "'data' must be a dict, not 'digits'"),
        ("[data]\ntake = 0\n" + PROBE, "data: take must be at least 1, not 0"),
        ("[data]\ntake = 1.5\n" + PROBE, "'take' must be a int, not 1.5"),
        (BACKBONE + "mean = 0.5\n" + PROBE, "backbone 1: 'mean' must be a list, not 0.5"),
        (BACKBONE + "mean = ['a']\n" + PROBE, "'mean' must be a list of numbers, one a channel"),
        (BACKBONE + "std = [true]\n" + PROBE, "'std' must be a list of numbers, one a channel"),
        (PROBE + "sweep = { loss = 'ce' }", "sweep: 'loss' must be a list of values, not 'ce'"),
        (PROBE + "sweep = { loss = [] }", "sweep: 'loss' must be a list of values, not []"),
        (PROBE + "sweep = [1]", "probe 1: 'sweep' must be a dict, not [1]"),
        (
            PROBE + "steps = 1\nsweep = { steps = [1] }",
            "probe 1: 'steps' is given both as a parameter and in sweep; keep one",
        ),
        ("seed = ", "not TOML: "),
        ("a = 1\na = 2", "not TOML: "),
    ],
)
def test_refused(tmp_path, text, told):
    path = tmp_path / "mine.toml"
    schema = "" if text.startswith("schema") else HEAD
    path.write_text(schema + text, encoding="utf-8")
    with pytest.raises(BadRequest) as error:
        load_suite(path)
    assert str(error.value).startswith("suite mine.toml: ")
    assert told in str(error.value)


def test_not_text(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadRequest, match=r"suite mine.toml: not TOML"):
        load_suite(path)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("quik", "no suite 'quik'; did you mean 'quick'?"),
        ("zzz", f"there is {', '.join(SUITES)} (or the path of a TOML file)"),
        ("nowhere/zzz.toml", "there is no file 'nowhere/zzz.toml', seen from "),
    ],
)
def test_unknown_suite(name, told):
    with pytest.raises(BadRequest) as error:
        load_suite(name)
    assert told in str(error.value)


def test_a_folder_is_no_suite(tmp_path):
    with pytest.raises(BadRequest, match="no suite"):
        load_suite(tmp_path)


def test_defaults_and_place(tmp_path):
    path = tmp_path / "mine.v2.toml"
    path.write_text(PROBE)
    suite = load_suite(str(path))
    assert suite == Suite("mine.v2", probes=(ProbeSpec("pgd"),), folder=tmp_path)
    assert (suite.seed, suite.shard, suite.source, suite.take) == (0, 256, "digits:test", None)
    assert suite.with_backbones(["a", "b"]).backbones == (BackboneSpec("a"), BackboneSpec("b"))
    assert suite.folder == Path(tmp_path)
