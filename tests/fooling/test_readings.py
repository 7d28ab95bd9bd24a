"""Readings against torch's own softmax, whatever the batches; pictures are never all in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustlab.backbones import load_backbone
from robustlab.data import load_data
from robustlab.errors import BadRequest
from robustlab.fooling import readings
from robustlab.fooling.readings import as_it_is, look, reading, tell

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def mlp():
    return load_backbone("mlp@digits")


@pytest.fixture(scope="module")
def images():
    return load_data("digits:test").batch(slice(0, 11))


def test_probabilities_are_torchs(mlp, images):
    found = reading(mlp, images[0], 3, 5)
    expected = mlp(images[:1]).double().softmax(1)[0]
    chances, order = expected.sort(descending=True)
    assert [index for index, _, _ in found.top] == order[:5].tolist()
    assert [name for _, name, _ in found.top] == [mlp.classes[k] for k in order[:5]]
    np.testing.assert_allclose([p for *_, p in found.top], chances[:5], rtol=1e-12)
    assert found.label == pytest.approx(float(expected[3]), rel=1e-12)
    assert found.target == pytest.approx(float(expected[5]), rel=1e-12)
    assert found.index == int(order[0])
    assert found.network == mlp.name


def test_no_target_is_not_a_number(mlp, images):
    assert np.isnan(reading(mlp, images[0], 3).target)


def test_few_classes_have_few_rows_and_ties_the_smaller_first():
    found = tell("n", ("a", "b", "c"), np.array([1.0, 2.0, 2.0]), 0, None)
    assert [name for _, name, _ in found.top] == ["b", "c", "a"]


@pytest.mark.parametrize("batch", [1, 3, 8, 50])
def test_batches_change_nothing(mlp, images, batch):
    expected = mlp(images).double().numpy()
    np.testing.assert_allclose(look(mlp, images, batch=batch), expected, atol=1e-5)


def test_pictures_are_taken_a_batch_at_a_time(mlp, images, monkeypatch):
    given, most = [], []
    inner = type(mlp).__call__

    def called(self, x):
        most.append(len(given))
        return inner(self, x)

    monkeypatch.setattr(type(mlp), "__call__", called)
    look(mlp, (given.append(1) or one for one in images), batch=4)
    assert most == [4, 8, 11]


def test_a_read_is_a_255th():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    expected = (torch.from_numpy(levels).float() / 255).numpy()
    assert as_it_is(levels).dtype == np.float32
    assert (as_it_is(levels) == expected).all()


@pytest.mark.parametrize(("label", "target"), [(10, None), (-1, None), (0, 10)])
def test_no_such_class(mlp, images, label, target):
    with pytest.raises(BadRequest, match="mlp@digits knows 10, from 0 to 9"):
        reading(mlp, images[0], label, target)


def test_a_network_that_breaks_down_is_told(mlp, images):
    broken = load_backbone("mlp@digits")
    with torch.no_grad():
        next(broken.module.parameters()).fill_(float("nan"))
    with pytest.raises(BadRequest, match="answers a picture with nan"):
        reading(broken, images[0], 0)


@pytest.mark.parametrize("batch", [0, -1])
def test_no_batch(mlp, images, batch):
    with pytest.raises(BadRequest, match="at least 1"):
        look(mlp, images, batch=batch)


def without_shift(logits):
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def over_the_pictures(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum(axis=0, keepdims=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mutant", [without_shift, over_the_pictures])
def test_mutants_die(mutant):
    logits = np.array([[0.0, 800.0, 801.0], [1.0, 2.0, 3.0]])
    expected = torch.from_numpy(logits).softmax(1).numpy()
    np.testing.assert_allclose(readings.probabilities(logits), expected, rtol=1e-12)
    assert not np.allclose(mutant(logits), expected)
