"""The recipes whose data are not shipped, tried on a part of real images where they lie beside."""

import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustlab.training import load_recipe, train
from robustlab.training.recipe import Source

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.slow


def absent(name):
    there = (FOLDER / name).is_dir()
    return pytest.mark.skipif(not there, reason=f"the images of {name} are not beside here")


def parts(images, labels, folder, counts):
    """Three archives, and the recipe's table that names them."""
    begin, found = 0, {}
    for part, n in zip(("train", "val", "test"), counts, strict=True):
        rows = slice(begin, begin + n)
        np.savez(folder / f"{part}.npz", images=images[rows], labels=labels[rows].astype(int))
        found[part] = f"npz:{folder / part}.npz"
        begin += n
    return found


def mnist(name, head):
    with gzip.open(FOLDER / "mnist" / name) as file:
        return np.frombuffer(file.read(), np.uint8)[head:]


def card_of(path):
    return json.loads(path.with_suffix(".json").read_text())


@absent("mnist")
def test_lenet5_on_a_part_of_mnist(tmp_path, one_thread):
    images = mnist("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[:6000]
    images = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))  # what pad=2 does
    labels = mnist("train-labels-idx1-ubyte.gz", 8)
    recipe = load_recipe("lenet5@mnist")
    data = Source(**parts(images, labels, tmp_path, (4000, 1000, 1000)))
    card = card_of(train(replace(recipe, data=data), tmp_path / "out", epochs=8))
    assert card["test"]["value"] > 0.95


@absent("cifar10")
def test_resnet20_on_a_part_of_cifar10(tmp_path, one_thread):
    """Far from its 182 epochs: it learns, by the settings of the recipe."""
    with lzma.open(FOLDER / "cifar10" / "cifar10_test_images_u8.npy.xz") as file:
        images = np.load(file, allow_pickle=False)[:2000].transpose(0, 3, 1, 2)
    labels = np.load(FOLDER / "cifar10" / "cifar10_test_labels_u8.npy", allow_pickle=False)
    recipe = load_recipe("resnet20@cifar10")
    sources = parts(images, labels, tmp_path, (1500, 250, 250))
    data = Source(**sources, normalise=recipe.data.normalise)
    card = card_of(train(replace(recipe, data=data), tmp_path / "out", epochs=4))
    assert card["test"]["value"] > 0.2  # of ten classes
    assert card["curve"]["train_loss"][-1] < card["curve"]["train_loss"][0]
    assert card["curve"]["lr"] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    assert card["mean"] == pytest.approx([0.49, 0.48, 0.44], abs=0.03)
