"""Outcomes do not depend on batch size, order, part of the data or early exit, on shipped networks.

Images whose verdict lies within rounding of the boundary are named as fragile, and only those may
differ; they are less than half a per cent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from robustlab import Attack, catalogue
from robustlab.adversarial import Found
from robustlab.backbones import Backbone, load_backbone
from robustlab.binding import bind
from robustlab.data import Data, load_data
from robustlab.registry import resolve

SHIPPED = ["lenet5-max", "lenet5-avg", "mlp", "local", "resnet20-narrow", "lenet5-robust"]
LONG = ("resnet20-narrow", "local")  # a pass takes several times as long as the others'
ATTACKS: list[tuple[str, dict[str, Any]]] = [
    ("pgd", {"steps": 20}),
    ("apgd", {"steps": 20}),
    ("square", {"queries": 60}),
]
EPS = ["0.05", "0.1"]


@pytest.fixture(scope="module")
def hundred() -> Data:
    return load_data("digits:test", take=100, seed=1)


def _registered(name: str, **params: Any) -> Attack:
    if name not in catalogue.entries():
        pytest.skip(f"no attack {name} in the catalogue")
    registered = resolve(name)
    attack: Attack = registered.obj(**bind(registered, {"eps": EPS, **params}))
    return attack


def _others(attack: Attack, backbone: Backbone, data: Data) -> Iterator[tuple[str, Found, Any]]:
    """What else should give the same: how, the result, and the rows of the data that it holds."""
    rows = np.arange(len(data))
    yield "batch size", attack(backbone, data, batch=7), rows
    order = np.random.default_rng(3).permutation(len(data))
    yield "order", attack(backbone, data.subset(order)), order
    part = rows[1::3]
    yield "part", attack(backbone, data.subset(part)), part
    yield "early exit", replace(attack, early_exit=False)(backbone, data), rows


def _changed(attack: Attack, backbone: Backbone, data: Data) -> dict[str, int]:
    """How many verdicts change with what, images named as fragile left aside."""
    reference, changed = attack(backbone, data), {}
    assert reference.fragile.mean() < 0.005
    assert 0 < reference.verified.mean() < 1
    for what, other, rows in _others(attack, backbone, data):
        named = reference.fragile[:, rows] | other.fragile
        differ = (reference.verified[:, rows] != other.verified) & ~named
        changed[what] = int(differ.sum())
    return changed


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), ATTACKS)
@pytest.mark.parametrize("shipped", SHIPPED)
def test_verdicts_are_each_images_own(
    shipped: str, name: str, params: dict[str, Any], hundred: Data
) -> None:
    attack = _registered(name, **params)
    many = 40 if shipped in LONG else 100
    changed = _changed(attack, load_backbone(f"{shipped}@digits"), hundred.subset(range(many)))
    assert not any(changed.values()), changed


class _FollowsTheFirst(Attack):
    """Mutant: steps away from the batch's first image."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        return threat.constrain(x - 2 * threat.eps * (x - x[:1]).sign(), x)


class _LeavesTooSoon(Attack):
    """Mutant: takes early exit for leave to stop after one step."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        steps = 1 if self.early_exit else 10
        size = threat.eps / 4
        return self.gradient_search(model, x, y, x, threat, steps=steps, step_size=size)


@pytest.mark.parametrize(
    ("mutant", "by"),
    [(_FollowsTheFirst, {"batch size", "order", "part"}), (_LeavesTooSoon, {"early exit"})],
)
def test_a_mutant_is_caught(mutant: Any, by: set[str], lenet: Backbone, hundred: Data) -> None:
    changed = _changed(mutant(eps=EPS), lenet, hundred)
    assert {what for what, count in changed.items() if count} == by
