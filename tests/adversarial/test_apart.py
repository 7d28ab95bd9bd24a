"""Attacks whose budgets are apart: noise, what is made on other networks, what is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustlab import Attack, attack
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.registry import resolve

MANY = [f"{0.3 + 0.005 * step:.3f}" for step in range(21)]
TRIES: list[tuple[str, dict[str, Any]]] = [
    ("noise", {}),
    ("transfer", {"surrogates": ["mlp@digits"], "diversity": 0.9, "steps": 4}),
    ("universal", {"epochs": 5}),
]


def shared(lenet: Backbone, digits: Data, name: str, params: dict[str, Any]) -> int:
    """Images that a list of budgets fools at its largest eps, and that eps alone does not."""
    eps = MANY if name == "noise" else [f"{0.04 + 0.01 * step:.3f}" for step in range(12)]
    listed = attack(name, lenet, digits, eps=eps, **params).verified[-1]
    alone = attack(name, lenet, digits, eps=eps[-1:], **params).verified[0]
    assert 0 < alone.sum() < len(digits)
    return int((listed != alone).sum())


@pytest.mark.parametrize(("name", "params"), TRIES)
def test_a_list_of_budgets_is_no_choice_among_tries(
    lenet: Backbone, digits: Data, name: str, params: dict[str, Any]
) -> None:
    assert shared(lenet, digits, name, params) == 0


def test_verdicts_that_are_shared_are_seen(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attack, "apart", False)
    assert shared(lenet, digits, *TRIES[0]) > 3


@pytest.mark.parametrize(
    ("name", "params", "apart"),
    [
        *((name, params, True) for name, params in TRIES),
        ("pgd", {}, False),
        ("ensemble", {"attacks": ["noise", "pgd"]}, False),
        ("ensemble", {"attacks": ["noise", {"use": "transfer", "surrogates": ["x"]}]}, True),
    ],
)
def test_what_asks_the_network_shares(name: str, params: dict[str, Any], apart: bool) -> None:
    assert resolve(name).obj(eps=["0.1"], **params).apart == apart


def test_transfer_never_takes_its_target_from_the_network(lenet: Backbone, digits: Data) -> None:
    from robustlab.errors import BadRequest

    with pytest.raises(BadRequest, match="least-likely is the word of the network attacked"):
        attack("transfer", lenet, digits, eps="0.1", surrogates="mlp@digits", target="least-likely")


def test_an_ensemble_with_a_transfer_in_it_is_not_all_transfer(
    lenet: Backbone, digits: Data
) -> None:
    """What its other stages claim was held against the judge, and that is said."""
    few = digits.subset(np.arange(8))
    made = {"use": "transfer", "surrogates": ["mlp@digits"]}

    def said(attacks: list[Any]) -> str:
        found = attack("ensemble", lenet, few, eps="0.15", attacks=attacks)
        return next(f.sentence for f in found.findings if f.detector == "violations")

    assert "fooled the judge" in said([made, "pgd"])
    assert "fooled the judge" not in said([made])
