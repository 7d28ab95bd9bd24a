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


LEADS = (0.02, 0.2)  # of the predicted class, in logits; about what images near grey have


def _levelled(backbone: Backbone, data: Data, lead: float) -> Data:
    """The images moved along the weights until every one has that lead, so that one budget is the
    same share of each one's smallest perturbation; under the labels that the network gives them."""
    x = torch.tensor(data.batch(np.arange(len(data)))).double()
    logits = backbone(x)
    slope = next(p for p in backbone.network.parameters() if p.dim() == 2).detach().diff(dim=0)[0]
    now = logits[:, 1] - logits[:, 0]
    far = (lead * now.sign() - now) / slope.square().sum()
    moved = (x + far.view(-1, 1, 1, 1) * slope.view(1, *x.shape[1:])).float().numpy()
    return Data(moved, logits.argmax(1).numpy(), classes=2, ids=data.ids, name="linear")


def _success(name: str, norm: str, share: float, data: Data, seed: int = 0) -> float:
    """Share of images fooled when each is given ``share`` of its own smallest perturbation."""
    backbone = testing.linear_backbone(seed=seed)
    registered = resolve(name)
    hits = []
    for first, lead in enumerate(LEADS):
        named = _levelled(backbone, data.subset(np.arange(first, len(data), len(LEADS))), lead)
        x = torch.tensor(named.batch(np.arange(len(named)))).double()
        radii = testing.linear_radius(backbone, x, norm)
        assert radii.max() < (1 + 1e-4) * radii.min()
        params = {"norm": norm, "eps": [repr(share * float(radii.mean()))]}
        if name in ("pgd", "bim"):
            params["steps"] = 60
        if name == "pgd":  # a start on the far side of the ball may not get round in one walk
            params["restarts"] = 3
        found = registered.obj(**bind(registered, params))(backbone, named)
        hits.append(found.verified[0])
    return float(np.mean(np.concatenate(hits)))


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
