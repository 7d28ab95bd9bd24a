"""What the lab makes of a search for the smallest perturbation: it ends clear of rounding, is not
lost to one unlucky look, and spends the budget for the pixels.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustlab import Attack, attack, load_backbone, load_data
from robustlab.adversarial import smallest
from robustlab.adversarial.smallest import beyond
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.verification import FRAGILE_MARGIN, Judge
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.testing import linear_backbone


class Noisy(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x + 0.2 * torch.randn_like(x))
        return logits


@pytest.fixture(scope="module")
def noisy() -> tuple[Backbone, Data]:
    linear = linear_backbone(classes=10, dtype=torch.float32)
    images = np.random.default_rng(0).integers(60, 196, (24, 1, 8, 8)).astype(np.uint8)
    labels = linear(torch.tensor(images / 255.0, dtype=torch.float32)).argmax(dim=1).numpy()
    data = Data(images, labels, classes=10, name="near grey")
    network = Noisy(linear.network).eval()
    return Backbone(network, input_shape=(1, 8, 8), classes=10, name="noisy"), data


SEARCHES: list[tuple[str, dict[str, Any]]] = [
    ("fmn", {"steps": 60}),
    ("fab", {"steps": 20}),
    ("bisection", {"rounds": 4, "settings": {"steps": 20, "targets": 3}}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), SEARCHES)
def test_a_random_network_does_not_outlast_the_search(
    noisy: tuple[Backbone, Data], name: str, params: dict[str, Any]
) -> None:
    """PGD leaves none standing at this eps."""
    found = attack(name, *noisy, eps=["0.03", "0.3"], eot=20, **params)
    assert (~found.verified[1]).sum() <= 2
    assert found.radius is not None
    assert np.isinf(found.radius).sum() <= 2


@pytest.mark.slow
def test_one_look_at_the_boundary_alone_would_lose_them(
    noisy: tuple[Backbone, Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smallest, "_MULTIPLES", (1.0,))
    monkeypatch.setattr("robustlab.adversarial.batch.stretched", lambda x_adv, x, multiple: x_adv)
    found = attack("fmn", *noisy, eps=["0.03", "0.3"], eot=20, steps=60)
    assert (~found.verified[1]).sum() > 4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), [*SEARCHES, ("foolbox:LinfDeepFoolAttack", {})])
def test_pixels_spend_the_budget_and_floats_stay_small(
    lenet: Backbone, digits: Data, name: str, params: dict[str, Any]
) -> None:
    found = attack(name, lenet, digits, eps=["0.12", "0.2"], **params)
    assert found.verified[1].mean() > 0.9
    assert (found.verified & ~found.verified_8bit).sum() <= 1
    assert found.radius is not None
    inside = found.verified[1] & found.clean_correct
    # Not stretched; a little further than the smallest where rounding could undo that.
    assert np.allclose(found.distance[1][inside], found.radius[inside], rtol=0.005)
    told = {f.level for f in found.findings if f.detector == "rounding"}
    assert told <= {"green", "amber"}


def test_smallest_perturbations_end_clear_of_rounding() -> None:
    data = load_data("digits:test", take=150, seed=0)
    found = attack("fmn", load_backbone("mlp@digits"), data, eps=["0.02", "0.05", "0.1"])
    assert not found.fragile.any()


def test_beyond_goes_as_far_as_it_must_and_no_further() -> None:
    linear = linear_backbone(dtype=torch.float64)
    judge, threat = Judge(linear.network, torch.float64), Threat("linf", 1.0)
    x = torch.rand(20, 1, 8, 8, dtype=torch.float64) * 0.2 + 0.4
    y = linear(x).argmax(dim=1)
    weight = linear.network.weight[1].detach().view(1, 1, 8, 8)  # type: ignore[index, union-attr]
    lead = (linear(x)[:, 1] - linear(x)[:, 0]).view(-1, 1, 1, 1)
    to_boundary = -weight.sign() * lead / weight.abs().sum()
    nearly, exact = x + 0.9999 * to_boundary, to_boundary.abs().amax(dim=(1, 2, 3))
    (first, _), (point, logits), least = beyond(judge, x, y, nearly, threat)
    size = threat.distance(point, x)
    assert torch.equal(logits, linear(point))
    assert bool((linear(first).argmax(dim=1) != y).all())
    assert bool((exact <= least).all())
    assert bool((least <= size).all())
    assert bool((size / exact < 1.0051).all())
    apart = logits.diff(dim=1).abs().flatten() / logits.abs().amax(1)
    assert bool((apart > FRAGILE_MARGIN).all())
    (far, _), _, none = beyond(judge, x, y, x + 0.3 * to_boundary, threat)
    assert bool(none.isinf().all())
    assert torch.equal(far, x + 0.3 * to_boundary)
    broken = nearly.clone()
    broken[0, 0, 0, 0], broken[1, 0, 0, 0] = torch.nan, 1.5
    sizes = beyond(judge, x, y, broken, threat)[2]
    assert sizes.isinf().tolist()[:3] == [True, True, False]


class Shifted(nn.Module):
    """The same decisions and probabilities: a constant on all logits."""

    def __init__(self, network: nn.Module, constant: float) -> None:
        super().__init__()
        self.network, self.constant = network, constant

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.double())
        return logits + self.constant


@pytest.mark.slow
def test_no_candidate_is_given_up_for_one_beyond_rounding(lenet: Backbone, digits: Data) -> None:
    """Where every margin is near rounding, what fools counts at the size at which it fools."""
    radii = []
    double = copy.deepcopy(lenet.network).double()
    for constant in (0.0, 1e4):
        shifted = Shifted(double, constant).eval()
        backbone = Backbone(shifted, input_shape=(1, 32, 32), classes=10, name="shifted")
        found = attack("fmn", backbone, digits, eps=["0.05", "0.08"], steps=60)
        assert found.radius is not None
        held = found.radius[None] <= np.array([[0.05], [0.08]])
        assert (found.verified >= held).all()
        radii.append(found.radius)
    assert np.allclose(*radii, rtol=0.01)


def test_a_budgets_list_does_not_decide_the_radius(lenet: Backbone, digits: Data) -> None:
    few = digits.subset(np.arange(8))
    one, two = (
        attack("fab", lenet, few, eps=eps, steps=6, starts=3).radius
        for eps in (["0.05"], ["0.05", "0.4"])
    )
    assert one is not None
    assert two is not None
    assert np.array_equal(one, two)


def test_an_attack_that_claims_the_boundary_is_taken_at_its_first_fooling_point(
    lenet: Backbone, digits: Data
) -> None:
    class Short(Attack):
        """Stops a ten-thousandth short of the boundary."""

        minimum_norm = True

        def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
            found, claimed = self.auto_pgd(model, x, y, x, Threat("linf", 0.3), steps=10)
            found = self.shorten(model, x, y, found, claimed, None, rounds=20)
            return x + 0.9999 * (found - x), claimed

    found = Short(eps=["0.3"])(lenet, digits)
    assert found.verified.mean() > 0.9
    assert found.stray["not misclassified when looked at again"].sum() == 0
