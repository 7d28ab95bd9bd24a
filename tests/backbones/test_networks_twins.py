"""Twins differ in what their option names, and start from the same weights."""

import pytest
import torch
from torch import nn

from robustlab.backbones import builders
from robustlab.backbones.lectures.initial import initialised
from robustlab.backbones.lectures.pooling import Subsample
from robustlab.backbones.lectures.residual import ZeroShortcut

pytestmark = pytest.mark.usefixtures("one_thread")

POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, Subsample, nn.Identity)
FAMILIES = {
    "lenet5": {"size": 20},
    "local": {"size": 20},
    "lenet5_1998": {},
    "alexnet": {"size": 95},
    "alexnet2014": {"size": 95},
    "zfnet": {"size": 79},
    "vgg11": {"size": 32},
    "googlenet": {"size": 80},
    "resnet20": {"size": 12},
    "resnet18": {"size": 40},
    "resnet50": {"size": 40},
}


def small(name):
    return {**FAMILIES[name], **({"width": 4, "classes": 5} if FAMILIES[name] else {})}


def other(name, option):
    """Another value of an option that brings no weights."""
    default = builders[name].defaults[option]
    return {"pool": "max" if default == "strided" else "strided", "padding": "circular"}.get(option)


def differing(one, two):
    """Modules without children that stand at the same name and are not the same, in pairs."""
    first, second = dict(one.named_modules()), dict(two.named_modules())
    assert list(first) == list(second)
    leaves = [name for name in first if not list(first[name].children())]
    return [
        (first[name], second[name]) for name in leaves if repr(first[name]) != repr(second[name])
    ]


def check_twins(one, two, allowed):
    """The same parameters from the start; modules differ where ``allowed`` says they may."""
    first, second = one.state_dict(), two.state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
    pairs = differing(one, two)
    assert pairs
    for pair in pairs:
        assert allowed(*pair), pair


def is_site(one, two):
    """A pooling, or the convolution whose stride goes over to one."""
    if isinstance(one, nn.Conv2d) and isinstance(two, nn.Conv2d):
        return {one.stride, two.stride} == {(1, 1), (2, 2)}
    return isinstance(one, POOLINGS) and isinstance(two, POOLINGS)


def is_padding(one, two):
    return isinstance(one, nn.Conv2d) and one.padding != (0, 0) and one.stride == two.stride


CASES = [
    (name, option, allowed)
    for option, allowed in (("pool", is_site), ("padding", is_padding))
    for name in FAMILIES
    if option in builders[name].defaults
]


@pytest.mark.parametrize(("name", "option", "allowed"), CASES)
def test_pooling_and_padding_twins(name, option, allowed):
    builder = builders[name]
    # Published without padding: its twins are those whose convolutions keep the size.
    base = {"padding": "zero"} if (name, option) == ("lenet5", "padding") else {}
    changed = builder(**small(name), **{option: other(name, option)})
    check_twins(builder(**small(name), **base), changed, allowed)


@pytest.mark.parametrize("mutant", [{"seed": 1}, {"padding": "circular"}, {"activation": "elu"}])
def test_that_check_kills(mutant):
    twins = [builders["resnet20"](**small("resnet20"), **one) for one in ({}, mutant)]
    with pytest.raises(AssertionError):
        check_twins(*twins, is_site)


# Sizes whose maps divide at every site, where those of `FAMILIES` do not.
DIVIDING = {"googlenet": 64, "resnet18": 64, "resnet50": 64}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "lenet5_1998"])
@pytest.mark.parametrize("pool", ["max", "avg", "strided", "blur", "polyphase"])
def test_pooling_twins_have_maps_of_the_same_size(name, pool):
    if pool == "polyphase" and name.startswith("alexnet"):
        pytest.skip("windows of 3 at a stride of 2, without padding, never divide a map")
    shapes = []
    given = small(name) | ({"size": DIVIDING[name]} if name in DIVIDING else {})
    for kind in (pool, builders[name].defaults["pool"]):
        module = builders[name](**given, pool=kind).eval()
        channels = builders[name].input_shape(small(name))[0]
        found = []
        for child in module.children():
            child.register_forward_hook(lambda layer, x, y, found=found: found.append(y.shape))
        module(torch.zeros(1, channels, given["size"], given["size"]))
        shapes.append([one for one in found if len(one) == 4][-1])
    assert shapes[0] == shapes[1]


def check_shared(one, two):
    """Every parameter of the smaller network is in the other, with the same numbers."""
    first, second = one.state_dict(), two.state_dict()
    assert set(first) < set(second)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize(
    ("name", "fewer", "more"),
    [
        ("resnet20", {"shortcut": "A"}, {"shortcut": "B"}),
        ("resnet20", {"shortcut": "none"}, {"shortcut": "B"}),
        ("resnet50", {"shortcut": "none"}, {"shortcut": "B"}),
        ("googlenet", {"auxiliary": False}, {"auxiliary": True}),
        ("lenet5", {"norm": "off"}, {"norm": "batch"}),
        ("alexnet", {"norm": "lrn"}, {"norm": "batch"}),
    ],
)
def test_what_one_twin_has_more_leaves_the_rest_alone(name, fewer, more):
    build = builders[name]
    check_shared(build(**small(name), **fewer), build(**small(name), **more))
    with pytest.raises(AssertionError):
        check_shared(build(**small(name), **fewer), build(**small(name), **more, seed=1))


@pytest.mark.parametrize("name", ["lenet5", "local", "alexnet", "vgg11", "googlenet", "resnet20"])
def test_twins_of_another_head_start_from_the_same_features(name):
    heads = [builders[name](**small(name), head=one).state_dict() for one in ("flatten", "gap")]
    assert list(heads[0]) == list(heads[1])
    behind = ("fc", "classifier", "linear")
    shared = [key for key in heads[0] if not key.startswith(behind)]
    assert shared
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in shared)


def test_a_layer_that_nobody_fills_is_refused():
    """Memory that `to_empty` left as it was must never pass for weights."""
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    with pytest.raises(TypeError, match="1: a PReLU has no initialisation"):
        initialised(network, 0)


def test_batch_normalisation_off_puts_biases_in_its_place():
    with_norm, without = (builders["resnet20"](width=4, norm=norm) for norm in ("batch", "off"))
    first, second = with_norm.state_dict(), without.state_dict()
    shared = set(first) & set(second)
    assert all(torch.equal(first[key], second[key]) for key in shared)
    assert {key.rsplit(".", 2)[-2][:4] for key in set(second) - shared} == {"conv"}
    assert all(".bn" in f".{key}" for key in set(first) - shared)


def test_plain_twin_of_the_same_weights_computes_without_the_shortcut():
    """The plain twin is what is left of the residual network when nothing is added."""
    options = {"width": 4, "seed": 2}
    residual, plain = (
        builders["resnet20"](**options, shortcut=one).eval() for one in ("A", "none")
    )
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(residual(images), plain(images))
    for block in residual.modules():
        if hasattr(block, "downsample"):
            block.downsample.register_forward_hook(lambda layer, x, y: torch.zeros_like(y))
    torch.testing.assert_close(residual(images), plain(images))


def test_zero_shortcut_by_hand():
    module = builders["resnet20"](width=4)
    shortcut = module.layer2[0].downsample
    assert isinstance(shortcut, ZeroShortcut)
    x = torch.rand(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    out = shortcut(x)
    assert out.shape == (2, 8, 3, 3)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert out[:, [0, 1, 6, 7]].abs().max() == 0


def check_towers_apart(module):
    """Up to conv2 the second tower sees nothing of the first: its maps stay when that one dies."""
    layers = [module.get_submodule(name) for name in ("relu1", "norm1", "pool1", "conv2", "norm2")]
    x = torch.rand(2, 8, 23, 23, generator=torch.Generator().manual_seed(0))
    dead = x.clone()
    dead[:, :4] = 0
    maps = []
    for one in (x, dead):
        for layer in layers:
            one = layer(one)
        maps.append(one.chunk(2, 1))
    assert not torch.allclose(maps[0][0], maps[1][0])
    torch.testing.assert_close(maps[0][1], maps[1][1], rtol=0, atol=0)


def test_towers_do_not_mix_before_conv3():
    check_towers_apart(builders["alexnet"](width=8, size=95))
    groups = [
        builders["alexnet"](width=8, size=95).get_submodule(f"conv{i}").groups for i in range(1, 6)
    ]
    assert groups == [1, 2, 1, 2, 2]


@pytest.mark.parametrize("width", [2, 4, 6, 10, 14, 96])
def test_one_tower_has_as_many_maps_as_two(width):
    """Odd numbers of maps, as 27 of conv2 at width 10, would not halve: neither twin has them."""
    maps = []
    for towers in (1, 2):
        module = builders["alexnet"](width=width, size=67, towers=towers, classes=2, head="gap")
        maps.append([module.get_submodule(f"conv{i}").out_channels for i in range(1, 6)])
    assert maps[0] == maps[1]
    assert maps[0][0] == width


def test_that_check_kills_one_tower_and_a_shared_normalisation():
    with pytest.raises(AssertionError):
        check_towers_apart(builders["alexnet"](width=8, size=95, towers=1))
    shared = builders["alexnet"](width=8, size=95)
    shared.norm1.towers = 1
    with pytest.raises(AssertionError):
        check_towers_apart(shared)


def test_response_normalisation_by_hand():
    norm = builders["zfnet"](width=6, size=79).norm1
    x = 30 * torch.rand(1, 7, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(x)
    for i in range(7):
        near = x[:, max(0, i - 2) : i + 3].square().sum(1)
        expected[:, i] = x[:, i] / (2 + 1e-4 * near) ** 0.75
    torch.testing.assert_close(norm(x), expected)


def test_the_auxiliary_heads_speak_in_train_mode_only():
    module = builders["googlenet"](width=4, size=64, classes=5, auxiliary=True)
    plain = builders["googlenet"](width=4, size=64, classes=5)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    found = module(images)
    assert [tuple(one.shape) for one in found] == [(2, 5)] * 3
    assert not torch.equal(found[1], found[2])
    torch.manual_seed(0)
    plain(images)  # the running statistics go along
    torch.testing.assert_close(module.eval()(images), plain.eval()(images))


def spread(module):
    return {
        k: v.std().item() * (v[0].numel() ** 0.5)
        for k, v in module.state_dict().items()
        if v.dim() > 1
    }


@pytest.mark.parametrize(
    ("options", "gain"),
    [
        ({}, 2**0.5),
        ({"activation": "tanh"}, 5 / 3),
        ({"activation": "gelu"}, 2**0.5),
        ({"init": "lecun"}, 1),
        ({"init": "normal"}, 0.01 * 400**0.5),
        ({"init": "xavier"}, (2 * 400 / 520) ** 0.5),
    ],
)
def test_initialisation(options, gain):
    """Spread of fc1's 400 x 120 weights; the logits' layer has variance 1/fan_in whatever init."""
    found = spread(builders["lenet5"](**options))
    assert found["fc1.weight"] == pytest.approx(gain, rel=0.02)
    assert found["fc3.weight"] == pytest.approx(1, rel=0.15)


def test_auxiliary_logits_start_like_logits():
    found = spread(builders["googlenet"](width=16, size=32, auxiliary=True, classes=50))
    for name in ("fc", "aux1.fc2", "aux2.fc2"):
        assert found[f"{name}.weight"] == pytest.approx(1, rel=0.05)
    assert found["aux1.fc1.weight"] == pytest.approx(2**0.5, rel=0.05)
