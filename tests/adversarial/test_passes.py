"""Passes: every look at the network is counted, and none is more than the attack said it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustlab import Attack, catalogue
from robustlab.adversarial import Access, Threat
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve

EPS = {"linf": 0.02, "l2": 0.2, "l1": 1.0, "l0": 1.0, "spatial": 1.0}
SMALL = {"steps": 6, "queries": 12, "targets": 2, "rounds": 3, "angles": 5, "shifts": 3}
NAMES = [
    name
    for name, entry in catalogue.entries().items()
    # Counted by their members, or while they learn, which test_universal and test_patch look at.
    if entry.kind == "attack" and name not in ("autoattack", "ensemble", "patch", "universal")
]


# Searches that an image leaves when its answer is known.
LEAVE = ("bisection", "noise", "sigma_zero", "sparse_rs", "square")


class Counting(nn.Module):
    """The network, and how many images went through it, either way."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.forwards, self.backwards = network, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits: Tensor = self.network(x)
        if logits.requires_grad:
            count: Callable[..., Any] = logits.register_hook
            count(self._back)
        return logits

    def _back(self, slope: Tensor) -> None:
        self.backwards += len(slope)


def made(name: str, **params: Any) -> Attack:
    known = {p.name for p in catalogue.entries()[name].parameters}
    small = {key: value for key, value in SMALL.items() if key in known}
    if name == "bisection":
        small["settings"] = {"steps": 6, "targets": 2}
    if name == "transfer":
        small["surrogates"] = ["lenet5-avg@digits"]
    found: Attack = resolve(name).obj(**bind(resolve(name), {**small, **params}))
    return found


def looks(attack: Attack, backbone: Backbone, data: Data, eps: float) -> tuple[Counting, Access]:
    """One search of all images, and what it took."""
    network = Counting(backbone.network)
    x = torch.tensor(data.batch(np.arange(len(data))))
    y = torch.tensor(np.asarray(data.labels))
    access = Access(network, len(x))
    threat = attack.threat(eps)
    rng = SampleRandom(0, list(data.ids))
    with torch.no_grad():
        attack.search(access, x, y, attack.start(x, threat, rng), threat, rng)
    return network, access


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, norm) for name in NAMES for norm in catalogue.entries()[name].facts["norms"]],
)
def test_passes_are_counted_and_bounded(
    lenet: Backbone, digits: Data, name: str, norm: str
) -> None:
    attack = made(name, norm=norm, eps=[str(EPS[norm])])
    few = digits.subset(np.arange(6))
    # A search for the smallest perturbation finds one; the others must not succeed at once.
    eps = 30 * EPS[norm] if attack.minimum_norm else EPS[norm]
    network, access = looks(attack, lenet, few, eps)
    assert network.forwards == access.forward_passes.sum()
    assert network.backwards == access.backward_passes.sum()
    most = (access.forward_passes + access.backward_passes).max()
    assert most <= attack.passes()
    if name not in LEAVE:
        assert most >= 0.9 * attack.passes()


def test_what_goes_uncounted_is_seen(lenet: Backbone, digits: Data) -> None:
    class Sly(Attack):
        def search(
            self, model: Access, x: Tensor, y: Tensor, start: Tensor, threat: Threat, rng: Any
        ) -> Tensor:
            model.logits(x)
            return x

    network, access = looks(Sly(eps=["0.1"]), lenet, digits.subset(np.arange(6)), 0.1)
    assert network.forwards != access.forward_passes.sum()
