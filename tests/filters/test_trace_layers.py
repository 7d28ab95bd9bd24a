"""Layers that all of the image passes: counted in the graph, held against setting them back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustlab import load_backbone
from robustlab.filters import trace_layers
from robustlab.filters.trace_layers import cuts, traced_layers
from robustlab.filters.trace_patching import patched
from robustlab.hooks import feature_maps, find_layers

pytestmark = pytest.mark.usefixtures("one_thread")


class Halves(nn.Module):
    """Two outputs of one step go different ways: neither is all of the image."""

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sigmoid()
        self.join, self.twice = nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        self.eval().requires_grad_(False)

    def forward(self, x):
        a, b = self.stem(x).chunk(2, 1)
        x = self.join(torch.cat([self.left(a), self.right(b)], 1))
        return self.head(x * self.twice(x))


def by_setting_back(network, x):
    """Layers that give the clean logits when all of them is set to what it is on another image."""
    layers, _ = find_layers(network, x)
    clean, logits = feature_maps(network, x[:1], layers)
    found = set()
    for layer in layers:
        whole = torch.ones(1, layer.shape[0], dtype=torch.bool)
        again = patched(network, x[1:], layer, clean[layer.name], whole)
        if torch.equal(again, logits):
            found.add(layer.name)
    return found, [layer.name for layer in layers]


def check(network, x):
    found = cuts(network, x[:1])
    wanted, names = by_setting_back(network, x)
    assert found & set(names) == wanted
    return wanted, names


def noise(side=32):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_halves_and_a_product():
    torch.manual_seed(0)
    wanted, _ = check(Halves(), noise())
    assert wanted == {"stem", "join", "head.0", "head.1", "head.2"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_of_torchvision(name):
    from torchvision import models

    torch.manual_seed(0)
    network = getattr(models, name)(weights=None, num_classes=5).eval().requires_grad_(False)
    wanted, names = check(network, noise(48))
    assert 3 < len(wanted) < len(names)


@pytest.mark.parametrize("mutant", ["all", "the way back alone"])
def test_that_check_kills(monkeypatch, mutant):
    if mutant == "all":
        monkeypatch.setattr(trace_layers, "_ways_to_image", lambda g, _: dict.fromkeys(g, 1))
    else:
        monkeypatch.setattr(trace_layers, "path", lambda *a: _path(*a)[-3:])
    with pytest.raises(AssertionError):
        test_halves_and_a_product()


_path = trace_layers.path


def test_a_limit_takes_cuts_and_tells_what_it_left():
    one = load_backbone("resnet20-narrow@digits")
    x = torch.rand(2, *one.input_shape, generator=torch.Generator().manual_seed(0))
    whole, names = by_setting_back(one.network, x)
    few, _, left = traced_layers(one.network, x, 12)
    assert len(few) == 12
    assert {layer.name for layer in few} <= whole
    assert few[-1].name == names[-1]
    assert set(left) == set(names) - whole
    every, _, none = traced_layers(one.network, x, 0)
    assert [layer.name for layer in every] == names
    assert none == []
    assert [layer.name for layer in traced_layers(one.network, x, 1)[0]] == [names[-1]]
    # Where too few are cuts, branches are shown after all.
    many, _, none = traced_layers(one.network, x, 40)
    assert len(many) == 40
    assert not none


def test_a_network_without_a_graph_has_none():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat, self.head = nn.Flatten(), nn.Linear(3 * 64, 3)

        def forward(self, x):
            with torch.no_grad():
                return self.head(self.flat(x))

    network = Blind().eval()
    assert cuts(network, noise(8)[:1]) == set()
    assert len(traced_layers(network, noise(8), 1)[0]) == 1
