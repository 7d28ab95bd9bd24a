"""On a linear network the smallest perturbation is known: attacks succeed above it, never below."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustlab import testing
from robustlab.adversarial import Judge
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.registry import resolve

GRADIENT = ["fgsm", "bim", "pgd"]


def _labelled(backbone: Backbone, data: Data) -> tuple[Data, np.ndarray]:
    """The same images under the labels that the network gives them."""
    x = torch.tensor(data.batch(np.arange(len(data)))).double()
    labels = backbone(x).argmax(dim=1).numpy()
    return Data(data.images, labels, classes=2, ids=data.ids, name="linear"), x.numpy()


def _success(name: str, norm: str, share: float, data: Data, seed: int = 0) -> float:
    """Share of images fooled when each is given ``share`` of its own smallest perturbation."""
    backbone = testing.linear_backbone(seed=seed)
    named, x = _labelled(backbone, data)
    radii = testing.linear_radius(backbone, torch.tensor(x), norm).numpy()
    registered = resolve(name)
    hits = []
    for row in range(len(named)):
        params = {"norm": norm, "eps": [repr(float(share * radii[row]))]}
        if name in ("pgd", "bim"):
            params["steps"] = 60
        if name == "pgd":  # a start on the far side of the ball may not get round in one walk
            params["restarts"] = 3
        found = registered.obj(**bind(registered, params))(backbone, named.subset([row]))
        hits.append(bool(found.verified[0, 0]))
    return float(np.mean(hits))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", GRADIENT)
def test_attacks_reach_just_above_the_radius(name: str, norm: str, near_grey: Data) -> None:
    # One L1 step of full length spends itself on 1 % of the pixels: on 64 pixels that is the best
    # one, as the closed form asks.
    assert _success(name, norm, 1.02, near_grey) >= 0.99


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", [*GRADIENT, "noise"])
def test_nothing_succeeds_below_the_radius(name: str, norm: str, near_grey: Data) -> None:
    assert _success(name, norm, 0.995, near_grey) == 0.0


def test_a_judge_without_a_budget_would_break_the_floor(
    near_grey: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the box alone is checked, and an attack steps out of its ball."""
    from robustlab.adversarial import geometry

    def lax(self: Judge, x_adv: torch.Tensor, x: torch.Tensor, threat: object) -> object:
        size = (x_adv - x).flatten(1).abs().amax(1)
        return torch.ones_like(size, dtype=torch.bool), size

    monkeypatch.setattr(Judge, "within", lax)
    monkeypatch.setattr(geometry.Linf, "project", lambda self, delta, eps: delta)
    assert _success("bim", "linf", 0.995, near_grey) > 0.9


def test_an_attack_that_descends_is_caught(
    near_grey: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the sign of the step flipped."""
    from robustlab.adversarial import geometry

    monkeypatch.setattr(geometry.Linf, "ascent", lambda self, gradient, x: -gradient.sign())
    assert _success("pgd", "linf", 1.02, near_grey) < 0.5
