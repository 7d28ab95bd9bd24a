"""What the machine computes fastest: chosen by what is measured, once a run, and said."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from robustlab import load_backbone, machine
from robustlab.backbones import Backbone


@pytest.fixture
def net() -> Backbone:
    return load_backbone("mlp@digits")


def _clock(monkeypatch: pytest.MonkeyPatch, seconds: Any) -> None:
    def measured(backbone: Backbone, batch: int = 64, *, half: bool = False) -> float:
        found: float = seconds(batch, half, torch.get_num_threads())
        return found

    monkeypatch.setattr(machine, "seconds_a_pass", measured)


@pytest.mark.parametrize(
    ("units", "half", "precision"),
    [("", 0.1, "float32"), ("tiles", 0.15, "bfloat16"), ("tiles", 0.5, "float32"),
     ("tiles", math.inf, "float32")],
)  # fmt: skip
def test_precision(
    net: Backbone, monkeypatch: pytest.MonkeyPatch, units: str, half: float, precision: str
) -> None:
    """bfloat16 where there are units for it, and where it is measured to pay."""
    monkeypatch.setattr(machine, "matrix_units", lambda device: units)
    _clock(monkeypatch, lambda batch, low, threads: half if low else 1.0)
    choice = machine.choose([net])
    assert choice.precision == precision
    assert choice.why.startswith(precision)
    assert ("no matrix units" in choice.why) == (not units)


@pytest.mark.parametrize(
    ("fastest", "gain", "taken"), [(32, 1.5, 32), (32, 1.1, 128), (256, 1.3, 256)]
)
def test_batch(
    net: Backbone, monkeypatch: pytest.MonkeyPatch, fastest: int, gain: float, taken: int
) -> None:
    """A size is taken where it is clearly faster; a little faster is noise."""
    _clock(monkeypatch, lambda batch, low, threads: 1.0 / gain if batch == fastest else 1.0)
    assert machine.choose([net]).batch == taken


def test_a_batch_that_memory_does_not_hold_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 2)).eval()
    large = Backbone(module, input_shape=(3, 64, 64), classes=2, name="large")
    tried = []
    _clock(monkeypatch, lambda batch, low, threads: tried.append(batch) or 1.0)
    monkeypatch.setattr(machine, "_ACTIVATION_BYTES", 60 * 4 * 3 * 64 * 64 * 20)
    assert machine.choose([large]).batch == 16
    assert max(tried) == 16


@pytest.mark.parametrize(("two", "taken"), [(0.5, 2), (0.95, 1)])
def test_threads(net: Backbone, monkeypatch: pytest.MonkeyPatch, two: float, taken: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _clock(monkeypatch, lambda batch, low, threads: two if threads == 2 else 1.0)
        assert machine.choose([net]).threads == taken
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_pass_is_measured(net: Backbone) -> None:
    assert 0 < machine.seconds_a_pass(net, 4) < 10
    assert machine.seconds_a_pass(net, 4, half=True) > 0
