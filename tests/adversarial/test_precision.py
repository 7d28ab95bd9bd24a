"""Searches in bfloat16 first: what they break is verified like anything else, what they leave is
searched again in float32, so that no image is left that float32 alone would have broken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustlab import Attack
from robustlab.adversarial import evaluate as evaluate_module
from robustlab.adversarial import ways as ways_module
from robustlab.adversarial.fastpath import half_copy, search_copy
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.planted import planted
from robustlab.registry import resolve

EPS = {"linf": ["0.1", "0.03", "0.06"], "l2": ["1", "0.3"], "l1": ["10", "3"]}


def _made(name: str, norm: str = "linf", **params: Any) -> Attack:
    found: Attack = resolve(name).obj(eps=EPS[norm], norm=norm, **params)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "norm", "params"),
    [
        ("pgd", "linf", {"steps": 10, "restarts": 2}),
        ("pgd", "l2", {"steps": 10}),
        ("apgd", "l1", {"steps": 15}),
        ("apgdt", "linf", {"steps": 10, "targets": 2}),
        ("ensemble", "linf", {"attacks": ["fgsm", {"use": "pgd", "steps": 10}, "fmn"]}),
    ],
)
def test_never_weaker_than_float32_alone(
    lenet: Backbone, digits: Data, name: str, norm: str, params: dict[str, Any]
) -> None:
    attack = _made(name, norm, **params)
    both = attack(lenet, digits, precision="bfloat16")
    alone = attack(lenet, digits)
    assert (both.verified >= alone.verified).all()
    assert (both.verified_8bit >= alone.verified_8bit).all()
    assert both.quick is not None
    assert both.quick.sum() > 10  # else the quick search did nothing
    assert (both.quick <= both.verified).all()
    order = np.argsort([float(e) for e in both.eps])
    assert (np.diff(both.quick[order].astype(int), axis=0) >= 0).all()
    assert alone.quick is None
    assert any("bfloat16" in note for note in both.notes)
    assert not any("bfloat16" in note for note in alone.notes)


def test_without_the_second_search_images_would_be_lost(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: a quick network that leads astray, and no float32 search after it."""
    attack = _made("pgd", steps=10)
    alone = attack(lenet, digits).verified

    def astray(network: torch.nn.Module, shape: Any) -> torch.nn.Module:
        return Reversed(half_copy(network, shape))

    monkeypatch.setattr(ways_module, "half_copy", astray)
    assert (attack(lenet, digits, precision="bfloat16").verified >= alone).all()

    def once(*args: Any, **kwargs: Any) -> Any:
        return [ways[:1] for ways in ways_module.ways_of(*args, **kwargs)]

    monkeypatch.setattr(evaluate_module, "ways_of", once)
    assert attack(lenet, digits, precision="bfloat16").verified.sum() < alone.sum() / 2


class Reversed(torch.nn.Module):
    """Logits upside down: gradients away from every mistake."""

    def __init__(self, network: torch.nn.Module | None) -> None:
        super().__init__()
        assert network is not None
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = -self.network(x)
        return logits


def test_what_the_quick_search_claims_is_not_the_attacks_word(
    lenet: Backbone, digits: Data
) -> None:
    """In bfloat16 it takes images for fooled that are not: no violation of the attack."""
    found = _made("pgd", steps=10)(lenet, digits, precision="bfloat16")
    assert all(not refused.any() for refused in found.stray.values())


def test_losses_are_those_of_the_float32_search(lenet: Backbone, digits: Data) -> None:
    attack = _made("pgd", steps=10, early_exit=False, loss="margin")
    both, alone = attack(lenet, digits, precision="bfloat16"), attack(lenet, digits)
    stood = ~both.verified[1] & ~alone.verified[1]
    assert stood.sum() > 3
    key = (0, 1)
    first = [found.losses[key][stood, :2] for found in (both, alone)]
    assert np.allclose(*first, rtol=1e-4, atol=1e-5)
    traced = attack(half_of(lenet), digits).losses[key][stood, :2]
    assert not np.allclose(traced, first[1], rtol=1e-4, atol=1e-5)  # bfloat16's own are others


def half_of(lenet: Backbone) -> Backbone:
    network, _ = search_copy(lenet.network, lenet.input_shape)
    lowered = half_copy(network, lenet.input_shape)
    assert lowered is not None

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = lowered

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(x.to(torch.bfloat16)).float()
            return logits

    return Backbone(Half().eval(), input_shape=(1, 32, 32), classes=10, name="half")


def test_a_network_that_bfloat16_breaks_is_searched_in_float32_alone(
    lenet: Backbone, digits: Data
) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.bfloat16:
                raise TypeError("float32 only")
            logits: torch.Tensor = lenet.network(x)
            return logits

    fixed = Backbone(Fixed().eval(), input_shape=(1, 32, 32), classes=10, name="fixed")
    assert _made("fgsm")(fixed, digits, precision="bfloat16").quick is None
    network, _ = search_copy(fixed.network, fixed.input_shape)
    assert half_copy(network, fixed.input_shape) is None


def test_surrogates_and_smallest_perturbations_keep_the_last_bits(
    lenet: Backbone, digits: Data
) -> None:
    few = digits.subset(np.arange(6))
    assert _made("fmn", steps=10)(lenet, few, precision="bfloat16").quick is None
    assert _made("square", queries=20)(lenet, few, precision="bfloat16").quick is None
    quantised = planted("quantised", lenet)

    class Through(Attack):
        def surrogate(self, module: Any) -> Any:
            module.quantise = self.straight_through(module.quantise)
            return module

        def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
            return self.gradient_search(model, x, y, start, threat, steps=3, step_size=0.05)

    assert Through(eps=["0.1"])(quantised, few, precision="bfloat16").quick is None


def test_bfloat16_is_credited_with_what_it_broke(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick network that leads astray breaks nothing, whatever float32 broke before."""
    monkeypatch.setattr(ways_module, "half_copy", lambda n, s: Reversed(half_copy(n, s)))
    both = _made("pgd", steps=10, restarts=2)(lenet, digits, precision="bfloat16")
    assert both.quick is not None
    assert both.quick.sum() <= 2
    assert both.verified.sum() > 30


def test_a_random_network_has_no_quick_search(lenet: Backbone, digits: Data) -> None:
    """The search in float32 afterwards would not be the one that float32 alone makes."""

    class Noisy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = lenet.network((x + 0.01 * torch.randn_like(x)).float())
            return logits

    noisy = Backbone(Noisy().eval(), input_shape=(1, 32, 32), classes=10, name="noisy")
    assert _made("fgsm")(noisy, digits.subset(np.arange(4)), precision="bfloat16").quick is None


class Endless(torch.nn.Module):
    """Gradients that are no numbers: the slope of a root at 0, times 0."""

    def __init__(self, network: torch.nn.Module | None) -> None:
        super().__init__()
        assert network is not None
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nothing = (x * 0).flatten(1).sum(dim=1, keepdim=True).sqrt()
        logits: torch.Tensor = self.network(x) + nothing
        return logits


def test_what_only_bfloat16_loses_is_not_held_against_the_attack(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The float32 search after it is sound; alone, such a network is told."""
    attack = _made("pgd", steps=5)
    broken = Backbone(Endless(lenet.network).eval(), input_shape=(1, 32, 32), classes=10, name="e")
    assert attack(broken, digits).broken_gradients.sum() > 0
    monkeypatch.setattr(ways_module, "half_copy", lambda n, s: Endless(half_copy(n, s)))
    found = attack(lenet, digits, precision="bfloat16")
    assert found.quick is not None
    assert found.broken_gradients.sum() == 0
