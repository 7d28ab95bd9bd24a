"""Networks on which tools go wrong: half precision, NaN, batch-dependent, random, float data."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustlab import attack
from robustlab.adversarial.clean import clean
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.registry import resolve


def _wrapped(lenet: Backbone, module: nn.Module) -> Backbone:
    return Backbone(module.eval(), input_shape=lenet.input_shape, classes=lenet.classes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_of_the_weights_does_not_make_a_network_robust(
    lenet: Backbone, digits: Data, dtype: torch.dtype
) -> None:
    """What fools a half-precision network must not be lost in a half-precision budget check."""
    other = _wrapped(lenet, copy.deepcopy(lenet.module).to(dtype))
    reference = attack("pgd", lenet, digits, eps="0.1", steps=10)
    found = attack("pgd", other, digits, eps="0.1", steps=10)
    assert found.images.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    gap = found.robust_accuracy["0.1"].value - reference.robust_accuracy["0.1"].value
    assert abs(gap) <= 0.15  # robust accuracy lies near 0.05; unverifiable claims would give 1.0
    assert (found.verified[0] == found.claimed[0])[found.clean_correct].mean() > 0.9


def test_images_that_break_the_network_are_not_robust(lenet: Backbone, digits: Data) -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(lenet.module)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(x)
            dark = x.flatten(1).mean(1) < 0.115
            return torch.where(dark[:, None], torch.nan, logits)

    broken = _wrapped(lenet, Breaks())
    dark = digits.batch(np.arange(len(digits))).reshape(len(digits), -1).mean(1) < 0.115
    assert 0 < dark.sum() < len(digits)
    found = attack("noise", broken, digits, eps="0.001")
    assert not found.clean_correct[dark].any()
    assert found.verified[0][dark].all()
    assert "no finite numbers" in _doubts(broken, digits)


def _doubts(backbone: Backbone, data: Data) -> str:
    return " ".join(f.sentence for f in clean(backbone, data).findings if f.level != "green")


def test_a_network_that_looks_at_the_batch_is_named(lenet: Backbone, digits: Data) -> None:
    class LooksAround(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1, track_running_stats=False)
            self.inner = copy.deepcopy(lenet.module)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(self.norm(x))
            return logits

    assert "other outputs alone" in _doubts(_wrapped(lenet, LooksAround()), digits)


def test_a_random_network_is_named(lenet: Backbone, digits: Data) -> None:
    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(lenet.module)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(x + 0.1 * torch.randn_like(x))
            return logits

    assert "answers at random" in _doubts(_wrapped(lenet, Random()), digits)


def test_probabilities_are_named(lenet: Backbone, digits: Data) -> None:
    soft = nn.Sequential(copy.deepcopy(lenet.module), nn.Softmax(dim=1))
    assert "are probabilities" in _doubts(_wrapped(lenet, soft), digits)
    log_soft = nn.Sequential(copy.deepcopy(lenet.module), nn.LogSoftmax(dim=1))
    assert "are log-probabilities" in _doubts(_wrapped(lenet, log_soft), digits)


def test_a_healthy_network_is_not_doubted(lenet: Backbone, digits: Data) -> None:
    assert _doubts(lenet, digits) == ""


def test_float_images_that_are_wrong_as_floats_are_still_attacked_as_pixels() -> None:
    """Misread as floats but read as pixels: robust at 8 bits until an attack breaks it."""

    class Threshold(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = 100 * (x[:, 0, 0, 0] - 100.4 / 255)
            return torch.stack([-score, score], dim=1)

    images = np.full((2, 1, 2, 2), 100.45 / 255, dtype=np.float32)  # rounds to level 100
    data = Data(images, np.array([0, 0]), classes=2)
    backbone = Backbone(Threshold().eval(), input_shape=(1, 2, 2), classes=2)
    found = attack("pgd", backbone, data, eps=["0.1"], steps=5)
    assert not found.clean_correct.any()
    assert found.verified_8bit.all()


@pytest.mark.slow
def test_a_smallest_perturbation_does_not_depend_on_the_other_budgets(
    lenet: Backbone, digits: Data
) -> None:
    few = digits.subset(np.arange(10))
    name = "foolbox:LinearSearchBlendedUniformNoiseAttack"
    one = attack(name, lenet, few, eps=["8"], norm="l2", restarts=2)
    two = attack(name, lenet, few, eps=["8", "14"], norm="l2", restarts=2)
    assert np.array_equal(one.verified[0], two.verified[0])
    assert np.array_equal(one.distance[0], two.distance[0])


def test_an_attack_that_finds_no_start_has_no_claim(lenet: Backbone, digits: Data) -> None:
    """HopSkipJump raises where its own start fails; one such image must not fail the cell."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            zeros = x.flatten(1).sum(1, keepdim=True) * 0
            return torch.cat([zeros + self.one, zeros.repeat(1, 9)], dim=1)

    zeros = digits.subset(np.flatnonzero(np.asarray(digits.labels) == 0)[:2])
    constant = _wrapped(lenet, Constant())
    found = attack("foolbox:BoundaryAttack", constant, zeros, eps="3", steps=2)
    assert found.robust_accuracy["3"].value == 1.0
    assert not found.claimed.any()


@pytest.mark.parametrize(
    ("name", "knowledge"),
    [
        ("HopSkipJumpAttack", "decision"),
        ("L2AdditiveGaussianNoiseAttack", "none"),
        ("GenAttack", "score"),
        ("L2CarliniWagnerAttack", "gradient"),
    ],
)
def test_what_a_bridged_attack_knows(name: str, knowledge: str) -> None:
    assert resolve(f"foolbox:{name}").obj.knowledge == knowledge  # type: ignore[attr-defined]


def test_logits_of_another_precision_are_taken(lenet: Backbone, digits: Data) -> None:
    class Doubles(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(lenet.module)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(x.float())
            return logits.double()

    registered = resolve("pgd")
    pgd = registered.obj(**bind(registered, {"eps": ["0.1"], "steps": 5}))
    assert np.array_equal(
        pgd(_wrapped(lenet, Doubles()), digits).verified, pgd(lenet, digits).verified
    )
