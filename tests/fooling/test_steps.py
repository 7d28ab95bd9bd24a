"""The single step against a hand-made gradient sign, and many steps against the attack itself."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from robustlab import attack
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooling.readings import reading
from robustlab.fooling.steps import many_steps, single_step, single_steps

pytestmark = pytest.mark.usefixtures("one_thread")


def by_hand(case, target, level, sign=1):
    """Whole levels down the cross-entropy of the target, or up that of the label."""
    x = torch.tensor(case.original[None] / 255, dtype=torch.float32, requires_grad=True)
    y = torch.tensor([case.label if target is None else target])
    functional.cross_entropy(case.backbone.network(x), y).backward()
    way = x.grad[0].sign().numpy() * (1 if target is None else -1) * sign
    wanted = case.original.astype(int) + way.astype(int) * int(level)
    return wanted.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("targeted", [True, False])
@pytest.mark.parametrize("level", [1.0, 8.0, 40.0])
def test_the_single_step_is_the_gradient_sign(case, targeted, level):
    target = case.target if targeted else None
    made = single_step(case.backbone, case.original, case.label, target, level)
    assert (made == by_hand(case, target, level)).all()
    assert np.abs(made.astype(int) - case.original).max() == level


@pytest.mark.parametrize("broken", [{"sign": -1}, {"target": None}, {"level": 7}])
def test_mutants_of_the_step_die(case, broken):
    made = single_step(case.backbone, case.original, case.label, case.target, 8)
    assert (made != by_hand(case, **{"target": case.target, "level": 8, **broken})).any()


def test_it_is_the_labs_fgsm_where_that_moves(case):
    for level in (8, 24):
        options = {"eps": f"{level}/255", "target": case.target, "early_exit": False}
        found = attack("fgsm", case.backbone, case.data, fast=False, **options)
        made = single_step(case.backbone, case.original, case.label, case.target, level)
        assert found.moved[0, 0]
        assert (found.images_8bit[0, 0] == made).all()


def test_the_table_agrees_with_the_attack_itself(case):
    """The row at 20 levels is the search of the fixture: same seed, id, budget."""
    table = many_steps(
        case.backbone,
        case.original,
        case.label,
        case.target,
        levels=(10, 20),
        seed=5,
        fast=False,
    )
    told = reading(case.backbone, case.read(case.changed), case.label, case.target)
    assert table.target[1] == pytest.approx(told.target, rel=1e-6)
    assert table.label[1] == pytest.approx(told.label, rel=1e-6)
    assert table.prediction[1] == told.top[0][1]
    assert table.at_target[1]
    assert table.fooled[1]
    other = many_steps(
        case.backbone,
        case.original,
        case.label,
        case.target,
        levels=(20,),
        seed=6,
        fast=False,
    )
    assert other.target[0] != pytest.approx(told.target, rel=1e-6)


def test_a_budget_is_searched_whatever_the_others(case):
    options = {"params": {"steps": 5}, "fast": False}
    both = many_steps(
        case.backbone, case.original, case.label, case.target, levels=(8, 16), **options
    )
    alone = many_steps(
        case.backbone, case.original, case.label, case.target, levels=(16,), **options
    )
    assert both.target[1] == pytest.approx(alone.target[0], rel=1e-6)


def test_the_single_steps_are_read_as_pictures(case):
    table = single_steps(case.backbone, case.original, case.label, case.target, levels=(4, 32))
    for row, level in enumerate((4, 32)):
        picture = by_hand(case, case.target, level)
        told = reading(case.backbone, case.read(picture), case.label, case.target)
        assert table.target[row] == pytest.approx(told.target, rel=1e-5)
        assert table.label[row] == pytest.approx(told.label, rel=1e-5)
        assert table.fooled[row] == (told.index != case.label)
        assert table.at_target[row] == (told.index == case.target)
    assert table.attack == "fgsm"
    assert table.eps.tolist() == [4, 32]


def test_half_a_level_is_the_clean_picture(case):
    told = reading(case.backbone, case.read(case.original), case.label, case.target)
    options = {"levels": (0.5, 1)}
    for table in (
        single_steps(case.backbone, case.original, case.label, case.target, **options),
        many_steps(case.backbone, case.original, case.label, case.target, **options),
    ):
        assert table.target[0] == pytest.approx(told.target, rel=1e-5)
        assert table.target[1] > table.target[0]


def test_another_judge_reads_the_pictures(case):
    """What the file's reader makes of them is told, not what the search saw."""
    blind = many_steps(
        case.backbone,
        case.original,
        case.label,
        case.target,
        levels=(16,),
        read=lambda pixels: np.zeros(pixels.shape, np.float32),
        backbone=case.backbone,
    )
    black = reading(case.backbone, np.zeros(case.original.shape, np.float32), case.label)
    assert blind.label[0] == pytest.approx(black.label)


def test_untargeted(case):
    table = many_steps(case.backbone, case.original, case.label, levels=(1, 40), fast=False)
    assert table.fooled.tolist() == [False, True]
    assert not table.at_target.any()
    assert np.isnan(table.target).all()


@pytest.mark.parametrize("levels", [(), (2, 1), (1, 1), (0,), (256,), (float("nan"),)])
def test_bad_levels(case, levels):
    with pytest.raises(BadRequest, match="levels must ascend"):
        single_steps(case.backbone, case.original, case.label, levels=levels)


@pytest.mark.slow
def test_one_step_leaves_the_panda_but_does_not_reach_the_vulture(panda):
    args = panda.backbone, panda.original, panda.label, panda.target
    single, many = single_steps(*args), many_steps(*args)
    assert not single.at_target.any()
    assert single.fooled[-2:].all()
    assert many.at_target[1:].all()
    assert not many.fooled[0]
    told = reading(panda.backbone, panda.read(panda.changed), 388, 23)
    assert many.target[1] == pytest.approx(told.target, rel=1e-4)


def test_a_float64_network(case):
    """Searched and read in its own precision."""
    wide = Backbone(
        copy.deepcopy(case.backbone.module).double(),
        input_shape=case.backbone.input_shape,
        classes=case.backbone.classes,
        mean=case.backbone.mean,
        std=case.backbone.std,
    )
    made = single_step(wide, case.original, case.label, case.target, 8)
    # A gradient near zero may change its sign with the precision.
    assert (made == by_hand(case, case.target, 8)).mean() > 0.99
    table = many_steps(wide, case.original, case.label, case.target, levels=(20,))
    assert table.at_target.all()
