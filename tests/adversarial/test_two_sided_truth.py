"""Networks whose robust accuracy is known from both sides: proven from below, attacked from above.

Verified and best-known figures are the Clip-and-Verify paper's (Table 4) for the adversarially
trained networks of alpha-beta-CROWN. An attack that leaves fewer images standing than are proven
robust is cheating; one that leaves far more is weak. Weights and images are read where they lie
beside the checkout; without them the tests are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from robustlab import attack, catalogue
from robustlab.adversarial import Found
from robustlab.backbones import Backbone
from robustlab.data import Data

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "bracket"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the bracket networks are not beside here"),
]

CIFAR_MEAN = tuple(v / 255 for v in (125.3, 123.0, 113.9))
CIFAR_STD = tuple(v / 255 for v in (63.0, 62.1, 66.7))
# name, eps, images proven robust, images a PGD of 50 restarts leaves, clean accuracy
CASES = [("mnist", "0.3", 152, 154, 0.975), ("cifar", "2/255", 97, 101, 0.70)]


def _network(channels: int, flat: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(flat, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def _case(name: str, *, normalised: bool = True) -> tuple[Backbone, Data]:
    module = _network(1, 1568) if name == "mnist" else _network(3, 2048)
    module.load_state_dict(load_file(FOLDER / f"{name}_cnn_a_adv.safetensors"))
    cifar = name == "cifar" and normalised
    backbone = Backbone(
        module.eval(),
        input_shape=(1, 28, 28) if name == "mnist" else (3, 32, 32),
        classes=10,
        mean=CIFAR_MEAN if cifar else None,
        std=CIFAR_STD if cifar else None,
        name=name,
    )
    with np.load(FOLDER / f"{name}_200.npz", allow_pickle=False) as file:
        data = Data(file["images"], file["labels"].astype(np.int64), classes=10, name=name)
    return backbone, data


@pytest.mark.parametrize(("name", "eps", "proven", "strong", "clean"), CASES)
def test_pgd_lands_between_the_bounds(
    name: str, eps: str, proven: int, strong: int, clean: float
) -> None:
    backbone, data = _case(name)
    found = attack("pgd", backbone, data, eps=eps, steps=50, restarts=3)
    assert found.clean_accuracy.value == pytest.approx(clean)
    standing = int((~found.verified[0]).sum())
    assert proven <= standing <= strong + 4


# name, eps, proven robust, standing after a strong attack: as published, and one image more
BRACKETS = [("mnist", "0.3", 152, 154), ("cifar", "2/255", 97, 101)]
MEMBERS = ["apgd", "apgdt", "fabt", "square"]
MORE = [
    {"use": "apgd", "loss": "ce", "restarts": 5},
    {"use": "pgd", "loss": "margin", "steps": 100, "restarts": 5},
    "apgdt",
    {"use": "fabt", "restarts": 1},
    "square",
]


def _strong(name: str, case: str, eps: str, **params: Any) -> Found:
    missing = [one for one in MEMBERS if one not in catalogue.entries()]
    if missing:
        pytest.skip(f"not in the catalogue: {', '.join(missing)}")
    backbone, data = _case(case)
    return attack(name, backbone, data, eps=eps, **params)


@pytest.mark.parametrize(("name", "eps", "proven", "most"), BRACKETS[:1])
def test_autoattack_lands_between_the_bounds(name: str, eps: str, proven: int, most: int) -> None:
    found = _strong("autoattack", name, eps)
    assert proven <= int((~found.verified[0]).sum()) <= most


@pytest.mark.parametrize(("name", "eps", "proven", "most"), BRACKETS)
def test_more_restarts_land_between_the_bounds(name: str, eps: str, proven: int, most: int) -> None:
    found = _strong("ensemble", name, eps, attacks=MORE)
    assert proven <= int((~found.verified[0]).sum()) <= most


@pytest.mark.parametrize(
    ("name", "eps", "proven"), [("mnist", "0.36", 152), ("cifar", "3/255", 97)]
)
def test_a_budget_too_large_breaks_the_floor_of_autoattack(
    name: str, eps: str, proven: int
) -> None:
    """Mutant: an eps misread by a fifth or a half."""
    found = _strong("autoattack", name, eps, steps=20, targets=3, queries=1)
    assert int((~found.verified[0]).sum()) < proven


@pytest.mark.parametrize(("name", "eps", "proven", "most"), BRACKETS)
def test_a_weak_ensemble_misses_the_ceiling(name: str, eps: str, proven: int, most: int) -> None:
    """Mutant: AutoAttack of one step and one query."""
    found = _strong("autoattack", name, eps, steps=1, targets=1, queries=1)
    assert int((~found.verified[0]).sum()) > most


def test_a_budget_too_large_breaks_the_floor() -> None:
    """Mutant: an eps misread by a fifth."""
    backbone, data = _case("mnist")
    found = attack("pgd", backbone, data, eps="0.36", steps=30, loss="margin")
    assert int((~found.verified[0]).sum()) < 152


def test_a_weak_search_misses_the_ceiling() -> None:
    """Mutant: a single step of the full budget."""
    backbone, data = _case("mnist")
    found = attack("fgsm", backbone, data, eps="0.3")
    assert int((~found.verified[0]).sum()) > 154 + 4


def test_a_missing_normalisation_shows_in_the_clean_accuracy() -> None:
    backbone, data = _case("cifar", normalised=False)
    found = attack("fgsm", backbone, data, eps="2/255")
    assert found.clean_accuracy.value == pytest.approx(0.225)
    assert torch.isfinite(backbone(data.batch(np.arange(4)))).all()
