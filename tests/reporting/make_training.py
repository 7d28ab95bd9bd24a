"""Cards and arrays of trainings that never were, with the shapes that true ones have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from robustlab import shelf
from robustlab.statistics import wilson

LAYERS = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "fc")
SOURCES = ("train", "val", "test")


def rate(hits, n=360):
    found = wilson(hits, n)
    return {"value": found.value, "low": found.low, "high": found.high, "n": n}


def losses(epochs, kind="level"):
    """Training and validation loss, [epochs], of one kind of course, with a little noise."""
    t = np.linspace(0, 1, epochs)
    noise = np.random.default_rng(0).normal(0, 0.01, (2, epochs))
    train = 1.5 * np.exp(-5 * t) + 0.01
    validation = {
        "level": 1.4 * np.exp(-12 * t) + 0.2,
        "overfitting": 1.4 * np.exp(-12 * t) + 0.2 + 0.6 * np.maximum(0, t - 0.4),
        "falling": 1.5 - 1.2 * t,
        "past": 1.4 * np.exp(-12 * t) + 0.2 + 0.6 * np.maximum(0, t - 0.4),
    }[kind]
    if kind == "past":  # training does not get better after the lowest validation loss either
        train = np.maximum(train, train[int(0.35 * epochs)]) + 0.2 * np.maximum(0, t - 0.4)
    return [c.round(6).tolist() for c in np.stack([train, validation]) * np.exp(noise)]


def make_card(epochs=40, kind="level", **changes):
    """A card as the trainer writes one; ``changes`` replace its keys."""
    t = np.linspace(0, 1, epochs)
    train, validation = losses(epochs, kind)
    accuracy = (0.97 - 0.6 * np.exp(-8 * t)).round(6)
    card = {
        "name": "resnet20-narrow@digits",
        "builder": "resnet20",
        "options": {"width": 8, "norm": "batch", "seed": 3},
        "input_shape": [1, 32, 32],
        "classes": list("0123456789"),
        "mean": [0.125],
        "std": [0.25],
        "parameters": 68_786,
        "validation": rate(349),
        "test": rate(345),
        "best_epoch": int(np.argmax(accuracy)) + 1,
        "fingerprint": "5e" * 32,
        "data": {part: f"{i}b" * 32 for i, part in enumerate(SOURCES)},
        "torch": "2.15.0",
        "seconds": 123.4,
        "threads": 1,
        "device": "cpu",
        "stopped": "all epochs",
        "recipe": {
            "schema": 1,
            "name": "resnet20-narrow@digits",
            "seed": 3,
            "backbone": {"builder": "resnet20", "options": {"width": 8}},
            "data": {"source": "digits"},
            "train": {"epochs": epochs, "batch": 32, "lr": 0.002, "patience": 5},
            "augment": {"shift": 1.5, "rotate": 8.0, "scale": 0.08},
        },
        "curve": {
            "train_loss": train,
            "train_accuracy": (accuracy + 0.01).round(6).tolist(),
            "val_loss": validation,
            "val_accuracy": accuracy.tolist(),
            "lr": (0.001 * (1 + np.cos(np.pi * t))).tolist(),
        },
    }
    return card | changes


def adversarial(card, steps=10):
    """The same card, of an adversarially trained network."""
    robust = [round(0.8 * v - 0.1, 6) for v in card["curve"]["val_accuracy"]]
    found = {"norm": "linf", "eps": "0.1", "steps": steps}
    return card | {
        "adversarial": found | {"validation": rate(270), "test": rate(261)},
        "curve": card["curve"] | {"val_robust_accuracy": robust},
        "recipe": card["recipe"] | {"adversarial": {"method": "pgd", "eps": 0.1, "steps": 7}},
    }


def make_arrays(epochs=40, layers=LAYERS, shape=(6, 1, 5, 5), decay=0.8, **changes):
    """What lies beside the card: ``decay`` is the gradient of a layer over that of the next."""
    rng = np.random.default_rng(1)
    depth = len(layers) - 1 - np.arange(len(layers))
    gradient = np.exp(rng.normal(0, 0.2, (epochs, len(layers)))) * decay**depth
    gradient *= np.linspace(1, 0.05, epochs)[:, None]
    taken = np.unique(np.round(np.geomspace(1, epochs, 6)).astype(int))
    taken = np.concatenate([[0], taken])
    noise, shaped = rng.normal(0, 0.2, shape), rng.normal(0, 1, shape)
    blur = (np.cumsum(np.cumsum(shaped, -1), -2) - shaped.mean()) / 8
    grown = np.linspace(0, 1, len(taken)).reshape(-1, 1, 1, 1, 1)
    arrays = {
        "layers": np.array(layers),
        "gradient_norm": gradient.astype(np.float32),
        "weight_norm": np.cumsum(gradient, 0).astype(np.float32) + 1,
        "filters": (noise + grown * blur).astype(np.float32),
        "filter_epochs": taken,
    }
    return {k: v for k, v in (arrays | changes).items() if v is not None}


def write(folder: Path, card, arrays=None, stem="resnet20-narrow@digits") -> Path:
    """The files of a training; returns the path of the card."""
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(card), encoding="utf-8")
    if arrays is not None:
        np.savez_compressed(folder / f"{stem}.training.npz", **arrays)
    return path


def section(tree, name):
    (found,) = tree.all("section", id=name)
    return found


def check_safe(tree):
    """One script, the page's own; no address but data and anchors, no handler, no foreign tag."""
    assert len(tree.all("script")) == 1
    assert tree.all("script")[0].text == (shelf.reports() / "page.js").read_text(encoding="utf-8")
    assert not tree.all("iframe") + tree.all("form") + tree.all("object")
    for node in tree.walk():
        for name, value in node.attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:", "#")), value
    return len(list(tree.walk()))
