"""Optimizers and learning rates: against their closed forms, and in a real training."""

import json
import math
from dataclasses import replace

import pytest
import torch

from robustlab.training import train
from robustlab.training.recipe import Train
from robustlab.training.schedule import Schedule, optimizer_of

STEPS = 4  # an epoch


def rates(settings, losses=()):
    """The learning rate of every step; ``losses`` are those on validation, an epoch each."""
    optimizer = optimizer_of(settings, [torch.nn.Parameter(torch.ones(1))])
    schedule = Schedule(settings, optimizer, STEPS)
    found = []
    for epoch in range(settings.epochs):
        for _ in range(STEPS):
            found.append(schedule.lr)
            optimizer.step()
            schedule.step()
        schedule.end_epoch(losses[epoch] if losses else 0.0)
    return found


def cosine(step, epochs=5, warm=0):
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (epochs * STEPS - warm)))


def expected(settings):
    """The factor of every step, written a second time."""
    total = settings.epochs * STEPS
    if settings.schedule == "cosine":
        warm = int(settings.warmup * STEPS)
        return [cosine(step, settings.epochs, warm) for step in range(total)]
    if settings.schedule == "steps":
        return [1.0] * (total // 2) + [0.1] * (total // 4) + [0.01] * (total // 4)
    return [1.0] * total


CASES = [
    Train(5, lr=0.5),
    Train(5, lr=0.5, warmup=1.5),
    Train(4, lr=0.1, schedule="steps", optimizer="sgd"),
    Train(4, lr=0.1, schedule="constant"),
]


def check_rates(found, settings):
    assert found == pytest.approx([settings.lr * one for one in expected(settings)])


@pytest.mark.parametrize("settings", CASES)
def test_rates(settings):
    check_rates(rates(settings), settings)


@pytest.mark.parametrize("settings", CASES[:3])
@pytest.mark.parametrize("mutant", [lambda r: r[1:] + r[:1], lambda r: [2 * one for one in r]])
def test_that_check_kills(settings, mutant):
    with pytest.raises(AssertionError):
        check_rates(mutant(rates(settings)), settings)


def test_cosine_is_exact_at_the_start_of_every_epoch():
    """Equal to the last bit, on which the weights of the shipped recipes rest."""
    found = rates(Train(80))
    for epoch in range(80):
        assert found[epoch * STEPS] == 0.002 * (0.5 * (1 + math.cos(math.pi * (epoch / 80))))


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_plateau(warmup):
    """Lowered after two epochs without a lower loss, not before, and once more after two others."""
    settings = Train(
        9, lr=0.4, schedule="plateau", plateau_patience=1, plateau_factor=0.5, warmup=warmup
    )
    found = rates(settings, [3, 2, 1, 1, 1, 1, 1, 0.5, 0.4])
    by_epoch = [found[epoch * STEPS + STEPS - 1] for epoch in range(9)]
    assert by_epoch[1:] == pytest.approx([0.4] * 4 + [0.2] * 2 + [0.1] * 2)
    falling = rates(settings, [9, 8, 7, 6, 5, 4, 3, 2, 1])
    assert falling[-1] == pytest.approx(0.4)  # never lowered while the loss falls
    if warmup:
        assert found[:STEPS] == pytest.approx([0.1, 0.175, 0.25, 0.325])


def test_plateau_in_a_training(small, tmp_path):
    """With a rate too small to learn anything, patience 0 halves it at every epoch."""
    settings = {
        "schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.5, "epochs": 4,
        "lr": 1e-12, "optimizer": "sgd", "momentum": 0.0,
    }  # fmt: skip
    recipe = small(train=settings, network=lambda classes: linear(classes))
    path = train(recipe, tmp_path / "out")
    found = json.loads(path.with_suffix(".json").read_text())["curve"]["lr"]
    assert found == pytest.approx([1e-12, 1e-12, 5e-13, 2.5e-13])


def linear(classes):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))


def stepped(settings, gradient=1.0, steps=3):
    """A single weight after some steps under a constant gradient."""
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = optimizer_of(settings, [weight])
    for _ in range(steps):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    return weight.item()


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd(nesterov):
    """Momentum and Nesterov's variant by their recurrences (Sutskever et al. 2013)."""
    settings = Train(1, optimizer="sgd", lr=0.1, momentum=0.5, nesterov=nesterov, weight_decay=0.2)
    weight, velocity = 1.0, 0.0
    for _ in range(3):
        gradient = 1.0 + 0.2 * weight
        velocity = 0.5 * velocity + gradient
        weight -= 0.1 * (gradient + 0.5 * velocity if nesterov else velocity)
    assert stepped(settings) == pytest.approx(weight, rel=1e-12)
    other = replace(settings, nesterov=not nesterov)
    assert stepped(other) != pytest.approx(weight, rel=1e-3)


def test_sgd_without_momentum():
    assert stepped(Train(1, optimizer="sgd", lr=0.1, momentum=0.0)) == pytest.approx(0.7)


def norms_of_steps(recipe, tmp_path, monkeypatch):
    """L2 norm of the whole gradient that each step takes."""
    found = []
    step = torch.optim.SGD.step

    def watched(self, *args, **options):
        gradients = [w.grad for group in self.param_groups for w in group["params"]]
        found.append(torch.stack([g.norm() for g in gradients]).norm().item())
        return step(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", watched)
        train(recipe, tmp_path / "out", again=True)
    return found


def test_clip(small, tmp_path, monkeypatch):
    settings = {"optimizer": "sgd", "lr": 0.001, "epochs": 1}
    free = norms_of_steps(small(train=settings), tmp_path, monkeypatch)
    assert min(free) > 0.05
    clipped = norms_of_steps(small(train=settings | {"clip": 0.05}), tmp_path, monkeypatch)
    assert clipped == pytest.approx([0.05] * len(free), rel=1e-3)


def test_label_smoothing_has_a_floor(small, tmp_path):
    """Smoothed labels of two classes cannot be met below the entropy of (0.9, 0.1)."""
    floor = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    settings = {"epochs": 8, "lr": 0.05}
    for smoothing, above in ((0.0, False), (0.2, True)):
        recipe = small(train=settings | {"label_smoothing": smoothing})
        path = train(recipe, tmp_path / f"{smoothing}")
        curve = json.loads(path.with_suffix(".json").read_text())["curve"]
        assert (curve["train_loss"][-1] > floor - 1e-6) == above
