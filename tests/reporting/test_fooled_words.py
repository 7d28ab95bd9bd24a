"""What the page of one picture says of the evidence, computed from the arrays."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustlab.reporting.fooling.answers import controls, transfer
from robustlab.reporting.fooling.page import fooled_page
from robustlab.reporting.fooling.steps import steps
from robustlab.reporting.fooling.survival import survival
from robustlab.reporting.fooling.ways import ways
from robustlab.reporting.fooling.words import a, chance, number, plain_name

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_fooled", Path(__file__).with_name("make_fooled.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

# --- the evidence in words ----------------------------------------------------------------------


def test_the_single_step_and_the_search_are_told_apart():
    assert steps(make.make())["title"] == (
        "`fgsm` turns it away from “giant panda” from 1 grey level on, and into “vulture” at none "
        "of 4 budgets; `pgd` turns “giant panda” into “vulture” from 1 grey level on"
    )
    told = dataclasses.replace(make.make().steps[0], fooled=np.array([0, 1, 0, 1], bool))
    assert "at 2 of 4 budgets, first at 1" in steps(make.make(steps=(told,)))["title"]
    never = dataclasses.replace(told, fooled=np.zeros(4, bool))
    assert "never turns it away from “giant panda”" in steps(make.make(steps=(never,)))["title"]


@pytest.mark.parametrize("target", ["vulture", None])
def test_no_title_says_leaves_which_means_leaves_standing(target):
    title = steps(make.make(target=target))["title"]
    assert "leaves" not in title
    assert "turns it away from “giant panda” from 1 grey level on" in title


def test_the_way_tells_where_the_class_is_left():
    fooled = make.make()
    assert ways(fooled)["title"] == "“giant panda” is left after 100 % of the way, for “vulture”"
    walked = dataclasses.replace(fooled, ways=fooled.ways[1:])
    assert ways(walked)["title"] == (
        "“giant panda” is left after look 1, for “vulture”, by way of “gibbon”"
    )
    stayed = dataclasses.replace(fooled.ways[0], prediction=("giant panda",) * 3)
    assert "ends where it began" in ways(make.make(ways=(stayed,)))["title"]


def curve(hits, fooled=None, clean=None, name="blur", first=0.5):
    hits = np.array(hits, bool)
    many = len(hits)
    shares = np.where(hits, 0.9, 0.1)
    return make.Curve(
        name,
        "px",
        np.arange(first, first + many),
        hits if fooled is None else np.array(fooled, bool),
        hits,
        1 - shares,
        shares,
        np.ones(many, bool) if clean is None else np.array(clean, bool),
    )


SENTENCES = {
    "all": (curve([1, 1, 1]), "Holds at every value tried."),
    "some": (curve([1, 0, 0]), "Holds to 0.5 px, not at 1.5 px."),
    "none": (curve([0, 0, 0]), "Does not hold at 0.5 px, the mildest tried."),
    "again": (curve([1, 0, 1]), "Holds to 0.5 px, not at 1.5 px; holds again at 1 stronger value."),
    "half": (
        curve([1, 0, 0], [1, 1, 0]),
        "Holds to 0.5 px, not at 1.5 px; at 1 of the 2 values where it does not, the class is "
        "wrong all the same.",
    ),
    "clean": (
        curve([1, 1, 1], clean=[1, 0, 0]),
        "Holds at every value tried; the original, changed alike, is itself no longer recognised "
        "at 1.5 px and 2.5 px.",
    ),
    "clean at none": (
        curve([1, 1], clean=[0, 0]),
        "Holds at every value tried; the original, changed alike, is itself no longer recognised "
        "at any value tried.",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_how_far_it_holds(case):
    one, said = SENTENCES[case]
    assert survival(make.make(survival=(one,)))["figures"][0]["sentence"] == said


def test_a_change_that_changes_nothing_is_no_test():
    """Only where no pixel changed: probabilities that happen to agree are a finding."""
    one = dataclasses.replace(curve([1, 0, 0], first=0), unchanged=1)
    told = survival(make.make(survival=(one,)))
    assert told["figures"][0]["sentence"] == "Does not hold at 1 px, the mildest tried."
    assert told["title"] == "It survives nothing that was tried; a blur of 1 px undoes it"
    mutant = dataclasses.replace(one, unchanged=0)
    assert survival(make.make(survival=(mutant,)))["title"] == "It survives a blur of 0 px"
    nothing = dataclasses.replace(one, unchanged=3)
    assert "Nothing was tried" in survival(make.make(survival=(nothing,)))["title"]


def named(name, unit, values, hits, unchanged=1, fooled=None):
    told = curve(hits, fooled)
    known = {"name": name, "unit": unit, "values": np.array(values, float), "unchanged": unchanged}
    return dataclasses.replace(told, **known)


def test_what_it_survives_is_named_beyond_nothing():
    held = (
        named("JPEG quality", "", [100, 95, 90], [1, 1, 0], unchanged=0),
        named("resized and back", "% of the side", [100, 90, 75], [1, 0, 0]),
        named("cropped", "% off each end", [0, 1, 2], [1, 0, 0]),
        named("blur", "pixels", [0, 0.4, 0.6], [1, 1, 0]),
        named("shifted", "pixels", [0, 1, 2], [1, 0, 1]),
        named("rotated", "degrees", [0, 1, 2], [1, 0, 0], fooled=[1, 1, 0]),
    )
    assert survival(make.make(survival=held))["title"] == (
        "It survives JPEG at quality 95 and a blur of 0.4 pixels; resizing to 90 % of the side and "
        "back, cropping 1 % off each end, a shift of 1 pixel and a rotation of 1 degree undo it, "
        "though the class is wrong all the same after 1 of these"
    )
    assert survival(make.make(survival=held[1:4]))["title"] == (
        "It survives a blur of 0.4 pixels; resizing to 90 % of the side and back and cropping 1 % "
        "off each end undo it"
    )


def test_what_it_survives_throughout_is_told():
    held = (curve([1, 1], name="x"), curve([1, 0], name="y"), curve([0, 0], name="z"))
    assert survival(make.make(survival=held))["title"] == (
        "It survives x at 1.5 px, the most tried; and y at 0.5 px; z at 0.5 px undoes it"
    )


def test_what_never_did_it_survives_nothing():
    held = {"survival": (curve([1, 1]),), "after": make.reading(make.SEEN)}
    assert "nothing to survive" in survival(make.make(**held))["title"]


@pytest.mark.parametrize(
    ("fell", "fooling", "said"),
    [
        (True, 0, "The direction matters, not the size"),
        (True, 3, "the picture lay near a boundary"),
        (False, 0, "does nothing either, so this tells nothing of its direction"),
        (False, 3, "Chance does here what the attack's own change does not"),
    ],
)
def test_what_follows_from_chance(fell, fooling, said):
    """Of a perturbation that does nothing it must not be said that its direction matters."""
    drawn = make.answer("noise", make.SEEN, tries=8, fooling=fooling)
    changes = {} if fell else {"after": make.reading(make.SEEN)}
    fooled = make.make(controls=(drawn,), **changes)
    assert said in controls(fooled)["meaning"]
    assert ("The direction matters" in fooled_page(fooled)) == (fell and not fooling)


def test_the_steps_say_which_search_they_are():
    own, other = (steps(make.make(attack=name))["how"] for name in ("pgd", "apgd"))
    assert "at its own budget it is that picture" in own
    assert "another search (`apgd`" in other


def test_controls_that_fool_are_told():
    assert controls(make.make())["title"] == (
        "None of 16 random changes of the same size turns “giant panda” into anything else"
    )
    some = make.answer("noise", make.SEEN, tries=8, fooling=3, hitting=1)
    told = controls(make.make(controls=(some,)))
    assert told["title"] == (
        "3 of 8 random changes of the same size lose “giant panda” too, 1 for “vulture”"
    )
    assert told["rows"][0]["left"].startswith("3 of 8 [13.7, 69.4")
    assert not told["passed"]


@pytest.mark.parametrize(("names", "said"), [
    ("a", "The one other network that says “giant panda” of the original loses it to the same "
     "file, for “vulture”"),
    ("k", "The one other network that says “giant panda” of the original keeps it: the same file "
     "does not fool it"),
    ("ak", "Of 2 other networks that say “giant panda” of the original, 1 loses it to the same "
     "file, 1 for “vulture”"),
    ("kk", "Of 2 other networks that say “giant panda” of the original, none loses it to the same "
     "file"),
    ("aab", "Of 2 other networks that say “giant panda” of the original, 2 lose it to the same "
     "file, 2 for “vulture”"),
    ("b", "The other network does not say “giant panda” of the original, so it cannot lose it"),
    ("bb", "None of 2 other networks says “giant panda” of the original, so none can lose it"),
])  # fmt: skip
def test_only_who_sees_the_class_can_lose_it(names, said):
    kinds = {
        "a": make.answer("alexnet", make.ASKED),
        "k": make.answer("vgg11", make.SEEN),
        "b": make.answer("resnet18", make.ASKED, before=make.THIRD),
    }
    told = transfer(make.make(transfer=tuple(kinds[n] for n in names)))
    assert told["title"] == said


def test_a_network_may_have_other_names_for_the_same_classes():
    numbered = [(index, str(index), p) for index, _, p in make.SEEN]
    other = make.answer("numbers", make.ASKED, before=numbered)
    other = dataclasses.replace(other, before=dataclasses.replace(other.before, label=0.9874))
    told = transfer(make.make(transfer=(other,)))
    assert "loses it to the same file" in told["title"]
    assert told["rows"][0]["word"] == "fooled, at target"


# --- single words -------------------------------------------------------------------------------


def test_rounding_makes_no_certainty():
    told = {0.0: "under 0.1 %", 0.0004: "under 0.1 %", 0.0006: "0.1 %", 0.973: "97.3 %"}
    told |= {0.99951: "over 99.9 %", 1.0: "over 99.9 %", float("nan"): "not recorded"}
    assert {p: chance(p) for p in told if p == p} == {p: t for p, t in told.items() if p == p}
    assert chance(float("nan")) == "not recorded"


def test_words():
    assert (a("vulture"), a("albatross"), a("8")) == ("a “vulture”", "an “albatross”", "an “8”")
    assert [number(v) for v in (150528, 1, 3.74166, 0.5)] == ["150\u202f528", "1", "3.742", "0.5"]
    assert plain_name("a\u202eb`c`\n d\x00") == "a b'c' d"
    assert len(plain_name("x" * 500)) == 60


@given(st.text())
def test_no_name_turns_the_line(name):
    assert not set(plain_name(name)) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2069\n\r`")
