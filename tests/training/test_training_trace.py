"""What the page draws: norms of gradients and weights, snapshots of the first filters."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from robustlab.training import train
from robustlab.training.trace import Trace


def arrays_of(path):
    with np.load(path.with_suffix(".training.npz"), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_the_file(small, tmp_path):
    path = train(small(), tmp_path / "out")
    found = arrays_of(path)
    assert found["layers"].tolist() == ["conv1", "fc"]
    assert found["gradient_norm"].shape == found["weight_norm"].shape == (3, 2)
    assert found["filters"].shape == (4, 4, 1, 3, 3)
    assert found["filter_epochs"].tolist() == [0, 1, 2, 3]
    assert {found[name].dtype.name for name in ("gradient_norm", "weight_norm", "filters")} == {
        "float32"
    }
    norms = np.linalg.norm(found["filters"].reshape(4, -1), axis=1)
    np.testing.assert_allclose(norms[1:], found["weight_norm"][:, 0], rtol=1e-5)
    weights = load_file(path)
    assert (found["filters"] == weights["conv1.weight"].numpy()).all(axis=(1, 2, 3, 4)).any()


def check_gradients(small, tmp_path):
    """Against finite sums: a single batch an epoch, lr 0, so the gradient is known."""
    settings = {"batch": 40, "lr": 1e-12, "optimizer": "sgd", "epochs": 1}
    recipe = small(train=settings, network=linear)
    found = arrays_of(train(recipe, tmp_path / "out"))["gradient_norm"]
    with np.load(tmp_path / "data" / "train.npz") as file:
        x = file["images"].reshape(40, -1) / 255
        y = file["labels"]
    weight, bias = (one.detach().numpy().astype(float) for one in linear(2)[1].parameters())
    logits = x @ weight.T + bias
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradient = (p - np.eye(2)[y]).T @ x / 40
    np.testing.assert_allclose(found, [[np.linalg.norm(gradient)]], rtol=1e-4)


def linear(classes):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def test_gradients(small, tmp_path):
    check_gradients(small, tmp_path)


def test_that_check_kills(small, tmp_path, monkeypatch):
    """Mutant: summed twice, as if a step counted half."""
    step = Trace.step

    def twice(self):
        step(self)
        step(self)
        self.steps -= 1

    monkeypatch.setattr(Trace, "step", twice)
    with pytest.raises(AssertionError):
        check_gradients(small, tmp_path)


def test_frozen_layers_have_no_gradient(small, tmp_path):
    found = arrays_of(train(small(frozen=("conv1",)), tmp_path / "out"))
    assert np.isnan(found["gradient_norm"][:, 0]).all()
    assert (found["gradient_norm"][:, 1] > 0).all()


def test_a_fully_connected_first_layer_looks_like_the_image(small, tmp_path):
    found = arrays_of(train(small(network=linear), tmp_path / "out"))
    assert found["filters"].shape == (4, 2, 1, 8, 8)


@pytest.mark.parametrize("epochs", [1, 2, 12, 80, 1000])
def test_snapshots_are_few_and_the_last_is_among_them(epochs):
    trace = Trace(nn.Conv2d(1, 100, 3), (1, 8, 8), epochs)
    for epoch in range(1, epochs + 1):
        trace.end_epoch(epoch)
    trace.end(epochs)
    found = trace.arrays()
    assert found["filters"].shape[1:] == (64, 1, 3, 3)
    assert found["filter_epochs"][0] == 0
    assert found["filter_epochs"][-1] == epochs
    assert min(epochs, 8) < len(found["filter_epochs"]) <= 12 or epochs < 3
    assert (np.diff(found["filter_epochs"]) > 0).all()


def test_a_training_that_stops_early_keeps_its_last_filters():
    trace = Trace(nn.Conv2d(1, 4, 3), (1, 8, 8), 100)
    for epoch in range(1, 48):
        trace.end_epoch(epoch)
    trace.end(47)
    assert trace.arrays()["filter_epochs"].tolist()[-1] == 47
    assert len(trace.arrays()["filter_epochs"]) <= 12


def test_a_network_without_layers_has_empty_arrays():
    trace = Trace(nn.Flatten(), (1, 8, 8), 2)
    trace.step()
    trace.end_epoch(1)
    found = trace.arrays()
    assert found["layers"].shape == (0,)
    assert found["gradient_norm"].shape == (1, 0)
    assert "filters" not in found
