"""The search takes foolbox's steps: same network, images, start and steps; early exit off, last
iterate kept, nothing folded. Each comparison is also shown to fail on broken searches.

In L1 foolbox's own projection is replaced by a correct one: its threshold counts one coordinate too
many, so that its iterates leave the ball (shown below), and it pushes images that are inside out to
the surface as soon as another image of the batch is outside.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import eagerpy as ep
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from robustlab.adversarial import Access, Threat, gradient_search
from robustlab.adversarial.fastpath import search_copy
from robustlab.adversarial.foolbox_bridge import _foolbox
from robustlab.adversarial.geometry import GEOMETRIES, L1, Geometry
from robustlab.adversarial.losses import LOSSES, fooled
from robustlab.backbones import Backbone
from robustlab.data import Data

EPS = {"linf": 0.1, "l2": 1.5, "l1": 10.0}
CASES = [("linf", False), ("linf", True), ("l2", False), ("l2", True), ("l1", False)]


def _double(backbone: Backbone) -> Backbone:
    module = copy.deepcopy(backbone.module).double().eval()
    return Backbone(module, input_shape=backbone.input_shape, classes=backbone.classes)


def _inputs(data: Data, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x = torch.tensor(data.batch_8bit(np.arange(len(data)))).to(dtype) / 255
    return x, torch.tensor(np.asarray(data.labels))


def _theirs(backbone: Backbone, data: Data, norm: str, targeted: bool, steps: int) -> Tensor:
    foolbox = _foolbox()
    x, y = _inputs(data, backbone.dtype)
    attacks = foolbox.attacks
    cls = {
        "linf": attacks.LinfProjectedGradientDescentAttack,
        "l2": attacks.L2ProjectedGradientDescentAttack,
        "l1": attacks.SparseL1DescentAttack,
    }[norm]
    attack = cls(rel_stepsize=2.5 / 40, steps=steps, random_start=False)
    model = foolbox.PyTorchModel(backbone.network, bounds=(0, 1), device="cpu")
    goal = (y + 1) % 10
    criterion = (
        foolbox.criteria.TargetedMisclassification(goal)
        if targeted
        else foolbox.criteria.Misclassification(y)
    )
    if norm == "l1":
        attack.project = _thresholded
    found: Tensor = attack.run(model, x, criterion, epsilon=EPS[norm])
    return found.detach()


def _thresholded(x: Any, x0: Any, epsilon: float) -> Any:
    """Soft thresholding with the threshold found by root search, an image at a time."""
    delta = (x - x0).raw.detach().numpy()
    for one in delta:
        size = np.abs(one)
        if size.sum() > epsilon:
            t = brentq(
                lambda t, s=size: np.maximum(s - t, 0).sum() - epsilon, 0, size.max(), xtol=1e-15
            )
            one[...] = np.sign(one) * np.maximum(size - t, 0)
    return x0 + ep.astensor(torch.tensor(delta))


def _ours(
    backbone: Backbone,
    data: Data,
    norm: str,
    targeted: bool,
    steps: int,
    geometry: Geometry | None = None,
) -> Tensor:
    x, y = _inputs(data, backbone.dtype)
    network, _ = search_copy(backbone.network, backbone.input_shape, fast=False)
    threat = Threat(norm, EPS[norm], (y + 1) % 10 if targeted else None)
    found, _ = gradient_search(
        Access(network, len(x)),
        x,
        y,
        x,
        threat,
        steps=steps,
        step_size=EPS[norm] * 2.5 / 40,
        keep_best=False,
        early_exit=False,
        geometry=geometry,
    )
    return found


def _furthest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize(("norm", "targeted"), CASES)
def test_float64_agrees_over_all_steps(
    lenet: Backbone, digits: Data, norm: str, targeted: bool
) -> None:
    backbone = _double(lenet)
    theirs = _theirs(backbone, digits, norm, targeted, 40)
    assert _furthest(_ours(backbone, digits, norm, targeted, 40), theirs) <= 1e-6


def test_foolbox_leaves_the_l1_ball(lenet: Backbone, digits: Data) -> None:
    """Why its projection is replaced above; when this fails, foolbox is mended and so is that."""
    backbone, foolbox = _double(lenet), _foolbox()
    x, y = _inputs(digits, torch.float64)
    model = foolbox.PyTorchModel(backbone.network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.SparseL1DescentAttack(rel_stepsize=2.5 / 40, steps=40)
    found = attack.run(model, x, foolbox.criteria.Misclassification(y), epsilon=EPS["l1"])
    size = (found - x).abs().flatten(1).sum(1)
    assert float(size.max()) > EPS["l1"] * (1 + 1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_float32_one_step_differs_in_a_thousandth_of_the_pixels_at_most(
    lenet: Backbone, digits: Data, norm: str
) -> None:
    theirs = _theirs(lenet, digits, norm, False, 1)
    ours = _ours(lenet, digits, norm, False, 1)
    assert float(((ours - theirs).abs() > 1e-6).float().mean()) <= 1e-3


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_float32_forty_steps_give_the_same_verdicts(
    lenet: Backbone, digits: Data, norm: str
) -> None:
    _, y = _inputs(digits, torch.float32)
    theirs, ours = (f(lenet, digits, norm, False, 40) for f in (_theirs, _ours))
    verdicts = [fooled(lenet(images), y) for images in (theirs, ours)]
    logits = lenet(theirs)
    margin = logits.gather(1, y[:, None]).squeeze(1) - logits.scatter(
        1, y[:, None], -torch.inf
    ).amax(1)
    fragile = margin.abs() < 0.05 * logits.abs().amax(1)  # a walk that ends beside the boundary
    assert bool((verdicts[0] == verdicts[1])[~fragile].all())
    assert float(fragile.float().mean()) < 0.2  # or the line above would say nothing


class _NoProjection:
    """Mutant: walks out of the ball."""

    def __init__(self, norm: str) -> None:
        self.whole = GEOMETRIES[norm]

    def ascent(self, gradient: Tensor, x: Tensor) -> Tensor:
        return self.whole.ascent(gradient, x)

    def project(self, delta: Tensor, eps: float) -> Tensor:
        return delta


class _Descends(_NoProjection):
    """Mutant: steps the wrong way."""

    def ascent(self, gradient: Tensor, x: Tensor) -> Tensor:
        return -self.whole.ascent(gradient, x)

    def project(self, delta: Tensor, eps: float) -> Tensor:
        return self.whole.project(delta, eps)


class _RawGradient(_Descends):
    """Mutant: a step as long as the gradient, not as the step size."""

    def ascent(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient.clone()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [_NoProjection, _Descends, _RawGradient])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_broken_geometry_is_caught(
    lenet: Backbone, digits: Data, norm: str, mutant: Callable[[str], Geometry]
) -> None:
    backbone = _double(lenet)
    theirs = _theirs(backbone, digits, norm, False, 40)
    ours = _ours(backbone, digits, norm, False, 40, geometry=mutant(norm))
    assert _furthest(ours, theirs) > 1e-3


def test_the_target_ignored_is_caught(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, whole = _double(lenet), LOSSES["ce"]
    theirs = _theirs(backbone, digits, "linf", True, 10)
    monkeypatch.setitem(LOSSES, "ce", lambda logits, y, target: whole(logits, y, None))
    assert _furthest(_ours(backbone, digits, "linf", True, 10), theirs) > 1e-3


def test_a_dense_l1_step_is_caught(lenet: Backbone, digits: Data) -> None:
    class Dense(L1):
        quantile = 0.0

    backbone = _double(lenet)
    theirs = _theirs(backbone, digits, "l1", False, 10)
    assert _furthest(_ours(backbone, digits, "l1", False, 10, geometry=Dense()), theirs) > 1e-3
