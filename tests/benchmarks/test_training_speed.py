"""Training beside a plain PyTorch loop: same batches, network and optimizer, no augmentation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from robustlab.backbones.building import build
from robustlab.training import load_recipe, train
from robustlab.training.learner import Learner
from robustlab.training.network import start
from robustlab.training.parts import load_parts
from robustlab.training.recipe import Augment, Recipe, Source
from robustlab.training.schedule import optimizer_of

pytestmark = pytest.mark.benchmark


def _digits(folder: Path, full: bool) -> Recipe:
    recipe = load_recipe("lenet5-max@digits")
    settings = replace(recipe.train, epochs=10 if full else 1)
    data = replace(recipe.data, take=0 if full else 64)
    return replace(recipe, augment=Augment(), train=settings, data=data)


def _cifar_shaped(folder: Path, full: bool) -> Recipe:
    """Random 8-bit images; the parts that choose and judge are as small as may be."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 512 if full else 32), ("val", 10), ("test", 10)):
        images = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
        np.savez(folder / f"{part}.npz", images=images, labels=np.arange(n) % 10)
    sources = {part: f"npz:{folder / part}.npz" for part in ("train", "val", "test")}
    recipe = load_recipe("resnet20@cifar10")
    settings = replace(recipe.train, epochs=3 if full else 1, batch=64)
    return replace(recipe, augment=Augment(), data=Source(**sources), train=settings)


def _plain(recipe: Recipe) -> Callable[[], object]:
    """The loop of a tutorial: images as one float tensor, cross-entropy, a look at validation."""
    parts = load_parts(recipe)
    images, labels = (torch.tensor(one) for one in _arrays(parts["train"]))
    held_out, truth = (torch.tensor(one) for one in _arrays(parts["val"]))
    fresh = build(recipe.builder, {"seed": 0, **recipe.options}).module
    settings = recipe.train

    def run() -> object:
        module = copy.deepcopy(fresh)
        optimizer = optimizer_of(settings, module.parameters())
        for _ in range(settings.epochs):
            module.train()
            for rows in torch.split(torch.randperm(len(images)), settings.batch):
                loss = functional.cross_entropy(module(images[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            module.eval()
            with torch.no_grad():
                functional.cross_entropy(module(held_out), truth)
        return module

    return run


def _arrays(data: Any) -> tuple[Any, Any]:
    return data.batch(slice(None)), data.labels


def _loop(recipe: Recipe) -> Callable[[], object]:
    """Our epochs: batches, gradient norms, validation, the best weights kept."""
    parts = load_parts(recipe)

    def run() -> object:
        begun, device = start(recipe), torch.device("cpu")
        learner = Learner(recipe, begun, (None, None), parts["train"], parts["val"], device)
        return [learner.epoch(lambda share: None) for _ in range(recipe.train.epochs)]

    return run


@pytest.mark.parametrize("case", [_digits, _cifar_shaped], ids=["lenet5-digits", "resnet20-32x32"])
def test_training_speed(pair: Any, benchmark: Any, tmp_path: Path, case: Any) -> None:
    """``plain / ours`` is our share of the plain loop's images a second; the goal is 0.95. Beside
    it the whole command, with a test at the end and all files written."""
    recipe = case(tmp_path, benchmark.enabled)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work = {
            "ours": _loop(recipe),
            "plain": _plain(recipe),
            "train": lambda: train(recipe, tmp_path / "out", again=True),
        }
        pair(work, rounds=7)
    finally:
        torch.set_num_threads(threads)
