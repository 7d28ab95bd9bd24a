"""Attacks on few pixels: exact on linear networks, minimal on others, as good as foolbox's."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustlab import Attack, Threat, attack, testing
from robustlab.adversarial import Access
from robustlab.adversarial.geometry import GEOMETRIES, distance
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve

WALK_ALONE = {"aimed": 0, "rounds": 0, "shrinking": 0, "putback": 0}
sparse: Any = sys.modules[resolve("sparse_rs").obj.__module__]


def _attack(name: str, **params: Any) -> Attack:
    registered = resolve(name)
    made: Attack = registered.obj(**bind(registered, {"norm": "l0", "eps": ["1"], **params}))
    return made


def _case(shape: tuple[int, ...], classes: int, n: int) -> tuple[Backbone, Tensor]:
    """A linear network, and images a good way inside the class that it gives them."""
    backbone = testing.linear_backbone(shape, seed=1, classes=classes)
    x = torch.tensor(np.random.default_rng(0).uniform(-0.5, 1.5, (n, *shape))).clamp(0.0, 1.0)
    weight = next(p for p in backbone.network.parameters() if p.dim() == 2).detach()
    own = weight[backbone(x).argmax(dim=1)] - weight.mean(dim=0)
    return backbone, x + 0.4 * ((own > 0).double().view_as(x) - x)


SHAPES = [(1, 8, 8), (3, 6, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 10])
def test_sigma_zero_finds_the_fewest_pixels(shape: tuple[int, ...], classes: int) -> None:
    backbone, x = _case(shape, classes, 60)
    assert testing.linear_radius(backbone, x, "l0").median() >= 3
    found = testing.linear_found(_attack("sigma_zero"), backbone, x, share=1.0)
    assert float(found.min()) == 1.0  # never fewer than there can be
    assert float((found == 1).double().mean()) >= 0.95


def test_the_published_walk_alone_does_not() -> None:
    """Mutant: neither ranking nor the shrinking ball, nothing put back."""
    found = testing.linear_found(
        _attack("sigma_zero", **WALK_ALONE), *_case(SHAPES[1], 10, 60), 1.0
    )
    assert float((found == 1).double().mean()) < 0.9
    assert found.isfinite().all()  # it fools all the same


@pytest.mark.parametrize("stage", ["aimed", "shrinking"])
def test_each_stage_alone_finds_them_with_two_classes(stage: str) -> None:
    params = {**WALK_ALONE, "steps": 1, "rounds": 1, stage: {"aimed": 1, "shrinking": 60}[stage]}
    if stage == "shrinking":
        params["steps"] = 100
    found = testing.linear_found(_attack("sigma_zero", **params), *_case(SHAPES[0], 2, 60), 1.0)
    assert float((found == 1).double().mean()) >= 0.95


def test_an_order_turned_round_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the least useful pixels first."""
    module: Any = sys.modules[resolve("sigma_zero").obj.__module__]
    whole = module.ranks
    monkeypatch.setattr(module, "ranks", lambda worth: whole(-worth))
    attack = _attack("sigma_zero", shrinking=0, steps=20)
    found = testing.linear_found(attack, *_case(SHAPES[0], 2, 60), 1.0)
    assert float((found == 1).double().mean()) < 0.9


@pytest.mark.parametrize("shape", SHAPES)
def test_pgd_takes_exactly_the_fewest_pixels(shape: tuple[int, ...]) -> None:
    """With two classes a long step and the projection together are the exact answer."""
    case = _case(shape, 2, 60)
    made = _attack("pgd", random_start=False, loss="margin", step_size=1e6, steps=10)
    assert bool(testing.linear_success(made, *case, share=1.0).all())
    usual = _attack("pgd", restarts=3)
    assert float(testing.linear_success(usual, *case, share=1.2).double().mean()) >= 0.99
    for one in (made, usual, _attack("sparse_rs", queries=200), _attack("noise")):
        assert not bool(testing.linear_success(one, *case, share=0.999).any())


def test_pgd_that_forgets_the_box_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the largest steps are kept, and only then cut to the box."""

    def forgetful(x_adv: Tensor, x: Tensor, eps: Any) -> Tensor:
        return (x + GEOMETRIES["l0"].project(x_adv - x, eps)).clamp(0.0, 1.0)

    monkeypatch.setattr("robustlab.adversarial.threats.nearest_l0_in_box", forgetful)
    made = _attack("pgd", random_start=False, loss="margin", step_size=1e6, steps=10)
    won = testing.linear_success(made, *_case(SHAPES[0], 2, 60), share=1.0)
    assert float(won.double().mean()) < 0.9


def test_sparse_rs_comes_within_half_and_noise_does_not() -> None:
    case = _case(SHAPES[0], 10, 60)
    searched = testing.linear_success(_attack("sparse_rs", queries=1000), *case, share=1.5)
    assert float(searched.double().mean()) >= 0.99
    noise = testing.linear_success(_attack("noise"), *case, share=1.5)
    assert float(noise.double().mean()) < 0.3


# On a network that is not linear -----------------------------------------------------------------


def _removable(found: Any, backbone: Backbone) -> int:
    """Changed pixels that could be put back, one at a time, over all images fooled."""
    count = 0
    for row in np.flatnonzero(found.verified[0] & found.clean_correct):
        x_adv = torch.tensor(found.images[0][row])[None]
        x = torch.tensor(found.clean[row] / 255.0, dtype=x_adv.dtype)[None]
        for place in (x_adv != x).flatten().nonzero().flatten().tolist():
            tried = x_adv.flatten(1).clone()
            tried[0, place] = x.flatten()[place]
            count += int(backbone(tried.view_as(x)).argmax()) != found.labels[row]
    return count


def test_hardly_a_pixel_is_left_that_need_not_be(lenet: Backbone, digits: Data) -> None:
    walk = {**WALK_ALONE, "steps": 15}
    counts = [
        _removable(attack("sigma_zero", lenet, digits, eps="60px", **{**walk, **more}), lenet)
        for more in ({"putback": 300}, {})
    ]
    assert counts[0] <= 2
    assert counts[1] > 10  # mutant: nothing is put back


@pytest.mark.slow
def test_it_is_no_worse_than_foolboxs_fmn(lenet: Backbone, digits: Data) -> None:
    few = digits.subset(np.arange(20))
    ours, theirs = (
        attack(name, lenet, few, norm="l0", eps="1024px", steps=60)
        for name in ("sigma_zero", "foolbox:L0FMNAttack")
    )
    assert ours.radius is not None
    assert theirs.radius is not None
    assert (ours.radius <= theirs.radius).mean() >= 0.9
    right = ours.clean_correct
    assert ours.radius[right].mean() < 0.9 * theirs.radius[right].mean()
    # Mutant: one step, nothing else.
    weak = attack("sigma_zero", lenet, few, eps="1024px", **{**WALK_ALONE, "steps": 2}).radius
    assert weak is not None
    assert (weak <= theirs.radius).mean() < 0.9


@pytest.mark.parametrize("channels", [1, 3])
def test_the_count_and_its_slope_agree(channels: int) -> None:
    made: Any = _attack("sigma_zero", sigma=0.02)
    delta = torch.randn(4, channels, 3, 3, dtype=torch.float64).mul_(0.2).requires_grad_(True)
    square = delta.square().sum(dim=1)
    (slope,) = torch.autograd.grad((square / (square + 0.02)).mean(dim=(1, 2)).sum(), delta)
    assert torch.allclose(made.count_slope(delta.detach()), slope)
    values = delta.detach().square()  # mutant: values counted instead of pixels
    each = 2 * delta.detach() * 0.02 / (values + 0.02).square() / 9
    assert torch.allclose(each, slope) == (channels == 1)


# Sparse-RS ---------------------------------------------------------------------------------------


def _orders(n: int, pixels: int) -> Tensor:
    return torch.arange(pixels).repeat(n, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 4, 8, 9])
def test_an_exchange_keeps_the_number_of_pixels(channels: int, count: int) -> None:
    rng, n = SampleRandom(0, [str(row) for row in range(30)]), 30
    x = torch.tensor(np.random.default_rng(0).integers(0, 3, (n, channels, 3, 3)) / 2.0)
    order = torch.tensor(rng.uniform((9,))).argsort(dim=1)
    colours = torch.tensor(rng.uniform((count, channels))).round()
    best = sparse.painted(x, x, order[:, :count], colours)
    for _ in range(20):
        many = min(2, count, 9 - count or count)
        drawn = torch.tensor(rng.uniform((many, 2 + channels)))
        order = sparse.shuffled(order, drawn, count)
        best, order = sparse.exchanged(x, best, order, drawn[:, :, 2:], count)
        assert bool((order.sort(dim=1).values == _orders(n, 9)).all())
        changed = (best != x).any(dim=1).flatten(1)
        assert changed.sum(dim=1).tolist() == [count] * n
        assert bool(changed.gather(1, order[:, :count]).all())


def test_every_pixel_is_drawn_as_often_as_another() -> None:
    rng = SampleRandom(1, [str(row) for row in range(2000)])
    drawn = torch.tensor(rng.uniform((2, 3)))
    order = sparse.shuffled(_orders(2000, 10), drawn, 4)
    for part, size, low in ((order[:, :2], 4, 0), (order[:, 4:6], 6, 4)):
        often = torch.bincount(part.flatten() - low, minlength=size) / 2000
        assert bool(((often - 2 / size).abs() < 0.05).all())
    # Mutant: numbers that are all alike reach one pixel alone.
    same = sparse.shuffled(_orders(50, 10), torch.zeros(50, 2, 3), 4)
    assert same[:, :2].unique().tolist() == [0, 1]


def test_the_schedule_is_the_published_one() -> None:
    made: Any = _attack("sparse_rs", queries=10000)
    asked = {1: 2, 50: 2, 51: 4, 201: 5, 501: 6, 1001: 8, 2001: 10, 4001: 12, 6001: 15, 8001: 20}
    for query, by in asked.items():
        assert made._many(query, 1000) == int(0.3 / by * 1000)
    assert made._many(9999, 3) == 1


def _each_its_own(eps: Any, n: int, rows: list[int]) -> Tensor:
    """What is found of some of the images, each with a budget and a stream of its own."""
    backbone, x = _case(SHAPES[0], 2, n)
    label, ids = backbone(x).argmax(dim=1), [str(row) for row in range(n)]
    part = Threat("l0", torch.as_tensor(eps).view(-1, 1, 1, 1)[rows].double())
    model, rng = Access(backbone.network, len(rows)), SampleRandom(0, [ids[row] for row in rows])
    made = _attack("sparse_rs", queries=30)
    with torch.no_grad():
        answer = made.search(model, x[rows], label[rows], x[rows], part, rng)
    return answer[0]


def test_images_with_budgets_of_their_own_do_not_disturb_each_other() -> None:
    eps = [1.0, 3.0, 0.0, 3.0, 64.0, 20.0]
    together = _each_its_own(eps, 6, list(range(6)))
    alone = torch.cat([_each_its_own(eps, 6, [row]) for row in range(6)])
    assert torch.equal(together, alone)
    x = _case(SHAPES[0], 2, 6)[1]
    assert distance(together, x, "l0").tolist() == eps


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("sigma_zero", {"sigma": 0}, "sigma must be above 0"),
        ("sigma_zero", {"norm": "l2"}, "not one of its norms: l0"),
        ("sigma_zero", {"putback": -1}, "putback must be at least 0"),
        ("sparse_rs", {"p_init": 0}, "p_init is a share of the pixels"),
        ("sparse_rs", {"queries": 0}, "queries must be at least 1"),
        ("fmn", {}, "norm 'l0' is not one of its norms: linf, l2, l1"),
        ("pgd", {"eps": "0.5"}, "no whole number of pixels"),
    ],
)
def test_a_wrong_request_names_what_is_right(name: str, params: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        _attack(name, **params)
