"""Several attacks as one: the worst case an image, cheapest first, each on what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustlab import Suite, attack, plan
from robustlab.adversarial.batch import Batch
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest

MEMBERS: list[Any] = [{"use": "pgd", "steps": 6}, "fgsm", {"use": "square", "queries": 40}]


def _union(lenet: Backbone, digits: Data, eps: str) -> np.ndarray:
    """What the members break, each run alone."""
    alone = [
        attack("pgd", lenet, digits, eps=eps, steps=6),
        attack("fgsm", lenet, digits, eps=eps),
        attack("square", lenet, digits, eps=eps, queries=40),
    ]
    union: np.ndarray = np.logical_or.reduce([found.verified[0] for found in alone])
    return union


def test_the_ensemble_is_the_worst_case_of_its_members(lenet: Backbone, digits: Data) -> None:
    found = attack("ensemble", lenet, digits, eps="0.06", attacks=MEMBERS)
    assert np.array_equal(found.verified[0], _union(lenet, digits, "0.06"))
    assert found.stages == ("fgsm", "pgd steps=6", "square queries=40")  # cheapest first


def test_an_ensemble_of_one_member_is_not_the_worst_case(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: only the first member ever gets its turn."""
    whole = Batch._try
    monkeypatch.setattr(
        Batch, "_try", lambda self, turn, t: whole(self, turn, t) if turn.number == 0 else None
    )
    found = attack("ensemble", lenet, digits, eps="0.06", attacks=MEMBERS)
    assert found.verified.sum() < _union(lenet, digits, "0.06").sum()


def _each_sees_what_is_left(lenet: Backbone, digits: Data) -> None:
    found = attack("ensemble", lenet, digits, eps="0.06", attacks=MEMBERS)
    broken = found.broken_by[0]
    assert ((broken >= 0) == (found.verified[0] & found.clean_correct)).all()
    gone = attack("fgsm", lenet, digits, eps="0.06").verified_8bit[0]  # the first member
    assert gone.any()
    assert (found.stage_forward[1:, gone] == 0).all()
    assert (found.stage_forward[1:, ~found.verified[0]] > 0).all()
    assert (found.stage_forward.sum(axis=0) == found.forward.sum(axis=0)).all()
    assert (found.stage_backward.sum(axis=0) == found.backward.sum(axis=0)).all()


def test_each_member_sees_only_what_is_left(lenet: Backbone, digits: Data) -> None:
    _each_sees_what_is_left(lenet, digits)


def test_members_that_see_everything_are_caught(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: every member searches as if none had come before it. The verdicts are the same."""

    def blind(self: Batch, turn: Any, threat: Any) -> None:
        rows = self.wanted.nonzero().squeeze(1)
        x_adv, claimed, _ = self._search(rows, threat, turn, self.ways[turn.number][0])
        self._judge(rows, x_adv, claimed, threat, turn.number)

    monkeypatch.setattr(Batch, "_try", blind)
    found = attack("ensemble", lenet, digits, eps="0.06", attacks=MEMBERS)
    assert np.array_equal(found.verified[0], _union(lenet, digits, "0.06"))
    with pytest.raises(AssertionError):
        _each_sees_what_is_left(lenet, digits)


def _names_who_broke_what(lenet: Backbone, digits: Data) -> None:
    outcome = attack("ensemble", lenet, digits, eps="0.06", attacks=MEMBERS).outcome()
    names = np.asarray(outcome.samples["broken_by[eps=0.06]"])
    assert set(names) <= {"", "fgsm", "pgd steps=6", "square queries=40"}
    alone = attack("fgsm", lenet, digits, eps="0.06")
    assert np.array_equal(names == "fgsm", alone.verified[0] & alone.clean_correct)
    parts = [outcome.cost[f"forward[{name}]"] for name in ("fgsm", "pgd steps=6")]
    assert sum(parts) + outcome.cost["forward[square queries=40]"] == outcome.cost["forward"]


def test_the_record_names_who_broke_what(lenet: Backbone, digits: Data) -> None:
    _names_who_broke_what(lenet, digits)


def test_a_wrong_name_is_caught(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the first member gets the credit for everything."""
    whole = Batch._judge
    monkeypatch.setattr(
        Batch, "_judge", lambda self, *args, **pose: whole(self, *args[:4], 0, *args[5:], **pose)
    )
    with pytest.raises(AssertionError):
        _names_who_broke_what(lenet, digits)


def test_a_file_of_ones_own_is_a_member(
    tmp_path: Path, lenet: Backbone, digits: Data, forget: None
) -> None:
    """What only it breaks counts, under its name; what it claims beyond the budget does not."""
    (tmp_path / "own.py").write_text(
        "from robustlab import Attack, probe\n\n\n"
        '@probe("darker")\nclass Darker(Attack):\n    factor: float = 1.0\n'
        '    """share of the budget"""\n\n'
        "    def search(self, model, x, y, start, threat, rng):\n"
        "        return (x - self.factor * threat.eps).clamp(0, 1), y >= 0\n"
    )
    own = f"{tmp_path / 'own.py'}:darker"
    alone = attack(own, lenet, digits, eps="0.3").verified[0]
    noise = attack("noise", lenet, digits, eps="0.3").verified[0]
    assert (alone & ~noise).any()
    both = {"eps": "0.3", "attacks": ["noise", own], "cheapest_first": False}
    found = attack("ensemble", lenet, digits, **both)  # type: ignore[arg-type]
    assert np.array_equal(found.verified[0], alone | noise)
    assert np.array_equal(found.broken_by[0] == 1, alone & ~noise)
    cheat = {"use": own, "factor": 3.0}
    found = attack("ensemble", lenet, digits, eps="0.3", attacks=["noise", cheat])
    assert np.array_equal(found.verified[0], noise)
    assert found.claimed[0][found.clean_correct].all()


def _searched_once(lenet: Backbone, digits: Data) -> None:
    members = [{"use": "fmn", "steps": 20}]
    one = attack("ensemble", lenet, digits, eps="0.04", attacks=members)
    many = attack("ensemble", lenet, digits, eps=["0.02", "0.04", "0.08"], attacks=members)
    assert np.array_equal(one.verified[0], many.verified[1])
    assert many.passes.sum() == one.passes.sum()


def test_a_minimum_norm_member_is_searched_once(lenet: Backbone, digits: Data) -> None:
    _searched_once(lenet, digits)


def test_a_search_at_every_budget_is_caught(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: what was found is forgotten from one budget to the next."""
    whole = Batch._smallest

    def forgetful(self: Batch, *args: Any) -> Any:
        self.kept.clear()
        return whole(self, *args)

    monkeypatch.setattr(Batch, "_smallest", forgetful)
    with pytest.raises(AssertionError):
        _searched_once(lenet, digits)


def test_a_minimum_norm_member_is_held_against_every_budget(lenet: Backbone, digits: Data) -> None:
    """Beside others, it breaks at each eps what lies within it, and comes first where cheapest."""
    budgets = ["0.02", "0.05", "0.1"]
    members: list[Any] = ["fgsm", {"use": "fmn", "steps": 20}]
    found = attack("ensemble", lenet, digits, eps=budgets, attacks=members)
    parts = [
        attack("fgsm", lenet, digits, eps=budgets),
        attack("fmn", lenet, digits, eps=budgets, steps=20),
    ]
    fragile = np.logical_or.reduce([one.fragile for one in (found, *parts)])
    union = parts[0].verified | parts[1].verified
    assert np.array_equal(found.verified[~fragile], union[~fragile])
    assert (parts[1].verified & ~parts[0].verified)[~fragile].any()


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([], "attacks is empty"),
        (["pdg"], "did you mean 'pgd'"),
        (["clean"], "is a probe, not an attack"),
        ([{"steps": 3}], "has no name"),
        ([{"use": "pgd", "step": 3}], "did you mean 'steps'"),
    ],
)
def test_refused(lenet: Backbone, digits: Data, members: Any, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        attack("ensemble", lenet, digits, eps="0.1", attacks=members)


def _edited_is_another(tmp_path: Path, lenet: Backbone, digits: Data) -> None:
    file = tmp_path / "mine.py"
    text = (
        "from robustlab import Attack, probe\n\n\n"
        '@probe("mine")\nclass Mine(Attack):\n'
        "    def search(self, model, x, y, start, threat, rng):\n        return x + {}\n"
    )

    def identity(shift: float) -> str:
        file.write_text(text.format(shift))
        probe = {"use": "ensemble", "eps": ["0.1"], "attacks": [f"{file}:mine"]}
        suite = Suite.from_dict({"probe": [probe]}, "s", tmp_path)
        return plan.make_plan(suite, [lenet], digits).cells[-1].id

    assert identity(0.0) == identity(0.0)
    assert identity(0.0) != identity(0.1)


def test_an_edited_member_is_another_cell(
    tmp_path: Path, lenet: Backbone, digits: Data, forget: None
) -> None:
    _edited_is_another(tmp_path, lenet, digits)


def test_an_edit_that_goes_unseen_is_caught(
    tmp_path: Path,
    lenet: Backbone,
    digits: Data,
    forget: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutant: a cell knows the ensemble's own code alone."""
    monkeypatch.setattr(plan, "source_of", lambda bound: bound.registered.source)
    with pytest.raises(AssertionError):
        _edited_is_another(tmp_path, lenet, digits)
