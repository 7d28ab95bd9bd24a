"""What the training page says of a curve, against curves whose course is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from robustlab.reporting.training.curves import figures, title
from robustlab.reporting.training.held_out import smoothed
from robustlab.reporting.training.making import caveats
from robustlab.reporting.training.outcome import figure_sentences, kept_sentence, stopped_sentence
from robustlab.reporting.training.record import read_training
from robustlab.reporting.training.verdict import judge

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


def losing(card, images, of=360):
    """The same card, of which validation accuracy falls by so many images in the second half."""
    shares = [0.97 - images / of * (i >= 20) for i in range(40)]
    return card | {"curve": card["curve"] | {"val_accuracy": shares, "train_accuracy": shares}}


def hardly_rising():
    """Validation loss ends at less than twice its lowest."""
    card = make.make_card(kind="overfitting")
    card["curve"]["val_loss"] = [0.15 + v / 4 for v in card["curve"]["val_loss"]]
    return card


JUDGED = {
    "level": (make.make_card(), "levelled off by epoch"),
    "overfitting": (losing(make.make_card(kind="overfitting"), 1), "then rising: overfitting"),
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
    found = judge(read(card))
    (sentence,) = found.sentences
    assert "then rising, while validation accuracy" in found.title  # it never fell
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


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (0, "while validation accuracy had levelled off"),
        (1, "while validation accuracy had levelled off"),
        (7, "then rising: slight overfitting"),  # half of the interval is 6.4 images
        (30, "then rising: overfitting"),
        (-9, "while validation accuracy went on rising"),
    ],
)
def test_a_small_rise_is_overfitting_only_where_images_are_lost(read, images, told):
    found = judge(read(losing(hardly_rising(), images)))
    assert told in found.title
    assert found.kind == ("overfitting" if images > 6 else "level")


def test_a_rise_that_costs_no_image_does_not_hide_the_gap(read):
    card = hardly_rising()
    assert judge(read(flat(card, 0.97, 0.97))).kind == "level"
    assert judge(read(flat(card, 0.999, 0.8))).kind == "gap"


def test_a_few_epochs_are_never_overfitting(read):
    def card(epochs):
        return make.adversarial(flat(make.make_card(epochs, "falling"), 0.999, 0.8))

    short = judge(read(card(3)))
    assert short.kind == "unknown"
    assert "3 epochs" in short.sentences[0]
    assert "still learning" in short.sentences[1]
    assert "overfitting" not in " ".join((short.title, *short.sentences))
    assert judge(read(card(8))).kind == "gap"


def fast(method="fast", single=0.9, robust=0.6, n=360, **table):
    """An adversarially trained network: 92 % of attacked training images."""
    card = make.adversarial(flat(make.make_card(), 0.92, 0.97))
    columns = {"val_robust_accuracy": robust, "val_single_step_accuracy": single}
    card["curve"] |= {k: [v] * 40 for k, v in columns.items() if v is not None}
    card["adversarial"]["validation"] = make.rate(round(robust * n), n)
    card["recipe"]["adversarial"] = {"method": method, "steps": 1} | table
    return card


def test_training_on_single_steps_is_compared_with_single_steps(read):
    assert judge(read(fast())).kind == "level"
    assert judge(read(fast(method="pgd"))).kind == "gap"  # the same figures, compared with PGD
    assert judge(read(fast(single=None))).kind == "level"  # nothing alike to compare with
    found = judge(read(fast(single=0.7)))
    assert found.kind == "gap"
    assert "by a single step (92.0 %) stands 22.0 points" in found.sentences[0]


@pytest.mark.parametrize("method", ["pgd", "trades"])
def test_the_gap_is_wider_than_the_interval_and_eps_is_grown(read, method):
    assert judge(read(fast(method, robust=0.8, n=360))).kind == "gap"
    assert judge(read(fast(method, robust=0.8, n=30))).kind == "level"  # 12 points: chance is 14
    assert judge(read(fast(method, robust=0.8, warmup=39.5))).kind == "gap"
    assert judge(read(fast(method, robust=0.8, warmup=40.0))).kind == "level"


@pytest.mark.parametrize(
    ("method", "single"), [("pgd", False), ("trades", False), ("fast", True), (None, False)]
)
def test_what_robust_accuracy_was_measured_with_is_told(read, method, single):
    told = " ".join(caveats(read(fast(method))))
    assert "measured with projected gradient descent of 10 steps" in told
    assert ("training itself took a single step" in told) == single


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


def test_of_epochs_that_share_the_highest_accuracy_the_kept_one_is_named(read):
    shares = [0.5] * 9 + [0.995] * 5 + [1.0 - 0.002 * (i % 3 > 0) for i in range(26)]
    card = make.make_card(best_epoch=24)
    card["curve"]["val_accuracy"] = shares
    training = read(card)
    assert title(training) == (
        "Validation accuracy is highest in epoch 24: 100.0 %, first reached in epoch 15; epoch 10 "
        "comes within a point of it"
    )
    assert "epoch 24, where validation accuracy was highest" in kept_sentence(training)
    drawn = figures(training)[1]["wide"]
    assert "highest 100.0 % in epoch 24" in str(drawn)
    other = title(read(card | {"best_epoch": 25}))  # not the highest: the first that is
    assert "highest in epoch 15: 100.0 %; epoch 10" in other
