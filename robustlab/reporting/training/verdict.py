"""What the curve of a training says in words: one judgement, computed, with its numbers.

A single epoch's loss is noisy, and the lowest of many is low by luck, so rising and falling are
read from a running median. Thresholds are the constants below; they are conventions, not tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustlab.reporting.training.held_out import (
    FEWEST,
    LOST,
    SMOOTHED,
    gap_sentence,
    half_width,
    percent,
    robust_loss,
    smoothed,
)
from robustlab.reporting.training.record import Floats, Training, rate_of
from robustlab.verdict import plural

__all__ = ["Judgement", "judge"]

RISEN = 1.1  # at the end, times the lowest: risen
FALLEN = 0.9  # at the end, times what it was after four fifths: still falling
MUCH = 2.0  # the same: much


@dataclass(frozen=True)
class Judgement:
    """``kind`` is ``diverged``, ``catastrophic``, ``chance``, ``overfitting``, ``gap``,
    ``falling``, ``level`` or ``unknown``; the title tells it, the sentences carry the numbers."""

    kind: str
    title: str
    sentences: tuple[str, ...]


def judge(training: Training) -> Judgement:
    """The first of the findings that holds, the gravest first."""
    for finding in (_broken_off, _chance, _short, _overfitting, _gap, _falling, _level):
        found = finding(training)
        if found is not None:
            if training.epochs < FEWEST:
                return found
            extra = tuple(s for s in (gap_sentence(training), robust_loss(training)) if s)
            return Judgement(
                found.kind, found.title, tuple(dict.fromkeys((*found.sentences, *extra)))
            )
    return _unknown("The validation loss is not recorded: no trend can be read from it.")


def _unknown(*sentences: str) -> Judgement:
    return Judgement("unknown", "Too little is recorded to judge this training", sentences)


def _short(training: Training) -> Judgement | None:
    """Few epochs are no trend, and far from the end training and validation differ anyway."""
    if training.epochs >= FEWEST:
        return None
    told = f"The curve has {plural(training.epochs, 'epochs')}: no trend can be read from it."
    loss = training.curve.get("val_loss")
    if loss is None or np.isfinite(loss).sum() < 2 or not loss[-1] <= np.nanmin(loss):
        return _unknown(told)
    first = float(loss[np.isfinite(loss)][0])
    return _unknown(
        told,
        f"Validation loss still fell, from {first:.3g} to {float(loss[-1]):.3g}: the network was "
        "still learning.",
    )


def _broken_off(training: Training) -> Judgement | None:
    stopped = training.card.get("stopped")
    told = stopped if isinstance(stopped, str) else ""
    place = told.rpartition(" ")[2]
    where = f" in epoch {place}" if place.isdecimal() and len(place) < 9 else ""
    if told.startswith("diverged"):
        return Judgement(
            "diverged",
            f"Training diverged{where}",
            (
                "The loss ceased to be a finite number; a lower learning rate or a warm-up may "
                "help.",
            ),
        )
    if told.startswith("catastrophic overfitting"):
        return Judgement(
            "catastrophic",
            f"Catastrophic overfitting{where}",
            (
                "The network learnt to withstand the single step it was trained with and lost to "
                "an attack of several steps (Wong et al. 2020); more steps in training, or a "
                "smaller eps, may help.",
            ),
        )
    return None


def _chance(training: Training) -> Judgement | None:
    classes = training.card.get("classes")
    rate = rate_of(training.card.get("validation"))
    if rate is None or not isinstance(classes, list) or len(classes) < 2:
        return None
    if rate.low > 1 / len(classes):
        return None
    return Judgement(
        "chance",
        "No better than chance",
        (
            f"Validation accuracy is {rate} of {rate.n}; guessing among {len(classes)} equally "
            f"frequent classes gives {100 / len(classes):.1f} %.",
        ),
    )


def _trend(training: Training) -> Floats | None:
    loss = training.curve.get("val_loss")
    if (
        loss is None
        or int(np.isfinite(loss).sum()) < FEWEST
        or not (loss[np.isfinite(loss)] > 0).all()
    ):
        return None
    return smoothed(loss)


def _subject(training: Training) -> str:
    """What the trend is one of; short curves are not smoothed."""
    smooth = training.epochs >= SMOOTHED
    return "Smoothed over epochs, validation loss" if smooth else "Validation loss"


def _ends(trend: Floats) -> tuple[int, float, float]:
    """Where the trend is lowest (from 0), its lowest and its last value."""
    last = trend[np.isfinite(trend)][-1]
    lowest = int(np.nanargmin(trend))
    return lowest, float(trend[lowest]), float(last)


def _overfitting(training: Training) -> Judgement | None:
    found = _rising(training)
    return found if found and found.kind == "overfitting" else None


def _rising(training: Training) -> Judgement | None:
    """The validation loss rises again while the training loss goes on falling: overfitting where
    images were lost with it, more than chance explains or under a clear rise."""
    trend, train = _trend(training), training.curve.get("train_loss")
    if trend is None or train is None:
        return None
    lowest, least, last = _ends(trend)
    fit = smoothed(train)
    ends = _ends(fit)
    if lowest >= 0.9 * training.epochs or last <= RISEN * least or not ends[2] < fit[lowest]:
        return None
    sentence = (
        f"{_subject(training)} is lowest around epoch {lowest + 1} of "
        f"{training.epochs} ({least:.3g}) and {last:.3g} at the end, {last / least:.1f} times as "
        f"much, while training loss goes on falling from {fit[lowest]:.3g} to {ends[2]:.3g}"
    )
    sentence += _meanwhile(training, lowest + 1)
    times, lost = last / least, _lost(training, lowest + 1)
    title = f"Validation loss lowest around epoch {lowest + 1} of {training.epochs}, then rising"
    half = half_width(rate_of(training.card.get("validation")))
    if lost is None or lost > half or (times >= MUCH and lost > 0):
        slight = "slight " if times < MUCH and (lost or 0.0) < LOST else ""
        return Judgement("overfitting", f"{title}: {slight}overfitting", (f"{sentence}.",))
    what = "had levelled off" if lost >= -half else "went on rising"
    return Judgement("level", f"{title}, while validation accuracy {what}", (f"{sentence}.",))


def _lost(training: Training, since: int) -> float | None:
    """By how much validation accuracy is lower at the end than it was in an epoch."""
    before, end = (training.at("val_accuracy", e) for e in (since, training.epochs))
    return None if before is None or end is None else before - end


def _meanwhile(training: Training, since: int) -> str:
    """What became of validation accuracy while its loss rose."""
    before, end = (training.at("val_accuracy", e) for e in (since, training.epochs))
    if before is None or end is None:
        return ""
    told = f"validation accuracy goes from {percent(before)} to {percent(end)}"
    if end >= before:
        return f". Yet {told}: the network is not wrong more often, but surer where it is wrong"
    return f"; {told}"


def _gap(training: Training) -> Judgement | None:
    sentence = gap_sentence(training)
    if not sentence:
        return None
    return Judgement("gap", "Training accuracy far above validation: overfitting", (sentence,))


def _falling(training: Training) -> Judgement | None:
    trend = _trend(training)
    if trend is None:
        return None
    lowest, _, last = _ends(trend)
    since = max(1, int(0.8 * len(trend)))
    before = float(trend[since - 1])
    if lowest < 0.9 * training.epochs - 1 or not last < FALLEN * before:
        return None
    sentence = (
        f"{_subject(training)} still fell from {before:.3g} in epoch {since} to {last:.3g} in "
        f"epoch {training.epochs}."
    )
    return Judgement(
        "falling",
        f"Validation loss was still falling in epoch {training.epochs}: more epochs may help",
        (sentence, *_schedule_end(training)),
    )


def _schedule_end(training: Training) -> tuple[str, ...]:
    lr = training.curve.get("lr")
    end = training.at("lr", training.epochs)
    if lr is None or end is None or end > 0.05 * np.nanmax(lr):
        return ()
    return (
        f"The learning rate had come down to {end:.2g} by then, so more epochs mean a longer "
        "schedule, not the same one carried on.",
    )


def _level(training: Training) -> Judgement | None:
    trend = _trend(training)
    rising = _rising(training)
    if trend is None or rising is not None:
        return rising
    lowest, least, last = _ends(trend)
    sentence = (
        f"{_subject(training)} is lowest around epoch {lowest + 1} of "
        f"{training.epochs} ({least:.3g}) and {last:.3g} at the end"
    )
    if last > RISEN * least:
        train = training.curve.get("train_loss")
        why = "is not recorded" if train is None else "did not fall further either"
        title = f"Validation loss ended at {last / least:.1f} times its lowest"
        return Judgement(
            "level",
            f"{title}, around epoch {lowest + 1} of {training.epochs}",
            (f"{sentence}; training loss {why}, so this alone is no sign of overfitting.",),
        )
    since = _levelled(trend)
    return Judgement(
        "level",
        f"Validation loss had levelled off by epoch {since} of {training.epochs}",
        (
            f"{_subject(training)} stays within a tenth of its last value, {last:.3g}, from epoch "
            f"{since} on.",
        ),
    )


def _levelled(trend: Floats) -> int:
    """The first epoch, from 1, from which on the trend stays near its last value."""
    last = trend[np.isfinite(trend)][-1]
    away = np.flatnonzero(np.nan_to_num(trend, nan=last) > RISEN * last)
    return int(away[-1]) + 2 if len(away) else 1
