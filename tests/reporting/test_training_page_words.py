"""What the training page says of a curve, against curves whose course is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from robustlab.reporting.training.outcome import figure_sentences, kept_sentence, stopped_sentence
from robustlab.reporting.training.record import read_training
from robustlab.reporting.training.verdict import judge, smoothed

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_training", Path(__file__).with_name("make_training.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.fixture
def read(tmp_path):
    """A card and its arrays as they are read."""
    return lambda card, arrays=None: read_training(make.write(tmp_path, card, arrays))


def flat(card, training, validation):
    curve = card["curve"]
    shares = {"train_accuracy": training, "val_accuracy": validation}
    found = {k: [v] * len(curve["lr"]) for k, v in shares.items()}
    return card | {"curve": curve | found, "validation": make.rate(round(360 * validation))}


JUDGED = {
    "level": (make.make_card(), "levelled off by epoch"),
    "overfitting": (make.make_card(kind="overfitting"), "then rising: overfitting"),
    "falling": (make.make_card(kind="falling"), "still falling in epoch 40"),
    "past": (make.make_card(kind="past"), "times its lowest"),
    "gap": (flat(make.make_card(), 0.999, 0.8), "Training accuracy far above validation"),
    "chance": (flat(make.make_card(), 0.11, 0.11), "No better than chance"),
    "diverged": (make.make_card(stopped="diverged in epoch 41"), "Training diverged in epoch 41"),
    "catastrophic": (
        make.make_card(stopped="catastrophic overfitting in epoch 7"),
        "Catastrophic overfitting in epoch 7",
    ),
    "short": (make.make_card(4), "Too little is recorded"),
    "bare": (make.make_card(curve={}), "Too little is recorded"),
}


@pytest.mark.parametrize("kind", JUDGED)
def test_the_judgement(read, kind):
    card, told = JUDGED[kind]
    found = judge(read(card))
    assert told in found.title
    assert found.kind == {"past": "level", "short": "unknown", "bare": "unknown"}.get(kind, kind)
    assert found.sentences


def test_the_judgements_numbers_are_those_of_the_curve(read):
    card = make.make_card(kind="overfitting")
    loss, fit = (smoothed(np.array(card["curve"][c])) for c in ("val_loss", "train_loss"))
    (sentence,) = judge(read(card)).sentences
    lowest = int(loss.argmin())
    assert f"lowest around epoch {lowest + 1} of 40 ({loss.min():.3g})" in sentence
    assert f"{loss[-1]:.3g} at the end, {loss[-1] / loss.min():.1f} times as much" in sentence
    assert f"falling from {fit[lowest]:.3g} to {fit[-1]:.3g}" in sentence
    assert "not wrong more often" in sentence


def test_one_noisy_epoch_is_no_trend(read):
    card = make.make_card(60)
    card["curve"]["val_loss"][30] = 1e-3
    assert judge(read(card)).kind == "level"
    assert np.argmin(smoothed(np.array(card["curve"]["val_loss"]))) != 30


def test_a_small_rise_without_lost_images_is_called_slight(read):
    card = make.make_card(kind="overfitting")
    card["curve"]["val_loss"] = [0.15 + v / 4 for v in card["curve"]["val_loss"]]
    assert "slight overfitting" in judge(read(card)).title
    card["curve"]["val_accuracy"] = np.linspace(0.97, 0.9, 40).tolist()
    assert "slight" not in judge(read(card)).title


def test_robust_accuracy_is_compared_with_robust_and_its_loss_is_told(read):
    card = make.adversarial(make.make_card())
    told = judge(read(card))
    assert told.kind == "gap"  # 98 % of attacked training images, 67 % of attacked validation
    assert "on attacked images" in told.sentences[0]
    curve = card["curve"] | {"train_accuracy": card["curve"]["val_robust_accuracy"]}
    assert judge(read(card | {"curve": curve})).kind == "level"
    for slope, told in ((0.005, True), (0.002, False)):  # 9 points are more than chance, 4 are not
        fallen = [0.7 - slope * max(0, i - 20) for i in range(40)]
        changed = curve | {"val_robust_accuracy": fallen, "train_accuracy": fallen}
        sentences = judge(read(card | {"curve": changed})).sentences
        assert ("robust overfitting" in sentences[-1]) == told


def test_the_end_of_the_schedule_is_told_where_it_was_reached(read):
    assert "longer schedule" in judge(read(make.make_card(kind="falling"))).sentences[1]
    card = make.make_card(kind="falling")
    card["curve"]["lr"] = [0.002] * 40
    assert len(judge(read(card)).sentences) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stopped": "all epochs"}, "Training ran all of its 40 epochs."),
        ({"stopped": None}, "Training ran all of its 40 epochs."),
        (
            {"stopped": "early stopping", "recipe": {"train": {"epochs": 80, "patience": 5}}},
            "after epoch 40 of 80: validation had not improved for 5 epochs.",
        ),
        ({"stopped": "diverged in epoch 41"}, "broke off after epoch 40: diverged in epoch 41."),
        ({"stopped": 3, "recipe": None}, "is not recorded; the curve ends with epoch 40."),
        ({"stopped": None, "curve": None}, "Why training stopped is not recorded."),
    ],
)
def test_why_it_stopped(read, changes, told):
    assert told in stopped_sentence(read(make.make_card(**changes)))


def test_which_epoch_was_kept(read):
    assert "epoch 40, where validation accuracy was highest (97.0 %)" in (
        kept_sentence(read(make.make_card()))
    )
    assert "it was not the highest" in kept_sentence(read(make.make_card(best_epoch=3)))
    assert kept_sentence(read(make.make_card(best_epoch=41))) == ""
    ties = flat(make.make_card(), 0.9, 0.9)
    assert "as in 39 other epochs" in kept_sentence(read(ties))


def test_robust_accuracy_says_against_what_and_that_it_is_an_upper_bound(read):
    clean, robust = figure_sentences(read(make.adversarial(make.make_card())))
    assert "of 360 test images" in clean
    assert robust.startswith("Under an attack with 10 steps at eps 0.1 (Linf), 72.5 % [")
    assert "a stronger attack may find less" in robust
    assert len(figure_sentences(read(make.make_card()))) == 1
