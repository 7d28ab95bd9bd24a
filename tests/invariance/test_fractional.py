"""Shifts by parts of a cell against the theory of sampling, with mutants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from robustlab import Backbone, Data
from robustlab.errors import BadRequest
from robustlab.invariance import layer_measures
from robustlab.invariance.layer_errors import aligned_error, fractional_error
from robustlab.invariance.layers import equivariance
from robustlab.invariance.shifts import fourier_shifted

SIDE = 16
PARTS = (0.25, 0.5, 1.0, 1.5, 2.0, -0.75)


def wave(frequency, axis=1, phase=0.3):
    """A cosine of so many cycles along one axis, [1, 1, 16, 16]."""
    line = torch.cos(2 * math.pi * frequency * torch.arange(SIDE).double() / SIDE + phase)
    grid = line.expand(SIDE, SIDE)
    return (grid if axis == 1 else grid.T)[None, None]


def sampled(x):
    return x[..., ::2, ::2]


def error_at(error, frequency, s, axis=1):
    """Of sampling by 2 under a shift by s pixels along an axis."""
    shift = (0.0, s) if axis == 1 else (s, 0.0)
    x = wave(frequency, axis)
    after = sampled(fourier_shifted(x, *shift))
    return float(error(after, sampled(x), (shift[0] / 2, shift[1] / 2)))


def check_below_half(error):
    """Frequencies below half a cycle a cell move along by any part of a cell."""
    for frequency in (1, 2, 3):
        for axis in (0, 1):
            assert max(error_at(error, frequency, s, axis) for s in PARTS) < 1e-12


def check_aliased(error):
    """Sampling by 2 takes f cycles for f - 8, which a shift by s turns by pi s too much: an error
    of |1 - exp(i pi s)| = 2 |sin(pi s / 2)|.
    """
    for frequency in (5, 6, 7):
        for s in PARTS:
            expected = 2 * abs(math.sin(math.pi * s / 2))
            assert error_at(error, frequency, s) == pytest.approx(expected, abs=1e-9)


def check_whole(error):
    torch.manual_seed(0)
    after, before = torch.randn(2, 3, 2, 6, 8, dtype=torch.float64)
    assert torch.equal(error(after, before, (1.0, -2.0)), aligned_error(after, before, (1, -2)))


def check_constant(error):
    """A large constant in every channel changes no error: it is no credit to the network."""
    torch.manual_seed(0)
    after, before = torch.randn(2, 3, 2, 6, 8, dtype=torch.float64)
    plain = error(after, before, (0.5, 0.25)).tolist()
    assert error(after + 50, before + 50, (0.5, 0.25)).tolist() == pytest.approx(plain, rel=1e-6)


CHECKS = [check_below_half, check_aliased, check_whole, check_constant]


@pytest.mark.parametrize("check", CHECKS)
def test_fractional_error(check):
    check(fractional_error)


def wrong_way(after, before, parts):
    return fractional_error(after, before, (-parts[0], -parts[1]))


def stride_forgotten(after, before, parts):
    return fractional_error(after, before, (2 * parts[0], 2 * parts[1]))


def axes_changed(after, before, parts):
    return fractional_error(after, before, parts[::-1])


def by_the_plain_norm(after, before, parts):
    apart = (after - fourier_shifted(before, *parts)).flatten(1).norm(dim=1)
    return apart / before.flatten(1).norm(dim=1)


def nearest_cell(after, before, parts):
    return aligned_error(after, before, (round(parts[0]), round(parts[1])))


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (wrong_way, check_below_half),
        (wrong_way, check_whole),
        (stride_forgotten, check_below_half),
        (stride_forgotten, check_aliased),
        (axes_changed, check_below_half),
        (by_the_plain_norm, check_constant),
        (nearest_cell, check_below_half),
        (nearest_cell, check_aliased),
    ],
)
def test_the_checks_kill(mutant, check):
    with pytest.raises(AssertionError):
        check(mutant)


# The whole probe ----------------------------------------------------------------------------------


def network():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    return Backbone(module.double().eval(), input_shape=(1, SIDE, SIDE), classes=3)


def images(n=4):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (n, 1, SIDE, SIDE)).astype(np.uint8)
    return Data(pixels, np.zeros(n, int), classes=3, name="noise")


def check_facts(arrays):
    """A convolution moves along by any part of a cell, a rectifier does not, and at whole cells
    both do.
    """
    assert arrays["shifts"].tolist() == [[0.0, 0.5], [0.0, 1.0], [2.0, 0.0]]
    assert arrays["fractional"][:, :, 0].max() < 1e-10
    assert arrays["fractional"][:, 0, 1].min() > 0.05
    assert arrays["fractional"][:, 1, 1].max() < 1e-10
    assert arrays["fractional"][:, 1, 2].min() > 0.05
    assert arrays["fractional"][:, 2, 2].max() < 1e-10
    assert np.isnan(arrays["aligned"][:, 0]).all()
    assert np.isnan(arrays["fractional"][:, :, 3:]).all()


SHIFTS = ((0, 0.5), (0, 1), (2, 0))


def test_the_probe_measures_it():
    outcome = equivariance(network(), images(), shifts=SHIFTS, mode="circular")
    check_facts(outcome.arrays)
    whole = equivariance(network(), images(), shifts=SHIFTS[1:], mode="zero")
    assert np.isnan(whole.arrays["fractional"]).all()


def test_the_facts_kill_a_bilinear_shift(monkeypatch):
    def bilinear(x, dy, dx, mode):
        low = math.floor(dx)
        share = dx - low
        return (1 - share) * x.roll((int(dy), low), (-2, -1)) + share * x.roll(low + 1, -1)

    monkeypatch.setattr(layer_measures, "shifted", bilinear)
    with pytest.raises(AssertionError):
        check_facts(equivariance(network(), images(), shifts=SHIFTS, mode="circular").arrays)


def test_the_facts_kill_the_nearest_cell(monkeypatch):
    monkeypatch.setattr(layer_measures, "fractional_error", nearest_cell)
    with pytest.raises(AssertionError):
        check_facts(equivariance(network(), images(), shifts=SHIFTS, mode="circular").arrays)


@pytest.mark.parametrize(
    ("shifts", "told"),
    [
        (((0, 0.5),), r"shift \[0, 0.5\] of 'equivariance' is by parts of pixels, which mode 'zer"),
        (((0, float("nan")),), "no finite number of pixels"),
        (((0, 1), (0, 1.0)), "twice"),
    ],
)
def test_bad_input(shifts, told):
    with pytest.raises(BadRequest, match=told):
        equivariance(network(), images(), shifts=shifts, mode="zero")
