"""The registry is the test matrix: every attack of the catalogue, in every norm it names, keeps the
contract. A new file in attacks/ is tested by being there. The oracles are shown to fail on broken
attacks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustlab import Attack, catalogue, testing
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.registry import resolve

EPS = {
    "linf": ["0.05", "0.15"],
    "l2": ["0.5", "1.5"],
    "l1": ["4", "12"],
    "l0": ["4px", "10px"],
    "spatial": ["1px", "2.5px"],
}
# Where a budget must be larger for an attack to do anything at all.
OWN_EPS = {"patch": {"l0": ["36px", "100px"]}}
# Parameters that keep a search short, and those that an attack cannot do without.
SMALL = {"steps": 8, "queries": 40, "targets": 2, "rounds": 3, "angles": 5, "shifts": 3}
NEEDED = {
    "patch": {"learn_on": "digits:train", "take": 100, "epochs": 2},
    "universal": {"learn_on": "digits:train", "take": 100, "epochs": 2},
    "transfer": {"surrogates": ["lenet5-avg@digits"]},
    "bisection": {"settings": {"steps": 8, "targets": 2}},
    "ensemble": {"attacks": ["fgsm", {"use": "pgd", "steps": 8}]},
}
# What it takes to do better than noise, where that is more.
ENOUGH = {
    "patch": {"take": 300, "epochs": 5},
    "universal": {"take": 300, "epochs": 5},
    "square": {"queries": 800},
    "sparse_rs": {"queries": 800},
}
UNTARGETED = ("autoattack",)
# Everyday each attack is tried in one norm alone, without a target.
MATRIX = [
    pytest.param(
        entry.name,
        norm,
        target,
        marks=[pytest.mark.slow] if (norm, target) != (entry.facts["norms"][0], None) else [],
    )
    for entry in catalogue.entries().values()
    if entry.kind == "attack"
    for norm in entry.facts["norms"]
    for target in (None, "next")
    if target is None or entry.name not in UNTARGETED
]


def _attack(name: str, norm: str, target: str | None, **params: Any) -> Attack:
    registered = resolve(name)
    known = {p.name for p in catalogue.entries()[name].parameters}
    small = {key: value for key, value in SMALL.items() if key in known}
    needed = {**small, **NEEDED.get(name, {}), **params}
    eps = OWN_EPS.get(name, EPS)[norm]
    bound = bind(registered, {"norm": norm, "eps": eps, "target": target, **needed})
    attack: Attack = registered.obj(**bound)
    return attack


@pytest.mark.parametrize(("name", "norm", "target"), MATRIX)
def test_the_catalogue_keeps_the_contract(
    lenet: Backbone, digits: Data, name: str, norm: str, target: str | None
) -> None:
    testing.check_attack(_attack(name, norm, target), lenet, digits.subset(np.arange(12)))


@pytest.mark.parametrize(
    ("name", "norm"),
    [pytest.param(*p.values[:2], marks=p.marks) for p in MATRIX if p.values[2] is None],
)
def test_gradient_attacks_beat_the_control(
    lenet: Backbone, digits: Data, name: str, norm: str
) -> None:
    if catalogue.entries()[name].facts["knowledge"] == "none":
        return
    if norm == "spatial":
        pytest.skip("no noise turns or moves an image; test_spatial.py draws poses instead")
    found = _attack(name, norm, None, **ENOUGH.get(name, {}))(lenet, digits).verified.sum()
    same = {"eps": OWN_EPS.get(name, EPS)[norm]}
    noise = _attack("noise", norm, None, **same)(lenet, digits).verified.sum()
    assert found > noise + 5


@pytest.mark.parametrize("name", ["fgsm", "bim"])
def test_restarts_of_a_fixed_start_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="restarts repeat the same search"):
        _attack(name, "linf", None, restarts=2)


class _OutOfBudget(Attack):
    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        return 1.0 - x, torch.ones_like(y, dtype=torch.bool)


class _NaN(Attack):
    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        return x * torch.nan, torch.ones_like(y, dtype=torch.bool)


class _DoesNothing(Attack):
    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        return x, torch.ones_like(y, dtype=torch.bool)


@pytest.mark.parametrize("cheat", [_OutOfBudget, _NaN, _DoesNothing])
def test_a_claim_alone_counts_for_nothing(lenet: Backbone, digits: Data, cheat: Any) -> None:
    found = cheat(eps=["0.1"])(lenet, digits)
    right = found.clean_correct
    assert found.claimed[0][right].all()
    assert not found.verified[0][right].any()
    assert found.robust_accuracy["0.1"].value == found.clean_accuracy.value
    assert np.isinf(found.distance[0][right]).all()


def test_check_budget_catches_a_judge_that_waves_through(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustlab.adversarial import Judge, evaluate

    class Lax(Judge):
        def within(self, x_adv: Any, x: Any, threat: Any) -> Any:
            _, size = super().within(x_adv, x, threat)
            return torch.ones_like(size, dtype=torch.bool), size

    monkeypatch.setattr(evaluate, "Judge", Lax)
    with pytest.raises(AssertionError, match="do not verify again"):
        testing.check_budget(_OutOfBudget(eps=["0.1"]), lenet, digits)


class _GlobalNoise(Attack):
    """Mutant: draws from the global generator, which is seeded once for all batches."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        return threat.constrain(x + torch.randn_like(x), x)


class _FreshNoise(Attack):
    """Mutant: draws from a generator that nobody seeded."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        return threat.constrain(x + x.new_tensor(np.random.default_rng().normal(size=x.shape)), x)


class _BatchNoise(Attack):
    """Mutant: one seeded draw for the whole batch, so companions matter."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        return threat.constrain(x + torch.randn(x.shape, generator=generator), x)


class _BatchMean(Attack):
    """Mutant: follows the batch's mean image."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        away = (x - x.mean(dim=0)).sign()
        return threat.constrain(x - threat.eps * away, x)


class _Meddles(Attack):
    """Mutant: turns gradients on and leaves them."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        _VICTIM.network.requires_grad_(True)
        return x


_VICTIM: Backbone


def test_check_seed_catches_an_unseeded_generator(lenet: Backbone, digits: Data) -> None:
    with pytest.raises(AssertionError, match="equal seeds"):
        testing.check_seed(_FreshNoise(eps=["0.3"]), lenet, digits)


@pytest.mark.parametrize("mutant", [_GlobalNoise, _BatchNoise, _BatchMean])
def test_check_batch_and_order_catches_companions(
    lenet: Backbone, digits: Data, mutant: Any
) -> None:
    with pytest.raises(AssertionError, match="changed the verdict"):
        testing.check_batch_and_order(mutant(eps=["0.3"]), lenet, digits)


def test_check_model_untouched_catches_meddling(digits: Data) -> None:
    global _VICTIM
    from robustlab.backbones import load_backbone

    _VICTIM = load_backbone("lenet5-max@digits")
    with pytest.raises(AssertionError, match="changed the network"):
        testing.check_model_untouched(_Meddles(eps=["0.1"]), _VICTIM, digits)
