"""Layers of any module: found in order, told apart, measured, and the network left as it was."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab.backbones import Backbone
from robustlab.hooks import counted, feature_maps, find_layers, listening, observe
from robustlab.invariance.layer_strides import measure_strides


class Block(nn.Module):
    """A sum, an activation used twice (once in place), and one that no module does."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.rest = nn.Sequential(nn.Identity(), nn.Dropout(0.5))

    def forward(self, x):
        first = self.relu(self.conv(x))
        return self.rest(self.relu(self.second(first) + first))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2, padding=1))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = functional.relu(self.down(self.block(x)), inplace=True)
        return self.head(x.mean(dim=(2, 3)))


def made(build=Net, seed=0):
    torch.manual_seed(seed)
    return build().eval().requires_grad_(False)


def hooks(network):
    kinds = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_forward_hooks_with_kwargs",
    )
    return [len(getattr(m, kind)) for m in network.modules() for kind in kinds]


def test_layers_stand_in_order_and_modules_used_twice_are_told_apart():
    layers, over = find_layers(made(), torch.rand(2, 1, 16, 16))
    assert [x.name for x in layers] == [
        *("block.conv", "block.relu", "block.second", "block.relu#2"),
        *("down.0", "down.1", "head"),
    ]
    assert over == []
    assert [x.kind for x in layers] == ["map"] * 6 + ["vector"]
    assert layers[4].shape == (4, 8, 8)
    assert layers[-1].shape == (3,)


class Functional(nn.Module):
    """A convolution whose container applies an activation in place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return functional.relu(self.conv(x), inplace=True)


def test_an_activation_in_place_leaves_what_was_seen_before_it():
    network = made(lambda: nn.Sequential(Functional(), nn.Flatten(), nn.Linear(72, 2)))
    x = torch.rand(2, 1, 8, 8)
    layers, _ = find_layers(network, x)
    assert [x.name for x in layers] == ["0.conv", "0", "1", "2"]
    maps, output = feature_maps(network, x, layers)
    assert torch.equal(maps["0.conv"], network[0].conv(x))
    assert (maps["0.conv"] < 0).any()
    assert torch.equal(maps["0"], maps["0.conv"].relu())
    assert torch.equal(output, network(x))


def test_the_normalisation_in_front_gives_no_name():
    net = made()
    backbone = Backbone(net, input_shape=(1, 16, 16), classes=3, mean=[0.5], std=[0.2])
    x = torch.rand(2, 1, 16, 16)
    bare = find_layers(net, x)[0]
    assert find_layers(backbone.network, x)[0] == bare
    root = Backbone(
        Functionless().eval(), input_shape=(1, 16, 16), classes=16, mean=[0.5], std=[0.2]
    )
    assert [layer.name for layer in find_layers(root.network, x)[0]] == ["output"]


class Functionless(nn.Module):
    def forward(self, x):
        return x.mean(dim=(1, 2))


class Tokens(nn.Module):
    """Channels last, tokens, a tuple."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, stride=4)
        self.norm = nn.LayerNorm(12)
        self.wide = nn.Linear(12, 12)
        self.pair = nn.MultiheadAttention(12, 2, batch_first=True)
        self.token = nn.LayerNorm(12)
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        x = self.wide(self.norm(self.patch(x).permute(0, 2, 3, 1)))
        x = self.token(x.flatten(1, 2))
        x = self.pair(x, x, x)[0]
        return self.head(x.mean(dim=1))


def test_channels_last_are_turned_and_tokens_named():
    network, x = made(Tokens), torch.rand(2, 3, 24, 32)
    layers, over = find_layers(network, x)
    assert {x.name: x.shape for x in layers} == {
        **dict.fromkeys(("patch", "norm", "wide"), (12, 6, 8)),
        "head": (2,),
    }
    assert over == ["token"]
    maps, _ = feature_maps(network, x, layers)
    assert torch.equal(
        maps["norm"], network.norm(maps["patch"].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    )
    assert measure_strides(network, x[:1], layers)[:3] == [(4, 4)] * 3


def test_a_limit_keeps_the_first_and_the_last():
    names = [x.name for x in find_layers(made(), torch.rand(2, 1, 16, 16))[0]]
    for limit in range(2, 8):
        kept = [x.name for x in find_layers(made(), torch.rand(2, 1, 16, 16), limit)[0]]
        assert len(kept) == limit
        assert (kept[0], kept[-1]) == (names[0], names[-1])
    assert [x.name for x in find_layers(made(), torch.rand(2, 1, 16, 16), 1)[0]] == ["head"]


def check_left_as_found(network, listen):
    mine = network.down.register_forward_hook(lambda *_: None)
    before, state = hooks(network), {k: v.clone() for k, v in network.state_dict().items()}

    def explode(name, module, output):
        raise ZeroDivisionError(name)

    for see in (lambda *_: None, explode):
        try:
            with listen(network, see):
                network(torch.rand(2, 1, 16, 16))
        except ZeroDivisionError:
            assert see is explode
    assert hooks(network) == before
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    mine.remove()


def test_the_network_is_left_as_it_was_found():
    check_left_as_found(made(), listening)


def hooks_left_behind(network, see):
    """Mutant: hooks are taken off where nothing went wrong only."""
    handles = [m.register_forward_hook(lambda m, _, o: see("", m, o)) for m in network.modules()]

    class Block:
        def __enter__(self):
            return None

        def __exit__(self, error, *_):
            if error is None:
                for handle in handles:
                    handle.remove()

    return Block()


def test_that_check_kills_hooks_left_behind():
    with pytest.raises(AssertionError):
        check_left_as_found(made(), hooks_left_behind)


def test_passes_are_counted():
    network = made()
    with counted(network) as passes:
        observe(network, torch.rand(5, 1, 16, 16), lambda *_: None)
        network(torch.rand(3, 1, 16, 16))
    network(torch.rand(3, 1, 16, 16))
    assert passes == [5, 3]


def test_it_works_inside_inference_mode():
    network = made()
    with torch.inference_mode():
        maps, _ = feature_maps(
            network, torch.rand(2, 1, 16, 16), find_layers(network, torch.rand(2, 1, 16, 16))[0]
        )
    assert len(maps) == 7


# Strides ---------------------------------------------------------------------------------------


class OneSize(nn.Module):
    """A network that takes 28 x 28 alone: a map of biases lies on the first layer."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.rand(28, 28))
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64, 3)),
        )

    def forward(self, x):
        return self.body(x + self.bias)


@pytest.mark.parametrize("way", ["growth", "following"])
def test_strides_of_valid_convolutions(way):
    """28, 24, 12, 8, 4: sizes alone would say 1.2, 2.3, 3.5 and 7."""
    network = made(OneSize if way == "following" else lambda: OneSize().body)
    x = torch.rand(1, 1, 28, 28)
    layers, _ = find_layers(network, x.repeat(2, 1, 1, 1))
    assert measure_strides(network, x, layers)[:4] == [(1, 1), (2, 2), (2, 2), (4, 4)]


def test_strides_that_differ_by_axis_and_are_no_power_of_two():
    network = made(
        lambda: nn.Sequential(
            *(
                nn.Conv2d(1, 2, 3, stride=(1, 3)),
                nn.AvgPool2d((2, 1)),
                nn.Conv2d(2, 2, 2, stride=3),
            ),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)),
        )
    )
    x = torch.rand(1, 1, 40, 60)
    layers, _ = find_layers(network, x.repeat(2, 1, 1, 1))
    assert measure_strides(network, x, layers) == [(1, 3), (2, 3), (6, 9), (0, 0), (0, 0), (0, 0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet", {"features.0": 4, "features.2": 8, "features.5": 16, "features.12": 32}),
        (
            "resnet18",
            {"conv1": 2, "maxpool": 4, "layer2": 8, "layer3.1.relu#2": 16, "layer4.1.relu#2": 32},
        ),
        (
            "convnext_tiny",
            {"features.0.1": 4, "features.1.0.block.3": 4, "features.7.2.block.5": 32},
        ),
        ("googlenet", {"conv1": 2, "inception3a": 8, "inception5b": 32}),
    ],
)
def test_strides_of_torchvision(name, expected):
    import torchvision

    kwargs = {"init_weights": False} if name == "googlenet" else {}
    network = made(lambda: getattr(torchvision.models, name)(weights=None, **kwargs))
    side = 128 if name == "alexnet" else 224  # a row of pixels at a time is followed through it
    x = torch.rand(1, 3, side, side)
    layers, _ = find_layers(network, x.repeat(2, 1, 1, 1))
    strides = dict(zip([x.name for x in layers], measure_strides(network, x, layers), strict=True))
    found = {k: strides.get(k) for k in expected if k in strides}
    assert found == {k: (v, v) for k, v in expected.items() if k in strides}
    assert len(found) >= 2
    maps = [x for x in layers if x.kind == "map"]
    assert all(0 not in strides[x.name] for x in maps if max(x.shape[1:]) > 7)


def test_names_are_unique():
    for build in (Net, Tokens, OneSize):
        size = {Net: (1, 16, 16), Tokens: (3, 24, 32), OneSize: (1, 28, 28)}[build]
        names = [x.name for x in find_layers(made(build), torch.rand(2, *size))[0]]
        assert all(a != b for a, b in itertools.combinations(names, 2))
