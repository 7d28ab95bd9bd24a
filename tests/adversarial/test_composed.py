"""Attacks made of others, and searches for the smallest perturbation: what one owes the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from robustlab import Attack, Threat, attack
from robustlab.adversarial import Access
from robustlab.adversarial.auto_pgd import auto_pgd
from robustlab.adversarial.gradients import glance, look
from robustlab.adversarial.losses import cross_entropy
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.planted import planted
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve
from robustlab.resting import still_rising

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


@pytest.mark.parametrize("verified", [True, False])
def test_a_targeted_walk_ends_when_the_judge_says_so(
    lenet: Backbone, digits: Data, verified: bool
) -> None:
    """Not when the search thinks so: what is lost as pixels is walked at every class."""
    x = torch.tensor(digits.batch(np.arange(6)))
    y = torch.tensor(np.asarray(digits.labels[:6]))
    access = Access(lenet.network, 6, lambda rows, x_adv: torch.full_like(rows == 0, verified))
    apgdt = resolve("apgdt").obj(eps=["0.4"], steps=8, targets=3)
    with torch.no_grad():
        found, claimed = apgdt.search(access, x, y, x, Threat("linf", 0.4), _random(digits, 6))
    assert claimed.all()
    assert (lenet(found).argmax(dim=1) != y).all()
    assert (access.backward_passes < 8 if verified else access.backward_passes == 24).all()


def _random(data: Data, n: int) -> SampleRandom:
    return SampleRandom(0, list(data.ids[:n]))


def _traced(lenet: Backbone, digits: Data, name: str, norm: str, **params: Any) -> Access:
    x = torch.tensor(digits.batch(np.arange(len(digits))))
    y = torch.tensor(np.asarray(digits.labels))
    eps = {"linf": 0.01, "l1": 6.0}[norm]
    walker, threat = resolve(name).obj(eps=[str(eps)], norm=norm, **params), Threat(norm, eps)
    access, random = Access(lenet.network, len(x)), _random(digits, len(x))
    with torch.no_grad():
        walker.search(access, x, y, walker.start(x, threat, random), threat, random)
    return access


def test_losses_are_of_one_walk_in_the_ball_that_was_asked_for(
    lenet: Backbone, digits: Data
) -> None:
    """The walks through larger L1 balls reach losses that this ball does not hold."""
    access = _traced(lenet, digits, "apgd", "l1", steps=20)
    assert access.trace.loss.shape[1] == 8
    assert (access.trace.steps == 20).all()
    targeted = _traced(lenet, digits, "apgdt", "linf", steps=20, targets=3)
    assert targeted.trace.loss.shape[1] == 20
    assert (targeted.trace.steps == 60).all()


def test_a_rising_l1_walk_is_seen_to_rise(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every ball's losses joined into one curve the largest are of the first ball."""

    def rising() -> int:
        loss = _traced(lenet, digits, "apgd", "l1", steps=14).trace.loss.astype(float)
        return int(still_rising(loss).sum())

    assert rising() > 10
    monkeypatch.setattr(Access, "untraced", lambda self: self)
    assert rising() == 0


def test_members_of_one_name_are_told_apart(lenet: Backbone, digits: Data) -> None:
    twice = {"attacks": ["pgd", "pgd"], "cheapest_first": False}
    found = attack("ensemble", lenet, digits, eps="0.01", **twice)
    assert found.stages == ("pgd", "pgd #2")
    cost = found.outcome().cost
    assert cost["forward[pgd]"] + cost["forward[pgd #2]"] == cost["forward"]
    first, second = found.losses[0, 0], found.losses[1, 0]
    assert not np.array_equal(first, second, equal_nan=True)  # they begin elsewhere


def test_the_last_look_means_the_losses_of_all_draws(lenet: Backbone, digits: Data) -> None:
    """As the looks before it do; the loss of the mean logits is another number."""

    class Noisy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = lenet.network(x + 0.3 * torch.randn_like(x))
            return logits

    x = torch.tensor(digits.batch(np.arange(6)))
    y = torch.tensor(np.asarray(digits.labels[:6]))
    access = Access(Noisy(), 6, draws=4)
    torch.manual_seed(0)
    logits, value, _ = look(access, x, y, None, cross_entropy)
    torch.manual_seed(0)
    last, glanced = glance(access, x, y, None, cross_entropy)
    assert torch.allclose(last, logits, atol=1e-5)
    assert torch.allclose(glanced, value, atol=1e-5)
    assert not torch.allclose(glanced, cross_entropy(last, y), atol=1e-2)


def test_a_zero_gradient_where_the_goal_is_reached_is_no_sign_of_masking(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the larger L1 balls DLR is flat where the label has fallen to the third place."""
    params = {"norm": "l1", "eps": "4", "loss": "dlr", "steps": 40}
    assert attack("apgd", lenet, digits, **params).zero_gradients.sum() == 0
    monkeypatch.setattr("robustlab.adversarial.gradients.fooled", lambda *_: torch.tensor(False))
    assert attack("apgd", lenet, digits, **params).zero_gradients.sum() > 10


class Fickle(Attack):
    """On a network that one bright pixel fools: wins at 0.4, fails at 0.2, wins by 0.05 at 0.3."""

    tried: ClassVar[list[float]] = []

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        eps = round(float(threat.eps.flatten()[0]), 3)
        self.tried.append(eps)
        return (x + {0.4: 0.4, 0.3: 0.05}.get(eps, 0.0)).clamp(0.0, 1.0)


class Bright(torch.nn.Module):
    """Says 1 where the mean pixel is above 0.5."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.flatten(1).mean(dim=1, keepdim=True) - 0.5
        return torch.cat([-mean, mean], dim=1)


def test_bisection_takes_back_a_failure_further_out_than_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once 0.05 is known to do, that 0.2 once failed must not end the search."""
    Fickle.tried.clear()
    bisection = resolve("bisection").obj(eps=["0.4"], attack="pgd", rounds=6)
    monkeypatch.setattr(type(bisection), "inner", Fickle(eps=["0.4"]))
    x, y = torch.full((1, 1, 4, 4), 0.46), torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        access, random = Access(Bright().eval(), 1), SampleRandom(0, ["one"])
        found, claimed = bisection.search(access, x, y, x, Threat("linf", 0.4), random)
    assert claimed.all()
    assert float((found - x).max()) <= 0.0501
    assert Fickle.tried[:3] == [0.4, 0.2, 0.3]
    assert Fickle.tried[3] == 0.025  # halfway to the nearest success, from nothing


def test_a_step_of_no_length_is_taken_at_its_word(lenet: Backbone, digits: Data) -> None:
    assert attack("fmn", lenet, digits, eps="0.3", steps=20).verified.sum() > 20
    still = attack("fmn", lenet, digits, eps="0.3", steps=20, step_size=0.0)
    assert not (still.verified[0] & still.clean_correct).any()
