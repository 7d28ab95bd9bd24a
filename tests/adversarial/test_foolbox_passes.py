"""Passes of foolbox's attacks: counted as the network sees them, bounded by what is promised."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.adversarial import Access, Threat
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve

needs_numba = [
    pytest.mark.skipif(
        importlib.util.find_spec("numba") is None, reason="numba is an optional extra"
    ),
    pytest.mark.slow,  # it is compiled first
]


class Counting(nn.Module):
    """The network, and how often it was asked, either way."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.passes = network, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += len(x)
        logits: torch.Tensor = self.network(x)
        if logits.requires_grad:
            logits.register_hook(self._back)  # type: ignore[no-untyped-call]
        return logits

    def _back(self, slope: torch.Tensor) -> None:
        self.passes += len(slope)


def counted(attack: Any, backbone: Backbone, data: Data) -> tuple[int, np.ndarray]:
    """Passes of one search as the network saw them, and as the lab counted them, an image."""
    network = Counting(backbone.network)
    x = torch.tensor(data.batch(np.arange(len(data))))
    y = torch.tensor(np.asarray(data.labels))
    access = Access(network, len(x))
    threat = Threat(attack.norm, attack.budgets(data.shape)[0].value)
    with torch.no_grad():
        attack.search(access, x, y, x, threat, SampleRandom(0, list(data.ids)))
    return network.passes, access.forward_passes + access.backward_passes


SETTINGS = [
    ("DDNAttack", {"steps": 7}),
    ("FGSM", {}),
    ("LinfPGD", {"steps": 7}),
    ("L1FMNAttack", {"steps": 7}),
    ("L0FMNAttack", {"steps": 7, "eps": "1px"}),
    ("NewtonFoolAttack", {"steps": 7}),
    ("MIFGSM", {"steps": 7}),
    ("SparseL1DescentAttack", {"steps": 7}),
    ("VirtualAdversarialAttack", {"steps": 7, "xi": 1.0}),
    ("L2RepeatedAdditiveGaussianNoiseAttack", {"repeats": 7}),
    ("L2AdditiveGaussianNoiseAttack", {}),
    ("LinearSearchBlendedUniformNoiseAttack", {"steps": 20}),
    ("InversionAttack", {}),
    ("L2DeepFoolAttack", {"steps": 3, "candidates": 4, "overshoot": -0.5}),
    ("L2CarliniWagnerAttack", {"steps": 5, "binary_search_steps": 3, "abort_early": False}),
    ("EADAttack", {"steps": 5, "binary_search_steps": 3, "abort_early": False}),
    ("BoundaryAttack", {"steps": 25, "update_stats_every_k": 4}),
    ("HopSkipJumpAttack", {"steps": 2, "initial_gradient_eval_steps": 8, "gamma": 0.1}),
    ("HopSkipJumpAttack", {"steps": 1, "stepsize_search": "grid_search"}),
    ("SaltAndPepperNoiseAttack", {"steps": 7}),
    ("GaussianBlurAttack", {"steps": 7, "max_sigma": 0.1}),
    ("L2ContrastReductionAttack", {}),
    ("BinarySearchContrastReductionAttack", {"binary_search_steps": 4}),
    ("LinearSearchContrastReductionAttack", {"steps": 7}),
    pytest.param(
        "L2BrendelBethgeAttack", {"steps": 5, "binary_search_steps": 3}, marks=needs_numba
    ),
]
# Where every image takes what is promised: the bound is not a generous one.
TIGHT = 0.9
LOOSE = {  # a start that is found soon, a step that fools soon, an image that is large
    "L2BrendelBethgeAttack",
    *("BoundaryAttack", "HopSkipJumpAttack", "LinearSearchBlendedUniformNoiseAttack"),
    *("LinearSearchContrastReductionAttack", "L2RepeatedAdditiveGaussianNoiseAttack"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), SETTINGS)
def test_passes_are_counted_and_bounded(
    lenet: Backbone, digits: Data, name: str, params: dict[str, Any]
) -> None:
    registered = resolve(f"foolbox:{name}")
    attack = registered.obj(**bind(registered, {"eps": "0.01", **params}))
    few = digits.subset(np.arange(5))
    right = lenet(torch.tensor(few.batch(np.arange(5)))).argmax(dim=1).numpy() == few.labels
    seen, told = counted(attack, lenet, few)
    assert seen == told.sum()
    assert told.max() <= attack.passes()
    assert attack.family.bounded
    if name not in LOOSE:
        assert told[right].min() >= TIGHT * attack.passes()


def test_a_bound_that_is_too_low_is_seen(lenet: Backbone, digits: Data) -> None:
    """The guess that stood here before, twice the steps, is below what one image takes."""
    registered = resolve("foolbox:L2DeepFoolAttack")
    attack = registered.obj(**bind(registered, {"eps": "0.01", "steps": 3, "overshoot": -0.5}))
    _, told = counted(attack, lenet, digits.subset(np.arange(5)))
    assert told.max() > 2 * 3


def test_pointwise_stays_below_its_guess(lenet: Backbone, digits: Data) -> None:
    registered = resolve("foolbox:PointwiseAttack")
    attack = registered.obj(**bind(registered, {"eps": "1", "norm": "l2"}))
    _, told = counted(attack, lenet, digits.subset(np.arange(2)))
    assert 0.4 * attack.passes() < told.max() <= attack.passes()
    assert not attack.family.bounded
