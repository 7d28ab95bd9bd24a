"""Choices that are pooling, and rectifiers written as a choice."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab import load_backbone
from robustlab.errors import BadRequest
from robustlab.filters import steps
from robustlab.filters.projection import project
from robustlab.hooks import find_layers

pytestmark = pytest.mark.usefixtures("one_thread")

X = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(1))


class Spelled(nn.Module):
    """Two convolutions, a function behind each, a linear read-out of whatever it gives."""

    def __init__(self, function, first=None):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.function = first or function, function
        self.requires_grad_(False)
        wide = self.function(self.b(self.first(self.a(X)))).flatten(1).shape[1]
        self.head = nn.Linear(wide, 3)
        self.eval().requires_grad_(False)

    def forward(self, x):
        return self.head(self.function(self.b(self.first(self.a(x)))).flatten(1))


def projected(function, rule="deconvnet", first=None):
    network = Spelled(function, first)
    layer = find_layers(network, X)[0][-1]
    return project(network, layer, X, [(1, 0, 0), (2, 0, 0)], rule, "one")[1]


def flat(x):
    """[n, C, h w, 1]."""
    return x.flatten(2)[..., None]


# A rectifier, leaky or not, in which autograd sees nothing but a choice.
DISGUISED = {
    "max of a stack": lambda x: torch.stack([x, torch.zeros_like(x)]).max(0).values,
    "amax of a stack": lambda x: torch.stack([x, torch.zeros_like(x)], -1).amax(-1),
    "of channels": lambda x: (
        torch.cat([x, torch.zeros_like(x)], 1).view(len(x), 2, *x.shape[1:]).amax(1)
    ),
    "leaky": lambda x: torch.stack([x, 0.1 * x]).amax(0),
    "leaky by broadcasting": lambda x: (x[..., None] * torch.tensor([1.0, 0.1])).amax(-1),
    "absolute": lambda x: torch.stack([x, -x]).amax(0),
    "padding": lambda x: functional.pad(x[..., None], (0, 1)).amax(-1),
    "pooled padding": lambda x: functional.max_pool2d(
        functional.pad(flat(x), (0, 1)), (1, 2)
    ).view_as(x),
    "pooled stack": lambda x: functional.max_pool2d(
        torch.cat([flat(x), 0 * flat(x)], 3), (1, 2)
    ).view_as(x),
    "adaptive": lambda x: functional.adaptive_max_pool2d(
        torch.cat([flat(x), 0 * flat(x)], 3), (x[0, 0].numel(), 1)
    ).view_as(x),
    "gathered": lambda x: torch.stack([x, 0 * x]).gather(0, (x < 0).long()[None])[0],
    "taken": lambda x: torch.take_along_dim(torch.stack([x, 0 * x]), (x < 0).long()[None], 0)[0],
    "a maximum": lambda x: torch.max(x, torch.zeros_like(x)),
    "a minimum": lambda x: -torch.minimum(-x, torch.zeros_like(x)),
    "a clamp from below by a tensor": lambda x: x.clamp(min=torch.tensor(0.0)),
    "a mask that never changes": lambda x: x * (x > -99),
    "threshold": lambda x: functional.threshold(x, 0.1, 0.0),
}


@pytest.mark.parametrize("name", DISGUISED)
@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_a_rectifier_in_disguise_is_refused(name, rule):
    with pytest.raises(BadRequest, match=f"{rule} is not defined for layer 'head'"):
        projected(DISGUISED[name], rule)


@pytest.mark.parametrize("name", ["max of a stack", "leaky by broadcasting", "pooled padding"])
def test_without_that_check_it_would_be_the_plain_gradient(name, monkeypatch):
    """The mutant: choices are believed. What it gives is not what a ReLU gives."""
    monkeypatch.setattr(steps, "contest", lambda *_: "")
    found = projected(DISGUISED[name])
    assert torch.equal(found, projected(DISGUISED[name], "gradient"))
    assert not torch.allclose(found, projected(nn.ReLU()))


def windows(x):
    return torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)])


def branches(x):
    return torch.cat([x[:, :2] * 2, -x], 1)


POOLED = {
    "plain": lambda x: functional.max_pool2d(x.relu(), 2),
    "overlapping": lambda x: functional.max_pool2d(x.relu(), 3, 1),
    "ceil mode": lambda x: functional.max_pool2d(x.relu(), 2, ceil_mode=True),
    "indices": lambda x: functional.max_pool2d(x.relu(), 2, return_indices=True)[0],
    "adaptive": lambda x: functional.adaptive_max_pool2d(x.relu(), 3),
    "adaptive module": nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveMaxPool2d(3)),
    "padded": lambda x: functional.max_pool2d(functional.pad(x.relu(), (0, 1, 0, 1)), 2),
    "global": lambda x: x.relu().amax((2, 3), keepdim=True),
    "global, flattened": lambda x: x.relu().flatten(2).max(2)[0][..., None, None],
    "over channels": lambda x: x.relu().amax(1, keepdim=True).repeat(1, 4, 1, 1),
    "of branches": lambda x: functional.max_pool2d(branches(x.relu()), 2),
    "of windows": lambda x: windows(x.relu()).amax(0),
    "scaled": lambda x: functional.max_pool2d(x.relu() * 3 + torch.ones(4, 1, 1), 2),
}


def by_autograd(function, rule):
    """Backwards step by step: autograd between the rectifiers, the rule at each of them."""
    network = Spelled(function, torch.relu)
    found = []
    for i, unit in enumerate((1, 2)):
        inputs, outputs = [], []

        class Cut(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None, kept=(inputs, outputs)):
                if getattr(func, "__name__", "").strip("_") not in ("relu",):
                    return func(*args, **(kwargs or {}))
                kept[0].append(args[0])
                kept[1].append(args[0].detach().clamp(min=0).requires_grad_())
                return kept[1][-1]

        x = X[i : i + 1].clone().requires_grad_()
        with Cut():
            out = network(x)[0, unit]
        for given, made in reversed(list(zip(inputs, outputs, strict=True))):
            (sent,) = torch.autograd.grad(out, made)
            sent = sent.clamp(min=0)
            if rule == "guided":
                sent = sent * (given.detach() > 0)
            out = (given * sent).sum()
        found.append(torch.autograd.grad(out, x)[0])
    return torch.cat(found)


@pytest.mark.parametrize("name", POOLED)
@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_pooling_of_every_spelling_against_a_slow_reference(name, rule):
    found = projected(POOLED[name], rule, torch.relu)
    wanted = by_autograd(POOLED[name], rule)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert float(wanted.abs().max()) > 0
    other = by_autograd(POOLED[name], "guided" if rule == "deconvnet" else "deconvnet")
    assert not torch.allclose(found, other, atol=1e-6)  # the reference tells the rules apart


@pytest.mark.parametrize("pool", ["max", "polyphase", "blur"])
def test_poolings_of_the_lab_are_seen_through(pool):
    one = load_backbone(f"lenet5?pool={pool}&padding=circular&head=gap")
    x = torch.rand(2, *one.input_shape, generator=torch.Generator().manual_seed(0)).to(one.dtype)
    layer = find_layers(one.network, x)[0][-1]
    found = project(one.network, layer, x, [(1, 0, 0)] * 2, "deconvnet", "one")[1]
    assert torch.isfinite(found).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_1", "inception_v3", "densenet121"])
def test_branches_joined_before_a_pooling_are_no_disguise(name):
    from torchvision import models

    torch.manual_seed(0)
    inception = {"aux_logits": False, "init_weights": False}
    options = inception if name in ("googlenet", "inception_v3") else {}
    network = getattr(models, name)(weights=None, num_classes=5, **options).eval()
    network.requires_grad_(False)
    side = 96 if name == "inception_v3" else 64
    x = torch.rand(2, 3, side, side)
    layer = find_layers(network, x)[0][-1]
    found = project(network, layer, x, [(1, 0, 0)] * 2, "deconvnet", "one")[1]
    assert torch.isfinite(found).all()
