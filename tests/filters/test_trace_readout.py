"""The linear read-out reads nothing that it was taught on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustlab.filters import trace_readout
from robustlab.filters.trace_readout import deal, pooled, read


def check_chance():
    """Labels that nothing tells: what was not taught is read by chance (a quarter)."""
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(160, 60)), generator.integers(0, 4, 160)
    fold = np.arange(160) % 4
    said, changed = read(features, labels, fold, features, range(160))
    assert (said == labels).mean() < 0.4
    assert (changed == said).all()


def test_labels_without_a_reason_are_read_by_chance():
    check_chance()


def test_that_check_kills_reading_what_was_taught(monkeypatch):
    monkeypatch.setattr(trace_readout, "training_rows", lambda fold, tested: np.arange(len(fold)))
    with pytest.raises(AssertionError):
        check_chance()


def test_classes_that_can_be_told_are_told_and_changed_ones_by_their_twins_fold():
    generator = np.random.default_rng(1)
    labels = np.arange(90) % 3
    features = 4 * np.eye(3)[labels] + 0.3 * generator.normal(size=(90, 3))
    said, changed = read(features, labels, np.arange(90) % 2, 4 * np.eye(3)[[2, 0]], [0, 1])
    assert (said == labels).mean() == 1
    assert changed.tolist() == [2, 0]


def test_background_that_hardly_varies_does_not_decide():
    """A hundred values of no spread, then noise on them: the class stays what it was."""
    generator = np.random.default_rng(2)
    labels = np.arange(80) % 2
    told = 3 * (2 * labels[:, None] - 1) + generator.normal(size=(80, 1))
    features = np.concatenate([told, 1e-4 * generator.normal(size=(80, 100))], axis=1)
    noisy = features + np.concatenate([np.zeros((80, 1)), generator.normal(size=(80, 100)) / 10], 1)
    _, said = read(features, labels, np.arange(80) % 4, noisy, range(80))
    assert (said == labels).mean() > 0.95


def test_equal_pictures_share_a_fold():
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8)
    images[7] = images[31]
    fold = deal(images, 4, 0)
    assert fold[7] == fold[31]
    assert (deal(images[::-1], 4, 0)[::-1] == fold).all()
    assert set(fold.tolist()) == {0, 1, 2, 3}


def test_too_few_to_teach():
    assert read(np.eye(4), np.arange(4) % 2, np.arange(4) % 2, np.eye(1, 4), [0]) is None
    one = np.zeros(40, int)
    assert (
        read(
            np.random.default_rng(0).normal(size=(40, 3)),
            one,
            np.arange(40) % 2,
            np.zeros((1, 3)),
            [0],
        )
        is None
    )


def test_large_maps_are_averaged():
    maps = torch.arange(2 * 8 * 16 * 16, dtype=torch.float64).reshape(2, 8, 16, 16)
    vectors = pooled(maps)
    assert vectors.shape == (2, 8 * 8 * 8)
    assert vectors[0, 0] == maps[0, 0, :2, :2].mean()
    assert pooled(maps[:, :, :4, :4]).shape == (2, 8 * 16)
    assert pooled(torch.zeros(2, 700, 3, 3)).shape == (2, 700)
