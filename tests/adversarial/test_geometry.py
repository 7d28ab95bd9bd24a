"""Balls: projections, random points and steps against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor

from robustlab.adversarial.geometry import GEOMETRIES, distance
from robustlab.adversarial.threats import Threat
from robustlab.randomness import SampleRandom

NORMS = ("linf", "l2", "l1")


def _delta(seed: int, scale: float) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(scale * rng.standard_normal((3, 2, 4, 5)))


def _norm(delta: Tensor, norm: str) -> Tensor:
    return distance(delta, torch.zeros_like(delta), norm)


@pytest.mark.parametrize("norm", NORMS)
@given(seed=st.integers(0, 999), scale=st.floats(1e-3, 30), eps=st.floats(0.01, 5))
@settings(max_examples=60, deadline=None)
def test_a_projection_lands_in_the_ball_and_stays(
    norm: str, seed: int, scale: float, eps: float
) -> None:
    delta = _delta(seed, scale)
    once = GEOMETRIES[norm].project(delta, eps)
    assert bool((_norm(once, norm) <= eps * (1 + 1e-9)).all())
    assert torch.allclose(GEOMETRIES[norm].project(once, eps), once, atol=1e-9)
    inside = _norm(delta, norm) <= eps
    assert torch.equal(once[inside], delta[inside])


@given(seed=st.integers(0, 999), scale=st.floats(0.1, 10), eps=st.floats(0.05, 5))
@settings(max_examples=60, deadline=None)
def test_the_l1_projection_is_the_closest_point(seed: int, scale: float, eps: float) -> None:
    """Soft thresholding with the threshold found by root search, an independent route."""
    delta = _delta(seed, scale)
    found = GEOMETRIES["l1"].project(delta, eps)
    for one, projected in zip(delta.numpy(), found.numpy(), strict=True):
        size = np.abs(one)
        if size.sum() <= eps:
            continue
        t = brentq(lambda t, s=size: np.maximum(s - t, 0).sum() - eps, 0, size.max())
        assert np.allclose(projected, np.sign(one) * np.maximum(size - t, 0), atol=1e-8)


def test_rescaling_is_not_the_l1_projection() -> None:
    """Mutant of the test above: the radial "projection" of other libraries lies further away."""
    delta = _delta(1, 1.0)
    closest = GEOMETRIES["l1"].project(delta, 2.0)
    radial = delta * (2.0 / _norm(delta, "l1")).view(-1, 1, 1, 1)
    assert bool((_norm(delta - radial, "l2") > _norm(delta - closest, "l2") + 0.1).all())


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_has_unit_norm_and_climbs(norm: str) -> None:
    gradient, x = _delta(2, 1.0), torch.full((3, 2, 4, 5), 0.5, dtype=torch.float64)
    step = GEOMETRIES[norm].ascent(gradient, x)
    assert torch.allclose(_norm(step, norm), torch.ones(3, dtype=torch.float64))
    assert bool(((step * gradient).flatten(1).sum(1) > 0).all())


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_gives_a_finite_step(norm: str) -> None:
    zero = torch.zeros(2, 1, 3, 3)
    step = GEOMETRIES[norm].ascent(zero, torch.full_like(zero, 0.5))
    assert bool(step.isfinite().all())
    assert norm == "l1" or not bool(step.any())


@pytest.mark.parametrize("norm", NORMS)
def test_random_points_fill_the_ball(norm: str) -> None:
    """Inside always; and radius^d is uniform, which a point on the surface or a cube is not."""
    x = torch.full((400, 1, 2, 2), 0.5, dtype=torch.float64)
    random = SampleRandom(0, [str(i) for i in range(400)], "ball")
    delta = GEOMETRIES[norm].random(x, 0.3, random)
    radius = (_norm(delta, norm) / 0.3).numpy()
    assert (radius <= 1 + 1e-12).all()
    from scipy.stats import kstest

    assert kstest(radius**4, "uniform").pvalue > 1e-3
    on_surface = np.ones_like(radius)
    assert kstest(on_surface**4, "uniform").pvalue < 1e-6
    assert kstest(radius, "uniform").pvalue < 1e-6  # mutant: the radius itself drawn uniformly


@pytest.mark.parametrize("norm", NORMS)
def test_a_random_start_is_inside_ball_and_box(norm: str) -> None:
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    threat = Threat(norm, {"linf": 0.2, "l2": 0.7, "l1": 2.0}[norm])
    start = threat.random_start(x, SampleRandom(0, [str(i) for i in range(20)]))
    assert bool(((start >= 0) & (start <= 1)).all())
    assert bool((threat.distance(start, x) <= threat.eps + 1e-6).all())
    assert not torch.equal(start, x)
