"""A small data set on the disk, recipes over it, and networks of the tests' own."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones.building import Built
from robustlab.training.recipe import Recipe, Source, Train

SHAPE = (1, 8, 8)


def striped(n, classes, seed, shape=SHAPE):
    """uint8 noise with a bright column a class: easily learned."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = rng.integers(0, 90, (n, *shape), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, :, 2 * label + 1] += 120
    return images, labels


def batch_normed(classes=2, channels=1):
    """conv1, bn1, relu, flatten, fc for images of 8x8, from a fixed seed."""
    torch.manual_seed(0)
    layers = [
        ("conv1", nn.Conv2d(channels, 4, 3, padding=1)),
        ("bn1", nn.BatchNorm2d(4)),
        ("relu", nn.ReLU()),
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(4 * 64, classes)),
    ]
    return nn.Sequential(OrderedDict(layers))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """``small(classes=2, network=..., **changes)``: a recipe over 40 / 20 / 20 striped images.

    ``network`` is called with the number of classes; ``train`` holds changes of ``[train]``,
    ``data`` of ``[data]``; everything else is a field of the recipe.
    """

    def make(classes=2, network=batch_normed, train=(), data=(), counts=(40, 20, 20), **fields):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for seed, (part, n) in enumerate(zip(("train", "val", "test"), counts, strict=True)):
            images, labels = striped(n, classes, seed)
            np.savez(folder / f"{part}.npz", images=images, labels=labels)
        monkeypatch.setattr(
            "robustlab.training.network.build",
            lambda builder, options, pretrained: Built(
                network(classes).train(), builder, dict(options), SHAPE, classes
            ),
        )
        sources = {part: f"npz:{folder / part}.npz" for part in ("train", "val", "test")}
        recipe = Recipe(
            name="small",
            seed=0,
            builder="lenet5",
            options={},
            data=Source(**{**sources, **dict(data)}),
            train=Train(epochs=3, batch=8, lr=0.02),
        )
        return replace(recipe, train=replace(recipe.train, **dict(train)), **fields)

    return make
