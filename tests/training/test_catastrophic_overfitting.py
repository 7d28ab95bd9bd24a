"""Catastrophic overfitting where it really happens: a long step, smooth images, a shallow network.

Under FGSM training with steps of several eps a single convolution learns to see the step's own
pattern instead of withstanding it (Andriushchenko and Flammarion 2020).
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab.backbones.building import Built
from robustlab.training import Epoch, train
from robustlab.training.recipe import Adversarial, Recipe, Source, Train

pytestmark = pytest.mark.slow

CLASSES, SHAPE = 4, (3, 16, 16)


def smooth(generator, n):
    """Noise of standard deviation 0.12 on a grid of 4x4, drawn up to 16x16."""
    grid = 0.12 * torch.randn(n, 3, 4, 4, generator=generator)
    return functional.interpolate(grid, size=(16, 16), mode="bicubic", align_corners=False)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    generator, sources = torch.Generator().manual_seed(0), {}
    prototypes = smooth(generator, CLASSES)
    for part, n in (("train", 400), ("val", 200), ("test", 200)):
        labels = torch.arange(n) % CLASSES
        images = (0.5 + prototypes[labels] + smooth(generator, n)).clamp(0, 1)
        pixels = (255 * images).round().to(torch.uint8).numpy()
        np.savez(tmp_path / f"{part}.npz", images=pixels, labels=labels.numpy())
        sources[part] = f"npz:{tmp_path / part}.npz"

    def build(builder, options, pretrained):
        torch.manual_seed(0)
        convolution = nn.Conv2d(3, 8, 3, padding=1)
        layers = [convolution, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 256, CLASSES)]
        return Built(nn.Sequential(*layers), builder, {}, SHAPE, CLASSES)

    monkeypatch.setattr("robustlab.training.network.build", build)
    return Recipe(
        name="fast",
        seed=0,
        builder="lenet5",
        options={},
        data=Source(**sources),
        train=Train(epochs=60, batch=32, schedule="constant"),
        adversarial=Adversarial("fast", "0.14", steps=1, step_size=4.0),
    )


def trained(recipe, folder):
    return json.loads(train(recipe, folder).with_suffix(".json").read_text())


def check_guarded(card):
    """It stopped, said why, and what it kept is about as robust as the best epoch was."""
    robust = card["curve"]["val_robust_accuracy"]
    assert card["stopped"] == f"catastrophic overfitting in epoch {len(robust)}"
    assert len(robust) < 60
    assert robust[-1] < max(robust) / 2
    assert card["curve"]["val_single_step_accuracy"][-1] >= max(robust)
    assert card["adversarial"]["test"]["value"] > max(robust) / 2


def test_the_guard_stops_and_keeps_the_last_good_weights(recipe, tmp_path, one_thread):
    check_guarded(trained(recipe, tmp_path / "guarded"))


def test_that_check_kills_a_training_without_guard(recipe, tmp_path, one_thread, monkeypatch):
    """Mutant: epochs are compared by clean accuracy and none is the last but the last. What comes
    out looks well under one step, and several steps find nearly every image."""
    better = property(lambda epoch: (epoch.val_accuracy, -epoch.val_loss))
    monkeypatch.setattr(Epoch, "better", better)
    monkeypatch.setattr("robustlab.training.stopping.collapsed", lambda curve, watched: False)
    card = trained(recipe, tmp_path / "unguarded")
    with pytest.raises(AssertionError):
        check_guarded(card)
    assert card["stopped"] == "all epochs"
    assert card["adversarial"]["test"]["value"] < 0.05
    assert card["curve"]["val_single_step_accuracy"][-1] > 0.5


def test_several_steps_do_not_collapse(recipe, tmp_path, one_thread):
    """The same training with PGD keeps what it has won: the collapse is of the single step."""
    several = Adversarial("pgd", "0.14", steps=5)
    robust = trained(replace(recipe, adversarial=several), tmp_path / "pgd")["curve"]
    assert robust["val_robust_accuracy"][-1] > 0.5 * max(robust["val_robust_accuracy"])
