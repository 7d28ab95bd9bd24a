"""What is trained on: pixel statistics, balanced batches, and data that are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from robustlab.backbones import load_backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.training import load_recipe, train
from robustlab.training.parts import check_apart, chunks, epoch_order, load_parts, pixel_statistics
from robustlab.training.recipe import Source


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def check_statistics(measure, monkeypatch):
    """Against NumPy over all pixels at once, though looked at a few images at a time."""
    monkeypatch.setattr("robustlab.training.parts._MOST", 7)
    rng = np.random.default_rng(0)
    for images in (
        rng.integers(0, 256, (50, 3, 6, 5), dtype=np.uint8),
        rng.random((50, 3, 6, 5)).astype(np.float32),
    ):
        data = Data(images, np.arange(50) % 2)
        pixels = images.astype(np.float64) / (255 if data.is_8bit else 1)
        mean, std = measure(data)
        np.testing.assert_allclose(mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(std, pixels.std(axis=(0, 2, 3)), rtol=1e-9)


def test_statistics(monkeypatch):
    check_statistics(pixel_statistics, monkeypatch)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda data: pixel_statistics(data.subset(slice(0, 7))),
        lambda data: pixel_statistics(Data(data.images[:, ::-1], data.labels)),
        lambda data: tuple(tuple(v * v for v in one) for one in pixel_statistics(data)),
    ],
    ids=["first images alone", "channels turned round", "squared"],
)
def test_that_check_kills(mutant, monkeypatch):
    with pytest.raises(AssertionError):
        check_statistics(mutant, monkeypatch)


def test_statistics_of_two_levels_in_closed_form():
    """Half the pixels 0, half 255: mean 1/2, deviation 1/2, to the last bit."""
    images = np.zeros((4, 1, 2, 2), dtype=np.uint8)
    images[:2] = 255
    assert pixel_statistics(Data(images, [0, 1, 0, 1])) == ((0.5,), (0.5,))


def test_a_constant_channel_is_refused():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 2, 2), dtype=np.uint8)
    images[:, 1] = 9
    with pytest.raises(BadRequest, match=r"channel 1 .* normalise = false"):
        pixel_statistics(Data(images, [0, 1, 0, 1]))


def test_normalised_training_keeps_its_statistics(small, tmp_path):
    recipe = small(data={"normalise": True})
    backbone = card_of(train(recipe, tmp_path / "out"))
    mean, std = pixel_statistics(load_parts(recipe)["train"])
    assert (backbone["mean"], backbone["std"]) == (list(mean), list(std))
    plain = card_of(train(small(), tmp_path / "plain"))
    assert plain["mean"] is None
    assert plain["fingerprint"] != backbone["fingerprint"]


def card_of(path):
    return json.loads(path.with_suffix(".json").read_text())


def test_a_normalised_network_loads_with_its_statistics(tmp_path):
    recipe = load_recipe("mlp@digits")
    recipe = replace(recipe, data=replace(recipe.data, normalise=True, take=200))
    path = train(recipe, tmp_path, epochs=8)
    backbone = load_backbone(f"file:{path}")
    card = card_of(path)
    data = load_parts(recipe)["val"]
    images, labels = data.batch(slice(None)), torch.tensor(data.labels)
    told = card["curve"]["val_loss"][card["best_epoch"] - 1]
    assert cross_entropy(backbone(images), labels).item() == pytest.approx(told, abs=1e-5)
    bare = backbone.module(torch.from_numpy(images))  # mutant: left out
    assert cross_entropy(bare, labels).item() != pytest.approx(told, abs=1e-2)


@st.composite
def class_sizes(draw):
    return draw(st.lists(st.integers(1, 30), min_size=2, max_size=5))


def check_balanced(order_of, sizes):
    """n images; every round of K consecutive ones holds each class once; a class goes through all
    of its images before one repeats."""
    labels = torch.cat([torch.full((size,), k) for k, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=generator(1))]
    order = order_of(labels, True, generator())
    count, n = len(sizes), len(labels)
    assert len(order) == n
    for begin in range(0, n - count + 1, count):
        assert sorted(labels[order[begin : begin + count]].tolist()) == list(range(count))
    for label in range(count):
        drawn = order[labels[order] == label].bincount(minlength=n)[labels == label]
        assert drawn.max() - drawn.min() <= 1


@given(class_sizes())
def test_balanced_order(sizes):
    check_balanced(epoch_order, sizes)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda labels, _, g: epoch_order(labels, False, g),
        lambda labels, _, g: epoch_order(labels, True, g).sort().values,
        lambda labels, _, g: torch.cat(
            [(labels == k).nonzero()[:1, 0] for k in (0, 1)] * len(labels)
        )[: len(labels)],
    ],
    ids=["plain", "sorted", "always the first"],
)
def test_that_check_kills_unbalanced(mutant):
    with pytest.raises(AssertionError):
        check_balanced(mutant, [30, 6])


def test_a_plain_order_has_each_once():
    order = epoch_order(torch.zeros(9), False, generator())
    assert sorted(order.tolist()) == list(range(9))


def test_chunks_go_through_all(monkeypatch):
    monkeypatch.setattr("robustlab.training.parts._VALUES", 64 * 5)
    data = Data(np.zeros((12, 1, 8, 8), dtype=np.uint8), np.arange(12) % 2)
    pieces = [np.arange(12)[rows] for rows in chunks(data)]
    assert np.concatenate(pieces).tolist() == list(range(12))
    assert max(map(len, pieces)) == 5


def test_take_takes_the_same_share_of_each_part(small):
    parts = load_parts(small(data={"take": 10}))
    assert [len(parts[part]) for part in ("train", "val", "test")] == [10, 5, 5]


def save(tmp_path, name, labels, classes=None, shape=(1, 8, 8)):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    extra = {} if classes is None else {"classes": np.array(classes)}
    np.savez(tmp_path / f"{name}.npz", images=images, labels=np.array(labels), **extra)
    return f"npz:{tmp_path / name}.npz"


def test_a_single_class_is_refused(small, tmp_path):
    one = save(tmp_path, "one", [0, 0, 0], classes=["a", "b"])
    recipe = replace(small(), data=Source(train=one, val=one, test=one))
    with pytest.raises(BadRequest, match="all 3 training images are of one class"):
        train(recipe, tmp_path / "out")


def test_parts_of_other_classes_are_refused(small, tmp_path):
    two = save(tmp_path, "two", [0, 1], classes=["a", "b"])
    other = save(tmp_path, "other", [0, 1], classes=["b", "a"])
    recipe = replace(small(), data=Source(train=two, val=other, test=two))
    with pytest.raises(BadRequest, match="val has the classes b, a, train has a, b"):
        train(recipe, tmp_path / "out")


def test_another_number_of_classes_is_refused(small, tmp_path):
    three = save(tmp_path, "three", [0, 1, 2])
    recipe = replace(small(), data=Source(train=three, val=three, test=three))
    with pytest.raises(BadRequest, match=r"gives 2 logits, .* has 3 classes.*classes = 3"):
        train(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_shape_is_refused(small, tmp_path):
    wide = save(tmp_path, "wide", [0, 1], shape=(1, 8, 10))
    recipe = replace(small(), data=Source(train=wide, val=wide, test=wide))
    with pytest.raises(BadRequest, match=r"\[1, 8, 8\].* those of wide have \[1, 8, 10\]"):
        train(recipe, tmp_path / "out")


@pytest.mark.parametrize("same", [("train", "val"), ("train", "test"), ("val", "test")])
def test_parts_of_the_same_images_are_refused(same):
    recipe = load_recipe("mlp@digits")
    parts = load_parts(recipe)
    check_apart(recipe, parts)
    with pytest.raises(BadRequest, match=f"{same[0]} and {same[1]} are the same images"):
        check_apart(recipe, parts | {same[1]: parts[same[0]]})
