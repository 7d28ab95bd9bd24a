"""Networks that answer at random: gradients, logits and verdicts are means of ``eot`` passes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustlab import attack
from robustlab.adversarial import Access, Judge, batch
from robustlab.adversarial.gradients import look
from robustlab.adversarial.losses import margin
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.seeding import seeded


class _Noisy(nn.Module):
    """Noise on the pixels (randomised smoothing's forward pass)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = copy.deepcopy(inner)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x + 0.3 * torch.randn_like(x))
        return logits


class _Dropping(_Noisy):
    """Dropout that stays on in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(functional.dropout(x, 0.3, training=True))
        return logits


class _NoisyLogits(_Noisy):
    """The sound network under noise of its own size: one pass says little, many say all."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits + 8.0 * torch.randn_like(logits)


def _random(lenet: Backbone, kind: Callable[[nn.Module], nn.Module]) -> Backbone:
    return Backbone(
        kind(lenet.module).eval(), input_shape=lenet.input_shape, classes=lenet.classes, name="r"
    )


# Gradients ---------------------------------------------------------------------------------------


def _gradient(network: nn.Module, data: Data, draws: int, seed: int) -> Tensor:
    x, y = torch.tensor(data.batch(np.arange(8))), torch.tensor(np.asarray(data.labels[:8]))
    with seeded(seed):
        return look(Access(network, 8, draws=draws), x, y, None, margin)[2]


def _closer(network: nn.Module, data: Data) -> float:
    """How many times closer to the mean gradient 64 draws are than one; about 8 in theory.

    Of the margin: the gradient of cross-entropy is close to zero but for rare draws where the
    network errs, so that three seeds would not show its variance.
    """
    truth = _gradient(network, data, 1000, seed=0)
    gaps = {
        draws: [float((_gradient(network, data, draws, s) - truth).norm()) for s in (1, 2, 3)]
        for draws in (1, 64)
    }
    return sum(gaps[1]) / sum(gaps[64])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [_Noisy, _Dropping])
def test_many_draws_come_close_to_the_mean_gradient(
    kind: type[_Noisy], lenet: Backbone, digits: Data
) -> None:
    assert _closer(_random(lenet, kind).network, digits) > 4


@pytest.mark.slow
def test_the_same_draw_again_does_not(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: a look's draws are one draw, repeated."""
    once = Access.once

    def same(self: Access, x: Tensor) -> Tensor:
        state = torch.get_rng_state()
        logits = once(self, x)
        if self.draws == 64:
            torch.set_rng_state(state)
        return logits

    monkeypatch.setattr(Access, "once", same)
    assert _closer(_random(lenet, _Noisy).network, digits) < 2


# Passes ------------------------------------------------------------------------------------------

_TRIES: list[tuple[str, dict[str, Any]]] = [
    ("pgd", {"steps": 3}),
    ("apgd", {"steps": 5}),
    ("square", {"queries": 5}),
    ("sparse_rs", {"queries": 5, "eps": "1px"}),
    ("sigma_zero", {"steps": 3, "aimed": 1, "shrinking": 2, "putback": 0, "eps": "1px"}),
    ("foolbox:LinfProjectedGradientDescentAttack", {"steps": 3}),
]


def _times(name: str, params: dict[str, Any], backbone: Backbone, data: Data) -> float:
    """How many times the passes of one draw are counted with seven."""
    one, many = (
        attack(name, backbone, data.subset(np.arange(6)), eot=k, **{"eps": "0.02", **params})
        for k in (1, 7)
    )
    both = one.clean_correct & many.clean_correct & ~one.verified[0] & ~many.verified[0]
    assert both.any()
    return float(many.passes[0][both].sum() / one.passes[0][both].sum())


@pytest.mark.parametrize(("name", "params"), _TRIES)
def test_every_draw_is_counted(
    name: str, params: dict[str, Any], lenet: Backbone, digits: Data
) -> None:
    assert _times(name, params, _random(lenet, _Noisy), digits) == 7


def test_a_draw_that_is_not_counted_is_missed(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: only the first draw of a call goes through the counter."""

    def forward(self: Access, x: Tensor) -> Tensor:
        rest = [self.logits(x) for _ in range(self.draws - 1)]
        mean: Tensor = torch.stack([self.once(x), *rest]).mean(dim=0)
        return mean

    monkeypatch.setattr(Access, "forward", forward)
    assert _times("square", {"queries": 5}, _random(lenet, _Noisy), digits) < 7


# Results -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", [_Noisy, _Dropping])
@pytest.mark.parametrize(("name", "params"), _TRIES)
def test_equal_seeds_give_equal_results(
    name: str, params: dict[str, Any], kind: type[_Noisy], lenet: Backbone, digits: Data
) -> None:
    backbone, few = _random(lenet, kind), digits.subset(np.arange(6))
    if name == "sigma_zero":  # whose images are all clean ones where the budget is too small
        params = {**params, "eps": "1000px"}
    found = []
    for stray in (1, 2):
        torch.manual_seed(stray)
        found.append(attack(name, backbone, few, **{"eps": "0.05", "eot": 3, "seed": 4, **params}))
        assert torch.initial_seed() == stray
    assert np.array_equal(found[0].images, found[1].images)
    assert np.array_equal(found[0].verified, found[1].verified)
    other = attack(name, backbone, few, **{"eps": "0.05", "eot": 3, "seed": 5, **params})
    assert not np.array_equal(found[0].images, other.images)


def _agreement(lenet: Backbone, data: Data, eot: int) -> float:
    """On how many images a noisy network's verdict is that of the network without the noise."""
    noisy = attack("noise", _random(lenet, _NoisyLogits), data, eps="0.0001", eot=eot)
    sound = attack("noise", lenet, data, eps="0.0001")
    return float((noisy.clean_correct == sound.clean_correct).mean())


@pytest.mark.slow
def test_verdicts_are_those_of_the_mean(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _agreement(lenet, digits, eot=1) < 0.9
    assert _agreement(lenet, digits, eot=100) >= 0.95
    monkeypatch.setattr(Judge, "logits", _one_draw)  # mutant: the judge looks once
    assert _agreement(lenet, digits, eot=100) < 0.9


def _one_draw(self: Judge, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = self.network(x)
    return logits


def _robust_though_wrong(lenet: Backbone, data: Data) -> int:
    """Images that the network gets wrong unattacked, and that count as robust all the same."""
    found = attack("noise", _random(lenet, _NoisyLogits), data, eps="0.0001")
    return int((~found.clean_correct & ~found.verified[0]).sum())


def test_what_is_wrong_unattacked_is_never_robust(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clean image is looked at once: a second look might find it right."""
    assert _robust_though_wrong(lenet, digits) == 0
    whole = Judge.verify
    monkeypatch.setattr(Judge, "verify", lambda self, *args: whole(self, *args[:5]))  # mutant
    assert _robust_though_wrong(lenet, digits) > 0


@pytest.mark.slow
def test_averaging_makes_the_attack_stronger(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by the same mean of 30 passes, PGD that follows 30 draws beats PGD that follows one.

    The latter is the mutant: its search sees one draw, the judge as many as before.
    """
    backbone = _random(lenet, _Noisy)
    settings: dict[str, Any] = {"eps": "0.12", "steps": 10, "random_start": False, "eot": 30}
    followed = attack("pgd", backbone, digits, **settings).verified.sum()
    monkeypatch.setattr(batch, "Access", _single)
    assert attack("pgd", backbone, digits, **settings).verified.sum() < followed


def _single(network: nn.Module, n: int, referee: Any, dtype: Any, draws: int) -> Access:
    return Access(network, n, referee, dtype, 1)
