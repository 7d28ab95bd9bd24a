"""Attacks made of others, and searches for the smallest perturbation: what one owes the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustlab import Threat, attack
from robustlab.adversarial import Access
from robustlab.adversarial.auto_pgd import auto_pgd
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.planted import planted

ADAPTIVE = """
from robustlab import Attack, probe


@probe("through")
class Through(Attack):
    def surrogate(self, module):
        module.quantise = self.straight_through(module.quantise)
        return module

    def search(self, model, x, y, start, threat, rng):
        return self.auto_pgd(model, x, y, start, threat, steps=20)
"""


def test_bisection_searches_on_its_attacks_surrogate(
    tmp_path: Path, lenet: Backbone, digits: Data, forget: None
) -> None:
    (tmp_path / "through.py").write_text(ADAPTIVE)
    own = f"{tmp_path / 'through.py'}:through"
    defended, few = planted("quantised", lenet), digits.subset(np.arange(8))
    alone = attack(own, defended, few, eps="0.15").verified[0]
    assert alone.sum() >= 4
    found = attack("bisection", defended, few, eps="0.15", attack=own, rounds=6)
    assert found.verified[0].sum() >= alone.sum() - 1


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("bisection", {"attack": "autoattack"}, "made of others"),
        ("bisection", {"attack": "ensemble", "settings": {"attacks": ["pgd"]}}, "made of others"),
        ("bisection", {"attack": "foolbox:LinfPGD"}, "one eps for all images"),
        ("bisection", {"settings": {"eot": 5}}, "eot is set on bisection itself"),
        ("ensemble", {"attacks": ["fgsm", "autoattack"]}, "list its attacks one by one"),
        ("ensemble", {"attacks": [{"use": "pgd", "norm": "l2"}]}, "norm is set on ensemble itself"),
        ("ensemble", {"attacks": [{"use": "pgd", "target": "next"}]}, "target is set on ensemble"),
    ],
)
def test_what_cannot_be_composed_is_refused(
    lenet: Backbone, digits: Data, name: str, params: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        attack(name, lenet, digits, eps="0.1", **params)


def test_a_targeted_radius_is_zero_only_at_the_target(lenet: Backbone, digits: Data) -> None:
    """Images that are wrong unattacked, as another class, are not at the target."""
    few = digits.subset(np.arange(6))
    target = int((np.asarray(few.labels)[0] + 2) % 10)
    wrong = Data(few.images, (np.asarray(few.labels) + 1) % 10, classes=10, name="wrong")
    found = attack("fmn", lenet, wrong, eps="0.5", target=target, steps=30)
    assert found.radius is not None
    at_target = found.clean_prediction == target
    assert not found.clean_correct.any()
    assert (found.radius[~at_target] > 0).all()
    assert (found.radius[at_target & (found.labels != target)] == 0).all()


def test_a_member_that_was_left_nothing_is_not_idle(lenet: Backbone, digits: Data) -> None:
    found = attack("ensemble", lenet, digits, eps="0.4", attacks=["pgd", "fmn"])
    assert found.verified.all()
    told = [f.sentence for f in found.findings if f.detector == "idle" and f.level != "green"]
    assert told == []


def test_an_l1_start_decides_for_its_own_image_alone(lenet: Backbone, digits: Data) -> None:
    """One image begins where it is, the others elsewhere."""
    x = torch.tensor(digits.batch(np.arange(4)))
    y = torch.tensor(np.asarray(digits.labels[:4]))
    start, threat = x.clone(), Threat("l1", 2.0)
    start[1:] = threat.constrain(x[1:] + 0.01, x[1:])

    def walk(n: int) -> torch.Tensor:
        access = Access(lenet.network, n)
        return auto_pgd(access, x[:n], y[:n], start[:n], threat, steps=5, larger_radii=False)[0]

    assert torch.allclose(walk(1)[0], walk(4)[0], atol=1e-5)
