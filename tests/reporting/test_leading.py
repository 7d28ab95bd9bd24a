"""A page opens with the sentences of the networks that its title names."""

import pytest

from robustlab.outcome import Outcome
from robustlab.reporting.anatomy.found import Network
from robustlab.reporting.anatomy.told import lead
from robustlab.reporting.invariance.told import leading
from robustlab.results import Group

SAID = ["`a` is first.", "`b` is second.", "`c` is third."]


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("`b` wins", SAID[1:2]),
        ("`c` and `a` differ", [SAID[0], SAID[2]]),
        ("nothing is named", SAID[:1]),
    ],
)
def test_who_the_title_names_is_told(title, told):
    assert leading(title, SAID, ["a", "b", "c"]) == tuple(told)
    assert leading(title, SAID[:2], ["a", "b", "c"]) == (SAID[0],)  # whose they are is not known


def network(name, parameters, work):
    outcome = Outcome({}, arrays={"parameters": parameters, "multiply_adds": work})
    plan = {"probe": "anatomy", "kind": "probe", "params": {}}
    return Network(name, (), outcome, Group(name, "anatomy", plan, (), (), (), (), outcome))


def test_equal_work_with_many_more_parameters_is_the_story():
    found = [network("lenet", 60_000, 400_000), network("local", 423_000, 400_000)]
    (said,) = lead(found)
    assert said.replace("\u202f", " ") == (
        "`local` has 7 times the parameters of `lenet` (423 000 beside 60 000) and does the same "
        "work (400 000 beside 400 000 multiply-adds an image)."
    )
    (said,) = lead([*found, network("deep", 70_000, 40_000_000)])
    assert said.startswith("`local` has 6 times the parameters of `deep`")
    assert "0.01 times its work" in said


def test_networks_alike_in_both_are_told_by_their_sizes():
    said = lead([network("one", 100, 1000), network("two", 150, 1400)])
    assert said == (
        "`one` has 100 parameters and does 1\u202f000 multiply-adds an image.",
        "`two` has 150 parameters and does 1\u202f400 multiply-adds an image.",
    )
    assert lead([network("one", 0, 0)])[0].startswith("`one` has 0 parameters")
