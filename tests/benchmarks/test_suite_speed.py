"""Whole searches as they ship, beside others on the same images: an eps list, Auto-PGD, AutoAttack.

What is compared reaches at least the success of what it is compared with; that is asserted, times
are not.
"""

from __future__ import annotations

import contextlib
import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from robustlab.adversarial import Access, Attack, Threat
from robustlab.adversarial.auto_pgd import auto_pgd
from robustlab.adversarial.fastpath import search_copy
from robustlab.adversarial.foolbox_bridge import _foolbox
from robustlab.backbones import Backbone, load_backbone
from robustlab.data import Data, load_data
from robustlab.registry import resolve
from robustlab.units import eps_value

pytestmark = pytest.mark.benchmark

DIGITS = ["0.02", "0.04", "0.06", "0.08", "0.1", "0.15", "0.2", "0.3"]
BRACKET = Path(__file__).resolve().parents[3] / "shared" / "data" / "bracket"
# The adversarially trained networks of alpha-beta-CROWN: channels, size, flat, preprocessing, eps.
BRACKETS: dict[str, Any] = {
    "mnist": (1, 28, 1568, {}, ["0.05", "0.1", "0.15", "0.2", "0.25", "0.3", "0.35", "0.4"]),
    "cifar": (
        3, 32, 2048,
        {
            "mean": tuple(v / 255 for v in (125.3, 123.0, 113.9)),
            "std": tuple(v / 255 for v in (63.0, 62.1, 66.7)),
        },
        [f"{eps}/510" for eps in (1, 2, 3, 4, 6, 8, 12, 16)],
    ),
}  # fmt: skip


def _attack(name: str, **params: Any) -> Attack:
    made: Attack = resolve(name).obj(**params)
    return made


def _case(name: str, take: int) -> tuple[Backbone, Data, list[str]]:
    """A network, images and eight eps, a shipped network's or a bracket network's."""
    if "@" in name:
        return load_backbone(name), load_data("digits:test", take=take), DIGITS
    if not BRACKET.is_dir():
        pytest.skip("the bracket networks are not beside here")
    channels, size, flat, preprocessing, eps = BRACKETS[name]
    layers = [nn.Conv2d(channels, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()]
    head = [nn.Flatten(), nn.Linear(flat, 100), nn.ReLU(), nn.Linear(100, 10)]
    module = nn.Sequential(*layers, *head).eval()
    module.load_state_dict(load_file(BRACKET / f"{name}_cnn_a_adv.safetensors"))
    shape = (channels, size, size)
    with np.load(BRACKET / f"{name}_200.npz", allow_pickle=False) as file:
        data = Data(file["images"], file["labels"].astype(np.int64), classes=10, name=name)
    backbone = Backbone(module, input_shape=shape, classes=10, name=name, **preprocessing)
    return backbone, data.subset(np.arange(take)), eps


def _standing(found: Any) -> np.ndarray[Any, Any]:
    rates: np.ndarray[Any, Any] = (~found.verified).sum(axis=1)
    return rates


@pytest.mark.parametrize("name", ["lenet5-robust@digits", "mnist", "cifar", "lenet5-max@digits"])
def test_eps_list_as_shipped(pair: Any, benchmark: Any, name: str) -> None:
    """PGD-40 at eight eps: verified, shared and dropped by ours; from the clean image by both."""
    backbone, data, listed = _case(name, 128 if benchmark.enabled else 8)
    steps = 40 if benchmark.enabled else 2
    radii = [eps_value(eps) for eps in listed]
    x, y = torch.tensor(data.batch(np.arange(len(data)))), torch.tensor(data.labels)
    foolbox = _foolbox()
    model = foolbox.PyTorchModel(
        copy.deepcopy(backbone.network).requires_grad_(True), bounds=(0, 1), device="cpu"
    )
    theirs = foolbox.attacks.LinfPGD(rel_stepsize=1 / 16, steps=steps, random_start=False)
    criterion = foolbox.criteria.Misclassification(y)
    ours = _attack("pgd", eps=listed, steps=steps, step_size=1 / 16, random_start=False)

    def foolboxs() -> Any:
        return theirs(model, x, criterion, epsilons=radii)

    fooled = foolboxs()[2].sum(dim=1).numpy()
    if benchmark.enabled:
        assert (len(data) - _standing(ours(backbone, data)) >= fooled).all()
    pair({"ours": lambda: ours(backbone, data), "foolbox": foolboxs}, rounds=5)


@pytest.mark.parametrize("name", ["lenet5-robust@digits", "resnet20-narrow@digits"])
def test_auto_pgd_search(pair: Any, benchmark: Any, name: str) -> None:
    """APGD-100 on cross-entropy, nothing dropped, beside ART's."""
    pytest.importorskip(
        "art", reason="needs adversarial-robustness-toolbox: pip install '.[bench]'"
    )
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    backbone = load_backbone(name)
    data = load_data("digits:test", take=64 if benchmark.enabled else 4)
    x, y = torch.tensor(data.batch(np.arange(len(data)))), torch.tensor(data.labels)
    steps, eps = 100 if benchmark.enabled else 3, 0.05
    network, _ = search_copy(backbone.network, backbone.input_shape)
    classifier = PyTorchClassifier(
        copy.deepcopy(backbone.network).requires_grad_(True),
        loss=nn.CrossEntropyLoss(),
        input_shape=backbone.input_shape,
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    theirs = AutoProjectedGradientDescent(
        classifier, eps=eps, eps_step=2 * eps, max_iter=steps, nb_random_init=1,
        batch_size=len(data), loss_type="cross_entropy", verbose=False,
    )  # fmt: skip

    def ours() -> torch.Tensor:
        threat, access = Threat("linf", eps), Access(network, len(x))
        start = threat.constrain(x + eps * torch.empty_like(x).uniform_(-1, 1), x)
        return auto_pgd(access, x, y, start, threat, steps=steps, early_exit=False)[0]

    def arts() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return theirs.generate(x.numpy(), y.numpy())

    if benchmark.enabled:
        mine, their = (
            int((backbone(torch.as_tensor(found)).argmax(dim=1) != y).sum())
            for found in (ours(), arts())
        )
        assert mine >= their
    pair({"ours": ours, "art": arts}, rounds=3)


def test_autoattack_as_shipped(pair: Any, benchmark: Any) -> None:
    """Standard AutoAttack at three eps beside its attacks one by one on all images, at each eps."""
    backbone: Backbone = load_backbone("lenet5-robust@digits")
    data: Data = load_data("digits:test", take=64 if benchmark.enabled else 4)
    few: dict[str, Any] = {} if benchmark.enabled else {"steps": 2, "queries": 3, "targets": 2}
    eps = ["0.05", "0.1", "0.15"]
    whole = _attack("autoattack", eps=eps, **few)
    alone = [
        _attack("autoattack", eps=one, early_exit=False, **few).stages()[number][1]
        for one in eps
        for number in range(4)
    ]

    def one_by_one() -> np.ndarray[Any, Any]:
        broken = np.stack([attack(backbone, data).verified[0] for attack in alone])
        best: np.ndarray[Any, Any] = broken.reshape(len(eps), 4, -1).any(axis=1)
        return best

    if benchmark.enabled:
        assert (whole(backbone, data).verified.sum(axis=1) >= one_by_one().sum(axis=1) - 1).all()
    pair({"ours": lambda: whole(backbone, data), "one by one": one_by_one}, rounds=1)
