"""PGD-40, nothing dropped, beside foolbox and torchattacks: same network, images and steps."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from robustlab.adversarial import Access, Threat, gradient_search
from robustlab.adversarial.fastpath import half_copy, search_copy
from robustlab.adversarial.foolbox_bridge import _foolbox
from robustlab.backbones import Backbone, load_backbone
from robustlab.data import load_data

pytestmark = pytest.mark.benchmark


def _resnet18() -> nn.Module:
    """ResNet-18 in CIFAR shape: 3x3 stem of stride 1, no first pooling; random weights."""
    torch.manual_seed(0)
    module = torchvision.models.resnet18(num_classes=10)
    module.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    module.maxpool = nn.Identity()
    return module.eval()


def _case(name: str, full: bool) -> tuple[Backbone, torch.Tensor]:
    if name == "lenet5-max@digits":
        data = load_data("digits:test", take=128 if full else 16)
        return load_backbone(name), torch.tensor(data.batch(np.arange(len(data))))
    generator, size = torch.Generator().manual_seed(0), 224 if name.endswith("224") else 32
    images = torch.rand({32: 32, 224: 8}[size] if full else 2, 3, size, size, generator=generator)
    torch.manual_seed(0)
    module = torchvision.models.resnet18(num_classes=10).eval() if size == 224 else _resnet18()
    return Backbone(module, input_shape=(3, size, size), classes=10), images


@pytest.mark.parametrize("name", ["lenet5-max@digits", "resnet18-32", "resnet18-224"])
def test_pgd_search(pair: Any, benchmark: Any, name: str) -> None:
    backbone, x = _case(name, benchmark.enabled)
    y, eps, steps = backbone(x).argmax(dim=1), 0.1, 40 if benchmark.enabled else 2
    ours_network, _ = search_copy(backbone.network, backbone.input_shape)
    theirs_network = copy.deepcopy(backbone.network).requires_grad_(True)
    foolbox = _foolbox()
    model = foolbox.PyTorchModel(theirs_network, bounds=(0, 1), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchattacks

        other = torchattacks.PGD(
            theirs_network, eps=eps, alpha=eps / 16, steps=steps, random_start=False
        )
    attack = foolbox.attacks.LinfPGD(rel_stepsize=1 / 16, steps=steps, random_start=False)

    half_network = half_copy(ours_network, backbone.input_shape)
    assert half_network is not None

    def search(network: nn.Module, dtype: torch.dtype | None = None) -> torch.Tensor:
        threat, access = Threat("linf", eps), Access(network, len(x), dtype=dtype)
        settings: dict[str, Any] = {"steps": steps, "step_size": eps / 16, "early_exit": False}
        return gradient_search(access, x, y, x, threat, **settings)[0]

    def foolboxs() -> torch.Tensor:
        found: torch.Tensor = attack.run(
            model, x, foolbox.criteria.Misclassification(y), epsilon=eps
        )
        return found

    work = {
        "ours": lambda: search(ours_network),
        "ours in bfloat16": lambda: search(half_network, torch.bfloat16),
        "foolbox": foolboxs,
        "torchattacks": lambda: other(x, y),
    }
    fooled = {k: int((backbone(call()).argmax(dim=1) != y).sum()) for k, call in work.items()}
    assert fooled["ours"] >= max(fooled["foolbox"], fooled["torchattacks"])
    assert fooled["ours in bfloat16"] >= fooled["ours"] - 1
    rounds = 9 if name.startswith("lenet") else 3
    pair(work, rounds)
