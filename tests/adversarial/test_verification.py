"""The lab's own check: what it must refuse, and the pixels a PNG would hold."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from robustlab.adversarial import Judge, Threat, to_8bit
from robustlab.adversarial.losses import fooled, margin
from robustlab.adversarial.verification import budget_slack


class _Threshold(nn.Module):
    """Class 1 where the first pixel exceeds 0.55, class 0 below."""

    def forward(self, x: Tensor) -> Tensor:
        score = 10 * (x[:, 0, 0, 0] - 0.55)
        return torch.stack([-score, score], dim=1)


@pytest.fixture
def grey() -> tuple[Tensor, Tensor, Tensor]:
    pixels = torch.full((1, 1, 2, 2), 128, dtype=torch.uint8)
    return pixels.float() / 255, pixels, torch.tensor([0])


def _with_first(x: Tensor, value: float) -> Tensor:
    changed = x.clone()
    changed[:, 0, 0, 0] = value
    return changed


@pytest.mark.parametrize(
    ("value", "valid", "verified"),
    [
        (0.58, True, True),
        (0.52, True, False),  # in the budget, but the network is not fooled
        (0.70, False, False),  # fooled, outside the budget
        (1.20, False, False),  # fooled, outside the box
        (float("nan"), False, False),
        (float("inf"), False, False),
    ],
)
def test_only_a_valid_and_fooling_image_counts(
    grey: tuple[Tensor, Tensor, Tensor], value: float, valid: bool, verified: bool
) -> None:
    x, pixels, y = grey
    verdict = Judge(_Threshold()).verify(x, pixels, y, _with_first(x, value), Threat("linf", 0.1))
    assert (bool(verdict.valid), bool(verdict.verified)) == (valid, verified)
    assert bool(verdict.verified_8bit) == verified


def test_a_judge_that_trusts_budgets_is_caught(grey: tuple[Tensor, Tensor, Tensor]) -> None:
    """Mutant: without its budget check the judge verifies what the table refuses."""

    class Trusting(Judge):
        def within(self, x_adv: Tensor, x: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
            _, size = super().within(x_adv, x, threat)
            return torch.ones_like(size, dtype=torch.bool), size

    x, pixels, y = grey
    verdict = Trusting(_Threshold()).verify(x, pixels, y, _with_first(x, 0.7), Threat("linf", 0.1))
    assert bool(verdict.verified)


class _NaN(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 2), torch.nan)


@pytest.mark.parametrize("label", [0, 1])
def test_a_network_that_breaks_down_is_wrong_and_at_no_target(
    grey: tuple[Tensor, Tensor, Tensor], label: int
) -> None:
    """NaN logits have an argmax; it must count neither as the label nor as the target."""
    x, pixels, _ = grey
    y = torch.tensor([label])
    wrong = Judge(_NaN()).verify(x, pixels, y, x, Threat("linf", 0.1))
    assert bool(wrong.verified)
    assert bool(wrong.verified_8bit)
    target = Judge(_NaN()).verify(x, pixels, y, x, Threat("linf", 0.1, 1 - y))
    assert not bool(target.verified)
    naive = _NaN()(x).argmax(dim=1)  # mutant: argmax alone calls one of the labels correct
    assert int(naive) in (0, 1)


def test_a_masked_class_does_not_hide_mistakes() -> None:
    """Minus infinity for one class is a way to mask it; the others are judged as ever."""
    logits = torch.tensor([[1.0, 2.0, -torch.inf], [3.0, 2.0, -torch.inf]])
    y = torch.tensor([0, 0])
    assert fooled(logits, y).tolist() == [True, False]
    assert (margin(logits, y) > 0).tolist() == [True, False]


def _candidates(seed: int, norm: str, eps: float) -> tuple[Tensor, Tensor, Threat]:
    rng = np.random.default_rng(seed)
    pixels = torch.tensor(rng.integers(0, 256, (4, 1, 6, 6), dtype=np.uint8))
    threat = Threat(norm, eps)
    wild = pixels.float() / 255 + torch.tensor(rng.normal(0, eps, (4, 1, 6, 6))).float()
    return threat.constrain(wild, pixels.float() / 255), pixels, threat


NORM_EPS = st.one_of(
    st.tuples(st.just("linf"), st.sampled_from([1 / 255, 8 / 255, 0.1, 0.0125, 0.3])),
    st.tuples(st.just("l2"), st.floats(0.1, 3)),
    st.tuples(st.just("l1"), st.floats(0.5, 20)),
    st.tuples(st.just("l0"), st.integers(1, 36)),
)


@given(seed=st.integers(0, 9999), threat=NORM_EPS)
@settings(max_examples=150, deadline=None)
def test_8bit_pixels_keep_the_budget_and_move_towards_the_clean_pixel(
    seed: int, threat: tuple[str, float]
) -> None:
    x_adv, pixels, limit = _candidates(seed, *threat)
    rounded = to_8bit(x_adv, pixels, limit)
    x = pixels.float() / 255
    slack = budget_slack(x, limit)
    assert bool((limit.distance(rounded.float() / 255, x) <= limit.eps + slack).all())
    moved = (rounded.double() - pixels.double()).abs()
    asked = (x_adv.double() * 255 - pixels.double()).abs()
    assert bool((moved <= asked + 1e-4).all())
    assert bool((asked - moved < 1).all())  # towards the clean pixel, and no further than needed


def test_rounding_to_the_nearest_breaks_the_budget() -> None:
    """Mutant: what every other tool does when it writes a PNG."""
    broken = 0
    for seed in range(20):
        x_adv, pixels, limit = _candidates(seed, "linf", 0.0125)  # 3.19 levels, rounds down; but
        pixels = pixels.clamp(10, 245)
        x = pixels.float() / 255
        x_adv = (x + 0.0138 * (x_adv - x).sign()).clamp(0, 1)  # 3.52 levels rounds up to 4
        limit = Threat("linf", 0.0138)
        nearest = (x_adv * 255).round() / 255
        broken += bool((limit.distance(nearest, x) > limit.eps + budget_slack(x, limit)).any())
        kept = to_8bit(x_adv, pixels, limit).float() / 255
        assert bool((limit.distance(kept, x) <= limit.eps + budget_slack(x, limit)).all())
    assert broken == 20


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_8bit_pixels_are_what_a_png_holds(seed: int) -> None:
    x_adv, pixels, limit = _candidates(seed, "linf", 0.1)
    rounded = to_8bit(x_adv, pixels, limit)[0, 0].numpy()
    file = io.BytesIO()
    Image.fromarray(rounded).save(file, "PNG")
    assert np.array_equal(np.asarray(Image.open(file)), rounded)


def test_whole_levels_in_float32_dress_are_not_cut() -> None:
    """8/255 in float32 is a hair below eight levels; truncation must not lose the eighth."""
    pixels = torch.arange(0, 240, dtype=torch.uint8).view(1, 1, 12, 20)
    x = pixels.float() / 255
    limit = Threat("linf", 8 / 255)
    x_adv = limit.constrain(x + 1.0, x)
    moved = to_8bit(x_adv, pixels, limit).int() - pixels.int()
    assert bool((moved == 8).all())


def test_an_image_on_the_boundary_is_fragile_and_others_are_not() -> None:
    class Tied(nn.Module):
        """Ties in float32; in float64 the scale's last bits decide."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Tensor) -> Tensor:
            first = x[:, 0, 0, 0] * self.scale
            tiny = 1e-9 if x.dtype == torch.float64 else 0.0
            return torch.stack([first, first + tiny + (first > 0.75) * 1.0], dim=1)

    x = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1)
    y = torch.tensor([0, 0])
    assert Judge(Tied()).fragile(x, y, Threat("linf", 0.1)).tolist() == [True, False]
