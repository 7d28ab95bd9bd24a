"""Why a training ends: patience, a loss that is no longer finite, catastrophic overfitting."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from robustlab.errors import RobustlabError
from robustlab.training import Epoch, load_recipe, train
from robustlab.training.learner import Diverged, Learner
from robustlab.training.recipe import Adversarial
from robustlab.training.stopping import collapsed, enough


def curve(*accuracies):
    return [Epoch(i, 9, 0.1, 0.1, value) for i, value in enumerate(accuracies, start=1)]


def check_patience(small, judged):
    recipe = small(train={"patience": 2, "epochs": 9})
    assert judged(recipe, [], 20) == ""
    assert judged(recipe, curve(0.5, 0.6, 0.6), 20) == ""
    assert judged(recipe, curve(0.5, 0.6, 0.6, 0.6), 20) == "early stopping"
    assert judged(recipe, curve(0.5, 0.6, 0.6, 0.7), 20) == ""
    forever = small(train={"epochs": 9})
    assert judged(forever, curve(*[0.5] * 8), 20) == ""
    assert judged(forever, curve(*[0.5] * 9), 20) == "all epochs"


def test_patience(small):
    check_patience(small, enough)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda recipe, curve, n: enough(recipe, curve[:-1], n),
        lambda recipe, curve, n: enough(
            replace(recipe, train=replace(recipe.train, patience=0)), curve, n
        ),
        lambda recipe, curve, n: enough(recipe, [replace(e, val_accuracy=0) for e in curve], n),
    ],
    ids=["an epoch late", "never", "blind"],
)
def test_that_check_kills(small, mutant):
    with pytest.raises(AssertionError):
        check_patience(small, mutant)


def test_early_stopping_in_a_training(small, tmp_path):
    """At a rate of nearly nothing the first epoch stays the best."""
    settings = {"lr": 1e-12, "optimizer": "sgd", "patience": 3, "epochs": 50}
    recipe = small(train=settings, network=linear)
    path = train(recipe, tmp_path / "out")
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["stopped"], card["best_epoch"]) == ("early stopping", 1)
    assert len(card["curve"]["val_loss"]) == 4


def linear(classes):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def test_a_diverging_first_epoch_writes_nothing(tmp_path):
    recipe = load_recipe("mlp@digits")
    wild = replace(recipe, train=replace(recipe.train, optimizer="sgd", lr=1e12, epochs=2))
    with pytest.raises(
        RobustlabError, match=r"loss is \S+ in epoch 1; .*lower \[train\] lr"
    ) as told:
        train(wild, tmp_path)
    assert told.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def breaks_in_epoch_3(monkeypatch):
    """A loss that is infinite from the third epoch on."""
    criterion = Learner._criterion

    def broken(self, outputs, y):
        loss, logits = criterion(self, outputs, y)
        return (loss / 0 if len(self.curve) == 2 else loss), logits

    monkeypatch.setattr(Learner, "_criterion", broken)


def test_a_later_divergence_keeps_the_last_good_weights(small, tmp_path, breaks_in_epoch_3):
    best, said = {}, []

    def remember(learner_epoch):
        best[learner_epoch.epoch] = learner_epoch

    path = train(small(train={"epochs": 9}), tmp_path / "out", progress=remember, say=said.append)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["stopped"] == "diverged in epoch 3"
    assert len(card["curve"]["train_loss"]) == 2
    assert card["best_epoch"] == max(best.values(), key=lambda one: one.better).epoch
    assert f"kept are the weights of epoch {card['best_epoch']}" in said[0]
    assert "in epoch 3; the training diverged, lower [train] lr (it is 0.02)" in said[0]
    assert all(value.isfinite().all() for value in load_file(path).values())
    assert not (tmp_path / "out" / "small.checkpoint.pt").exists()


def test_the_command_line_exits_3(lab, small, tmp_path, breaks_in_epoch_3, monkeypatch):
    monkeypatch.setattr("robustlab.training.load_recipe", lambda recipe: small())
    done = lab("train", "small", "-o", tmp_path / "out")
    assert done.code == 3
    assert f"weights: {tmp_path / 'out' / 'small.safetensors'}" in done.out
    assert "stopped after 2 epochs: diverged in epoch 3" in done.out
    assert lab("train", "small", "-o", tmp_path / "out").code == 3  # and again, from the card


def hardened(*pairs):
    return [
        Epoch(i, 9, 0.1, 0.1, 0.9, val_robust_accuracy=robust, val_single_step_accuracy=single)
        for i, (robust, single) in enumerate(pairs, start=1)
    ]


@pytest.mark.parametrize(
    ("pairs", "lost"),
    [
        ([(0.6, 0.7), (0.05, 0.9)], True),
        ([(0.6, 0.7), (0.05, 0.5)], False),  # bad under one step too: no overfitting to it
        ([(0.6, 0.7), (0.28, 0.9)], False),  # below half, but by less than the interval
        ([(0.6, 0.7), (0.5, 0.9)], False),
        ([(0.05, 0.9)], False),  # was never robust
    ],
)
def test_collapse(pairs, lost):
    assert collapsed(hardened(*pairs), 100) == lost


def test_collapse_is_for_fast_training_alone(small):
    lost = hardened((0.6, 0.7), (0.05, 0.9))
    for adversarial, told in (
        (Adversarial("fast", "0.1", steps=1), "catastrophic overfitting in epoch 2"),
        (Adversarial("pgd", "0.1"), ""),
        (None, ""),
    ):
        recipe = small(train={"epochs": 9}, adversarial=adversarial)
        assert enough(recipe, lost, 100) == told


def wild():
    """A step of AdamW is about lr, so its loss grows beyond measure and stays finite."""
    recipe = load_recipe("mlp@digits")
    return replace(recipe, train=replace(recipe.train, lr=50.0, epochs=2))


def test_a_loss_beyond_measure_counts_as_diverged_though_it_is_finite(tmp_path):
    with pytest.raises(Diverged, match="diverged, lower"):
        train(wild(), tmp_path)


def test_that_bound_is_what_stops_it(tmp_path, monkeypatch):
    monkeypatch.setattr("robustlab.training.learner._LARGEST", float("inf"))
    card = json.loads(train(wild(), tmp_path).with_suffix(".json").read_text())
    assert card["stopped"] == "all epochs"
    assert max(card["curve"]["train_loss"]) > 1000
