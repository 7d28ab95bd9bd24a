"""The L0 norm counts pixels: distance, projection, exact radii, rounding, pages' budgets."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustlab import Threat, attack, testing
from robustlab.adversarial import geometry, hyperplane
from robustlab.adversarial.geometry import GEOMETRIES, distance, largest_pixels
from robustlab.adversarial.verification import Judge, budget_slack, to_8bit
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.randomness import SampleRandom


def _images(n: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Anywhere in the box; half of the pixels exactly black or white."""
    drawn = np.random.default_rng(seed).uniform(-0.5, 1.5, (n, *shape))
    return torch.tensor(drawn).clamp(0.0, 1.0)


def _subsets(pixels: int, most: int) -> list[list[int]]:
    sizes = range(min(most, pixels) + 1)
    return [list(c) for size in sizes for c in itertools.combinations(range(pixels), size)]


# Distance and projections -----------------------------------------------------------------------


def test_a_pixel_counts_once_and_by_however_little() -> None:
    x = _images(1, (3, 2, 2))
    moved = x.clone()
    moved[0, :, 0, 0] += 0.3  # three channels of one pixel
    moved[0, 1, 1, 1] += 1e-12
    assert distance(moved, x, "l0").tolist() == [2.0]
    assert distance(x, x, "l0").tolist() == [0.0]
    # Mutant: values instead of pixels.
    assert float((moved != x).flatten(1).sum(dim=1)) == 4


def _nearest_by_hand(x_adv: Tensor, x: Tensor, most: int) -> float:
    """The least squared distance to ``x_adv`` of all images with so few pixels changed."""
    inside, best = x_adv.clamp(0, 1), np.inf
    for chosen in _subsets(x[0].numel(), most):
        tried = x.flatten(1).clone()
        tried[:, chosen] = inside.flatten(1)[:, chosen]
        best = min(best, float((tried - x_adv.flatten(1)).square().sum()))
    return best


def _projection_gaps(most: int) -> list[float]:
    x = _images(30, (2, 2, 3))
    wild = x + torch.tensor(np.random.default_rng(1).normal(0, 1.5, tuple(x.shape)))
    found = Threat("l0", float(most)).constrain(wild, x)
    assert bool((distance(found, x, "l0") <= most).all())
    assert bool(((found >= 0) & (found <= 1)).all())
    squares = (found - wild).square().flatten(1).sum(dim=1).tolist()
    pairs = zip(wild, x, squares, strict=True)
    return [square - _nearest_by_hand(w, clean, most) for w, clean, square in pairs]


@pytest.mark.parametrize("most", [0, 1, 3, 6])
def test_the_projection_is_the_nearest_point_of_ball_and_box(most: int) -> None:
    assert max(map(abs, _projection_gaps(most))) < 1e-9


def _box_afterwards(x_adv: Tensor, x: Tensor, eps: Any) -> Tensor:
    return (x + GEOMETRIES["l0"].project(x_adv - x, eps)).clamp(0.0, 1.0)


def _box_before(x_adv: Tensor, x: Tensor, eps: Any) -> Tensor:
    return x + GEOMETRIES["l0"].project(x_adv.clamp(0.0, 1.0) - x, eps)


@pytest.mark.parametrize("mutant", [_box_afterwards, _box_before])
def test_ball_and_box_one_after_the_other_are_not(
    mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustlab.adversarial.threats.nearest_l0_in_box", mutant)
    assert max(_projection_gaps(3)) > 0.01


def test_without_a_box_the_largest_changes_are_kept_the_first_of_equals() -> None:
    delta = torch.tensor([[0.1, -0.5, 0.5, 0.2, 0.5, 0.0]]).view(1, 1, 2, 3)
    kept = GEOMETRIES["l0"].project(delta, 2.9)
    assert kept.flatten().tolist() == pytest.approx([0.0, -0.5, 0.5, 0.0, 0.0, 0.0])
    own = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    assert largest_pixels(torch.ones(2, 2, 3), own).flatten(1).sum(dim=1).tolist() == [1, 3]
    assert largest_pixels(torch.ones(1, 2, 3), 2).flatten().tolist() == [True] * 2 + [False] * 4


def test_random_points_are_that_many_pixels_anywhere() -> None:
    x = _images(300, (2, 3, 3))
    random = SampleRandom(0, [str(row) for row in range(300)])
    start = Threat("l0", 4.0).random_start(x, random)
    assert bool(((start >= 0) & (start <= 1)).all())
    assert distance(start, x, "l0").tolist() == [4.0] * 300
    often = (start != x).any(dim=1).double().mean(dim=0)
    assert bool(((often - 4 / 9).abs() < 0.12).all())  # four standard deviations


def test_noise_is_of_the_whole_size() -> None:
    from robustlab.registry import resolve

    x = _images(200, (1, 4, 4)).float()
    random = SampleRandom(0, [str(row) for row in range(200)])
    noise = resolve("noise").obj(norm="l0", eps=["5px"])
    found = noise.search(None, x, None, x, Threat("l0", 5.0), random)
    assert distance(found, x, "l0").tolist() == [5.0] * 200
    assert set(found[found != x].tolist()) == {0.0, 1.0}
    often = (found != x).double().mean(dim=(0, 1))
    assert bool(((often - 5 / 16).abs() < 0.14).all())


# Linear networks ---------------------------------------------------------------------------------


def _radius_by_hand(backbone: Backbone, x: Tensor) -> float:
    """The fewest pixels with which some corner of the box is misclassified, all subsets tried."""
    weight = next(p for p in backbone.network.parameters() if p.dim() == 2).detach()
    top = int(backbone(x).argmax())
    pixels = x.shape[2] * x.shape[3]
    for chosen in _subsets(pixels, pixels):
        for k in range(len(weight)):
            ends = (weight[k] - weight[top] > 0).double().view(x.shape[1], -1)
            tried = x.flatten(2)[0].clone()
            tried[:, chosen] = ends[:, chosen]
            logits = backbone(tried.view_as(x))[0]
            if k != top and logits[k] > logits[top]:
                return len(chosen)
    return np.inf


@pytest.mark.parametrize("shape", [(1, 2, 5), (3, 2, 4)])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_radius_is_that_of_all_subsets(
    shape: tuple[int, ...], classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = testing.linear_backbone(shape, seed=3, classes=classes)
    x = _images(25, shape, seed=1)
    weight = next(p for p in backbone.network.parameters() if p.dim() == 2).detach()
    own = weight[backbone(x).argmax(dim=1)] - weight.mean(dim=0)
    deep = torch.linspace(0.0, 0.9, 25).double().view(-1, 1, 1, 1)
    x = x + deep * ((own > 0).double().view_as(x) - x)  # on into the class
    by_hand = torch.tensor([_radius_by_hand(backbone, one) for one in x[:, None]])
    assert by_hand.max() >= 2
    assert testing.linear_radius(backbone, x, "l0").tolist() == by_hand.tolist()
    # Mutants: the box ignored; values counted instead of pixels.
    boxless = testing.linear_radius(backbone, x, "l0", box=False)
    assert boxless.tolist() == [1.0] * 25 != by_hand.tolist()
    if shape[0] > 1:
        by_value = lambda *given, channels: whole(*given, channels=1)  # noqa: E731
        whole = testing._in_the_box
        monkeypatch.setattr(testing, "_in_the_box", by_value)
        assert testing.linear_radius(backbone, x, "l0").tolist() != by_hand.tolist()


def test_a_class_that_the_box_does_not_hold_is_infinitely_far() -> None:
    backbone = testing.linear_backbone((1, 2, 4), seed=3)
    next(p for p in backbone.network.parameters() if p.dim() == 1).data[1] -= 100.0
    assert testing.linear_radius(backbone, _images(5, (1, 2, 4)), "l0").isinf().all()


def _to_the_plane() -> tuple[Tensor, Tensor]:
    """How far from the plane the perturbations end, and how many pixels they take too many."""
    x = _images(40, (2, 4, 4))
    backbone = testing.linear_backbone((2, 4, 4), seed=5)
    weight = backbone.network.weight.detach().diff(dim=0)  # type: ignore[union-attr, operator]
    offset = -backbone.network.bias.detach().diff()  # type: ignore[union-attr, operator]
    normal = weight.view(1, 2, 4, 4).expand_as(x)
    step = Threat("l0", 16.0).to_hyperplane(x, normal, offset.expand(40))
    assert bool(((x + step >= -1e-12) & (x + step <= 1 + 1e-12)).all())
    off = ((x + step) * normal).flatten(1).sum(dim=1) - offset
    return off.abs(), distance(x + step, x, "l0") - testing.linear_radius(backbone, x, "l0")


def test_the_way_to_a_hyperplane_takes_the_fewest_pixels() -> None:
    off, more = _to_the_plane()
    assert float(off.max()) < 1e-9
    assert more.tolist() == [0.0] * 40


def test_the_way_of_another_norm_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: values are taken one by one, as in L1."""
    values = lambda weight, room, need, channels: hyperplane._knapsack(weight, room, need)  # noqa: E731
    monkeypatch.setattr(hyperplane, "_fewest", values)
    assert float(_to_the_plane()[1].max()) >= 1


# Verification ------------------------------------------------------------------------------------


def test_the_budget_has_no_slack() -> None:
    x = _images(1, (1, 4, 4))
    x_adv = x.clone()
    x_adv[0, 0, 0, :3] = (x_adv[0, 0, 0, :3] + 1e-9) % 1.0
    judge = Judge(torch.nn.Flatten())
    assert budget_slack(x, Threat("l0", 2.0)) == 0.0
    assert judge.within(x_adv, x, Threat("l0", 3.0))[0].tolist() == [True]
    assert judge.within(x_adv, x, Threat("l0", 2.0))[0].tolist() == [False]


def _added_by_rounding(round_: Any) -> int:
    """Most pixels that 8 bits add where clean images lie between two levels."""
    x = torch.rand(50, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    clean = (x * 255).round().to(torch.uint8)
    x_adv = Threat("l0", 4.0).constrain(x + torch.randn(x.shape, generator=None), x)
    pixels = round_(x_adv, clean, Threat("l0", 4.0))
    return int((distance(pixels, clean, "l0") - distance(x_adv, x, "l0")).max())


def test_8_bits_add_no_pixel() -> None:
    assert _added_by_rounding(to_8bit) <= 0
    # Mutant: every level rounded down.
    assert _added_by_rounding(lambda x_adv, clean, threat: (x_adv * 255).to(torch.uint8)) > 0


@pytest.mark.parametrize(("norm", "adds"), [("l0", False), ("l2", True)])
def test_what_is_tried_near_a_candidate_changes_no_other_pixel(norm: str, adds: bool) -> None:
    """Clean images lie between two levels. Mutant: neighbours as of another norm."""
    from robustlab.adversarial.belief.rounding import _neighbours

    x = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    clean = (x * 255).round().to(torch.uint8)
    x_adv = Threat("l0", 4.0).constrain(x + torch.randn(x.shape), x)
    near = list(_neighbours(x_adv, clean, Threat(norm, 4.0)))
    most = max(float(distance(pixels, clean, "l0").max()) for pixels in near)
    assert (most > 4) == adds


def test_a_budget_is_found_by_its_text_and_by_its_number(lenet: Backbone, digits: Data) -> None:
    found = attack("noise", lenet, digits.subset([0, 1]), norm="l0", eps=["5px", "9"])
    assert list(found.robust_accuracy) == ["5px", "9"]
    assert found.robust_accuracy[5] == found.robust_accuracy["5px"]
    assert found.robust_accuracy[9.0] == found.robust_accuracy["9"]


def test_what_smallest_perturbations_go_further_takes_no_pixel_more() -> None:
    from robustlab.adversarial.smallest import stretched

    x = _images(20, (1, 4, 4))
    x_adv = Threat("l0", 3.0).constrain(x + torch.randn_like(x), x)
    for multiple in (1.001, 2.0):
        further = stretched(x_adv, x, multiple)
        assert bool((distance(further, x, "l0") <= distance(x_adv, x, "l0")).all())


def test_equal_geometries_are_not_taken_for_another() -> None:
    """Every norm of the lab has a geometry, a title and a slack of its own."""
    from robustlab.units import NORM_TITLES, NORMS, SPATIAL

    assert tuple(geometry.GEOMETRIES) == NORMS
    assert (*NORMS, SPATIAL) == tuple(NORM_TITLES)
    x = torch.full((1, 1, 4, 4), 0.5)
    assert [budget_slack(x, Threat(norm, 1.0)) > 0 for norm in NORMS] == [True] * 3 + [False]
