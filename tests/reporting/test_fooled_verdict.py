"""What the page of one picture claims: success only where it is proven, each case in its words."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustlab.fooled import Check
from robustlab.reporting.fooling import fooled_page
from robustlab.reporting.fooling.making import belief, caveats
from robustlab.reporting.fooling.recount import measured
from robustlab.reporting.fooling.verdict import Finding

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_fooled", Path(__file__).with_name("make_fooled.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

BROKEN = Check("Does the file hold?", False, "giant panda, 61.0 %")


def title(**changes):
    return Finding(make.make(bare=True, **changes)).title


# --- the verdict --------------------------------------------------------------------------------

PROVEN = {
    "target": ({}, "At 1/255 `squeezenet1_1` takes this “giant panda” for a “vulture”: 97.3 %"),
    "any": (
        {"target": None, "after": make.reading(make.THIRD)},
        "At 1/255 `squeezenet1_1` takes this “giant panda” for a “gibbon”: 55.1 %",
    ),
    "noise": (
        {"picture": "noise"},
        "At 1/255 `squeezenet1_1` sees a “vulture” in noise: 97.3 %",
    ),
    "black": (
        {"picture": "black"},
        "At 1/255 `squeezenet1_1` sees a “vulture” in a black picture: 97.3 %",
    ),
    "white": (
        {"picture": "white"},
        "At 1/255 `squeezenet1_1` sees a “vulture” in a white picture: 97.3 %",
    ),
    "l2": (
        {"norm": "l2", "eps": "3"},
        "At eps 3 (L2) `squeezenet1_1` takes this “giant panda” for a “vulture”: 97.3 %",
    ),
    "file": (
        {"network": "file:/a/b.safetensors#torchvision:squeezenet1_1", "eps": "0.004"},
        "At eps 0.004 `torchvision:squeezenet1_1` takes this “giant panda” for a “vulture”: 97.3 %",
    ),
}
DOUBTED = {
    "other class": (
        {"after": make.reading(make.THIRD)},
        "Not the “vulture” asked for: at 1/255 `squeezenet1_1` takes this “giant panda” for a "
        "“gibbon” (55.1 %)",
    ),
    "nothing, other class": (
        {"picture": "noise", "after": make.reading(make.THIRD)},
        "Not the “vulture” asked for: at 1/255 `squeezenet1_1` calls noise a “gibbon” (55.1 %)",
    ),
    "resisted": (
        {"after": make.reading(make.SEEN)},
        "Not fooled: at 1/255 `squeezenet1_1` still says “giant panda” of this picture, 98.7 %",
    ),
    "nothing, resisted": (
        {"picture": "white", "after": make.reading(make.SEEN), "target": None},
        "Not fooled: at 1/255 `squeezenet1_1` still says “giant panda” of a white picture, 98.7 %",
    ),
    "the file does not hold": (
        {"checks": (BROKEN,)},
        "Not proven: `squeezenet1_1` takes this “giant panda” for a “vulture” (97.3 %), but 1 of 3 "
        "checks failed",
    ),
    "unchecked": (
        {"checks": ()},
        "Not proven: `squeezenet1_1` takes this “giant panda” for a “vulture” (97.3 %), but "
        "nothing was checked",
    ),
}


@pytest.mark.parametrize("case", PROVEN)
def test_a_proven_finding_is_the_title(case):
    changes, said = PROVEN[case]
    assert title(**changes) == said


@pytest.mark.parametrize("case", DOUBTED)
def test_what_is_not_proven_is_told_as_such(case):
    changes, said = DOUBTED[case]
    assert title(**changes) == said


def lies():
    """Tales in which one thing is false, all others as in the true one."""
    true = make.make(bare=True)
    wide = true.original.astype(int)
    wide[0, 0, 0] += 9
    twin = make.make(smallest=dataclasses.replace(true.size, linf=0), smallest_changed=true.changed)
    same_name = make.reading(((517, "vulture", 0.9), (388, "giant panda", 0.05)))
    return {
        "a check failed": {"checks": (*true.checks, BROKEN)},
        "no check": {"checks": ()},
        "every check failed": {"checks": (BROKEN, BROKEN)},
        "the reading is of another class": {"after": make.reading(make.THIRD)},
        "the reading is of the same class": {"after": make.reading(make.SEEN)},
        "another class of the same name": {"after": same_name},
        "linf is larger than told": {"changed": wide.astype(np.uint8)},
        "size is told too small": {"size": dataclasses.replace(true.size, linf=0)},
        "l2 is told too small": {"size": dataclasses.replace(true.size, l2=0.5)},
        "pixels are told too few": {"size": dataclasses.replace(true.size, l0=3)},
        "over the budget": {"eps": "1/256"},
        "over the budget in l2": {"norm": "l2", "eps": "0.001"},
        "over the budget in l0": {"norm": "l0", "eps": "3px"},
        "the label was not read": {"label": "gibbon"},
        "the smallest is not": {
            "smallest": twin.smallest,
            "smallest_changed": twin.smallest_changed,
        },
        "probabilities beyond the whole": {
            "after": make.reading(((23, "vulture", 0.9731), (388, "giant panda", 0.9)))
        },
        "not the likeliest first": {
            "after": make.reading(((23, "vulture", 0.1), (388, "giant panda", 0.9)))
        },
    }


def check_no_claim(root):
    """The page says at its head that it is not so, and something is marked red."""
    (head,) = root.all("h1")
    assert head.words.startswith("Not ")
    assert root.all("title")[0].words.startswith("Not ")
    (section,) = root.all("section", id="belief")
    assert section.all("li", class_="red")
    assert not section.words.startswith("May you believe it?All")


def test_the_true_tale_claims(parse):
    with pytest.raises(AssertionError):
        check_no_claim(parse(fooled_page(make.make(bare=True))))


@pytest.mark.parametrize("lie", lies())
def test_no_lie_is_claimed(parse, lie):
    check_no_claim(parse(fooled_page(make.make(bare=True, **lies()[lie]))))


MUTANTS = {
    "claims what the search claims": ("proven", lambda f: f.fooled.succeeded),
    "claims without checks": ("proven", lambda f: f.reached and not f.failed),
    "claims whatever fails": ("proven", lambda f: f.reached),
    "any other class is the target": ("reached", lambda f: f.left),
    "believes names": ("at_target", lambda f: f.fooled.after.top[0][1] == f.fooled.target),
    "does not count again": ("failed", lambda f: tuple(c for c in f.fooled.checks if not c.passed)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_page_that_claims_too_much_is_caught(parse, monkeypatch, mutant):
    name, broken = MUTANTS[mutant]
    monkeypatch.setattr(Finding, name, property(broken))
    caught = 0
    for changes in lies().values():
        try:
            check_no_claim(parse(fooled_page(make.make(bare=True, **changes))))
        except AssertionError:
            caught += 1
    assert caught > 0


@given(st.booleans(), st.booleans(), st.sampled_from([make.SEEN, make.ASKED, make.THIRD]))
def test_a_claim_is_made_exactly_where_all_holds(first, second, top):
    checks = (Check("a", first, ""), Check("b", second, ""))
    for target in ("vulture", None):
        found = Finding(make.make(bare=True, checks=checks, after=make.reading(top), target=target))
        goal = top == make.ASKED if target else top != make.SEEN
        assert found.title.startswith("At ") == (goal and first and second)


def test_checks_that_hold_and_a_reading_that_does_not_are_a_contradiction():
    told = belief(Finding(make.make(bare=True, after=make.reading(make.SEEN))))
    assert told["lines"][0]["question"] == "Do checks and reading agree?"
    assert told["lines"][0]["level"] == "red"
    assert belief(Finding(make.make()))["title"] == "All 4 checks hold"


def test_nothing_has_no_label():
    for picture, word in (("noise", "noise"), ("black", "a black picture")):
        fooled = make.make(bare=True, picture=picture)
        assert Finding(fooled).lead[0].startswith(f"Untouched, {word} is called “giant panda”")
        assert "there is no right answer" in caveats(fooled)[0]
    assert "nobody told which class is right" in caveats(make.make())[0]
    assert "without resize" in " ".join(caveats(make.make(on="crop")))


def test_one_grey_level_is_the_least_there_is():
    assert any("this is the least" in said for said in Finding(make.make()).lead)
    more = make.make(levels=3)
    assert any("no value by more than 3 grey levels" in said for said in Finding(more).lead)
    missed = make.make(after=make.reading(make.SEEN))
    assert not any("least" in said or "smallest" in said for said in Finding(missed).lead)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7)])
def test_sizes_are_counted_as_numpy_counts(shape):
    rng = np.random.default_rng(1)
    x, z = rng.integers(0, 256, (2, *shape), np.uint8)
    found, apart = measured(x, z), (z.astype(float) - x)
    flat = apart.ravel()
    norms = [np.linalg.norm(flat, p) for p in (np.inf, 2, 1)]
    assert [found.linf, found.l2, found.l1] == pytest.approx(norms)
    assert found.l0 == (apart != 0).any(axis=0).sum()
    assert found.mean == pytest.approx(np.abs(apart).mean())
