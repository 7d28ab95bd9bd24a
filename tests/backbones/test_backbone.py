"""`Backbone`: what it makes of a module, and which modules it refuses."""

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone, load_backbone
from robustlab.backbones.memory import enough_memory
from robustlab.data import Data, load_data
from robustlab.errors import BadRequest

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def colour_net(seed=0):
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 4 * 4, 5))
    return nn.Sequential(*layers).eval()


def colour(module=None, **options):
    given = {"input_shape": (3, 6, 6), "classes": 5, **options}
    return Backbone(module if module is not None else colour_net(), **given)


def test_attributes():
    backbone = colour(name="c", reference="r", card={"a": 1}, mean=MEAN, std=STD)
    assert backbone.input_shape == (3, 6, 6)
    assert backbone.classes == tuple("01234")
    assert (backbone.mean, backbone.std) == (MEAN, STD)
    assert (backbone.name, backbone.reference, backbone.card) == ("c", "r", {"a": 1})
    assert (backbone.device.type, backbone.dtype) == ("cpu", torch.float32)
    assert backbone.parameters == 3 * 4 * 9 + 4 + 64 * 5 + 5
    assert repr(backbone) == "Backbone('c': 3x6x6 -> 5 classes, 437 parameters, cpu)"


def check_normalised(network):
    """The logits of hand-normalised images, from numpy."""
    images = np.random.default_rng(0).random((4, 3, 6, 6), dtype=np.float32)
    column = (1, 3, 1, 1)
    by_hand = (images - np.reshape(MEAN, column)) / np.reshape(STD, column)
    expected = colour_net()(torch.tensor(by_hand, dtype=torch.float32))
    found = network(torch.from_numpy(images))
    torch.testing.assert_close(found, expected)


def test_normalisation_is_inside_the_network():
    backbone = colour(mean=MEAN, std=STD)
    check_normalised(backbone.network)
    check_normalised(backbone)
    assert not any(part.training for part in backbone.network.modules())


@pytest.mark.parametrize(
    "mutant",
    [
        lambda module, mean, std: module,
        lambda module, mean, std: lambda x: module(x * std + mean),
        lambda module, mean, std: lambda x: module((x - mean.flip(1)) / std.flip(1)),
    ],
    ids=["left out", "inverse", "BGR"],
)
def test_that_check_kills(mutant):
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (MEAN, STD))
    with pytest.raises(AssertionError):
        check_normalised(mutant(colour_net(), mean, std))


def test_without_mean_there_is_no_layer():
    backbone = colour()
    assert backbone.network is backbone.module


def test_the_users_module_stays_as_it_was():
    module = colour_net()
    module[0].weight.grad = torch.ones_like(module[0].weight)
    backbone = colour(module)
    assert all(one.requires_grad for one in module.parameters())
    assert module[0].weight.grad is not None
    before = backbone.fingerprint
    with torch.no_grad():
        module[0].weight.zero_()
    assert colour(colour_net()).fingerprint == before == backbone.fingerprint
    assert all(one.grad is None and not one.requires_grad for one in backbone.module.parameters())
    assert bool(backbone.module[0].weight.abs().sum() > 0)


def test_gradients_reach_the_input_but_calling_keeps_none():
    backbone = colour(mean=MEAN, std=STD)
    images = torch.rand(2, 3, 6, 6, requires_grad=True)
    backbone.network(images).sum().backward()
    assert images.grad is not None
    assert bool(images.grad.abs().sum() > 0)
    assert not backbone(images).requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_kept_and_images_follow(dtype):
    backbone = colour(colour_net().to(dtype), mean=MEAN, std=STD)
    assert backbone.dtype == dtype
    assert backbone(np.zeros((1, 3, 6, 6), np.float32)).dtype == dtype


def test_a_module_without_weights():
    backbone = Backbone(nn.Flatten().eval(), input_shape=(1, 2, 2), classes=4)
    assert (backbone.parameters, backbone.dtype) == (0, torch.float32)
    assert backbone.fingerprint


def test_to_and_renamed():
    backbone = colour(mean=MEAN, std=STD)
    assert backbone.to("cpu") is backbone
    other = backbone.renamed("other")
    assert (other.name, backbone.name) == ("other", "own")
    assert other.fingerprint == backbone.fingerprint
    with pytest.raises(BadRequest, match=r"device 'warp9' cannot be used .*try 'cpu'"):
        backbone.to("warp9")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_to_the_gpu_and_back():
    backbone = colour(mean=MEAN, std=STD)
    moved = backbone.to("cuda")
    assert (moved.device.type, backbone.device.type) == ("cuda", "cpu")
    images = np.random.default_rng(0).random((4, 3, 6, 6), dtype=np.float32)
    torch.testing.assert_close(moved(images).cpu(), backbone(images), rtol=1e-3, atol=1e-4)
    assert Backbone(
        moved.module, input_shape=(3, 6, 6), classes=5, mean=MEAN, std=STD
    ).fingerprint == (backbone.fingerprint)


def test_read_only_images_and_lists():
    backbone = load_backbone("mlp")
    data = load_data("digits:test", take=10)
    first = backbone(data.batch([0, 1]))
    floats = Data(data.batch([0, 1]), [0, 1])  # its images are read-only
    torch.testing.assert_close(backbone(floats.images), first)
    torch.testing.assert_close(backbone(floats.images.tolist()), first)


def half_training():
    module = colour_net()
    module[2].train()
    return module


class Returns(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what


class Uncopied(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = torch.ones(1, requires_grad=True) * 2


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (half_training(), {}, r"its part '2' \(Dropout\) is in train mode; call \.eval\(\)"),
        (nn.Flatten(), {}, "the network is in train mode"),
        (colour_net, {}, "a function is no torch.nn.Module"),
        (colour_net(), {"classes": 7}, r"shape \[1, 5\], but 7 classes need \[1, 7\]"),
        (colour_net(), {"classes": ["a"] * 5}, "'a' is given twice"),
        (colour_net(), {"input_shape": (3, 9, 9)}, r"fails on an image of shape \[3, 9, 9\]"),
        (colour_net(), {"input_shape": (6, 6)}, r"is not \(channels, height, width\)"),
        (colour_net(), {"input_shape": (3, 6, 0)}, r"is not \(channels, height, width\)"),
        (colour_net(), {"input_shape": (3, 6.5, 6)}, r"is not \(channels, height, width\)"),
        (colour_net(), {"input_shape": 32}, r"is not \(channels, height, width\)"),
        (colour_net(), {"mean": MEAN}, "mean and std both, or neither"),
        (colour_net(), {"mean": [0.5], "std": [0.5]}, "mean has 1 numbers, .* 3 channels"),
        (colour_net(), {"mean": 0.5, "std": 0.5}, r"mean 0\.5 is no list"),
        (colour_net(), {"mean": MEAN, "std": [1, 0, 1]}, r"must be above 0"),
        (colour_net(), {"mean": MEAN, "std": [1, -1, 1]}, r"must be above 0"),
        (colour_net(), {"mean": [0, float("nan"), 0], "std": STD}, "mean .* is not finite"),
        (Returns({"logits": 1}).eval(), {}, "returns a dict"),
        (Returns(torch.full((1, 5), torch.nan)).eval(), {}, "not finite"),
        (Returns(torch.zeros(5)).eval(), {}, r"shape \[5\]"),
        (Uncopied().eval(), {}, "cannot be copied"),
    ],
)
def test_modules_that_are_refused(module, options, message):
    with pytest.raises(BadRequest, match=message):
        colour(module, **options)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 1, 6, 6)), "takes images of 3 channels, the images have 1; .*RGB"),
        (np.zeros((2, 3, 6, 7)), r"6x6 pixels \(height x width\), the images are 6x7"),
        (np.zeros((3, 6, 6)), r"shape \[3, 6, 6\]; give \[n, 3, 6, 6\]"),
        (np.zeros((2, 3, 6, 6), np.uint8), r"torch\.uint8; give floats in \[0, 1\]"),
    ],
)
def test_images_that_are_refused(images, message):
    with pytest.raises(BadRequest, match=message):
        colour()(images)


def test_accepts():
    backbone = load_backbone("lenet5-max@digits")
    backbone.accepts(load_data("digits:test"))
    grey = np.zeros((1, 1, 32, 32), np.uint8)
    with pytest.raises(BadRequest, match="1 channel, those of own have 3; convert them to grey"):
        backbone.accepts(Data(np.repeat(grey, 3, 1), [0], 10))
    with pytest.raises(BadRequest, match=r"those of own are 28x28; resize"):
        backbone.accepts(Data(grey[..., 2:30, 2:30], [0], 10))
    with pytest.raises(BadRequest, match="knows 10 classes, own has 3"):
        backbone.accepts(Data(grey, [0], 3))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("dog cat bird emu fox", "'dog' is number 1 of the network and 0 of the data"),
        ("plane dog cat bird emu", "'cat' is number 0 of the network and 2 of the data"),
        ("cat dog bird fox emus", "'fox' is number 4 of the network and 3 of the data"),
        ("cat dog birds emu fox", None),
        ("Cat Dog Bird Emu Fox", None),
    ],
)
def test_classes_of_both_must_have_one_index(names, told):
    """A folder's classes are sorted by name; some of them may be called otherwise."""
    backbone = colour(classes=["cat", "dog", "bird", "emu", "fox"])
    data = Data(np.zeros((1, *backbone.input_shape), np.uint8), [0], names.split())
    if told is None:
        backbone.accepts(data)
        return
    with pytest.raises(BadRequest, match=f"classes in another order: {told}"):
        backbone.accepts(data)


class Greedy(nn.Flatten):
    """Torch's own words for an allocation that fails, once it is copied."""

    def __deepcopy__(self, memo):
        return torch.empty(2**60, dtype=torch.uint8)


def test_too_little_memory():
    """mlp: 2^56 weights, more than any address space holds."""
    with pytest.raises(
        BadRequest, match=r"'mlp': too little memory .* of 72,057,594,[\d,]+ parameters"
    ):
        load_backbone("mlp?size=16384&channels=16384&hidden=16384")
    with pytest.raises(
        BadRequest, match=r"own: too little memory .*of 0 parameters; lower its size"
    ):
        Backbone(Greedy().eval(), input_shape=(1, 2, 2), classes=4)


def test_other_errors_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="shape"), enough_memory("own", lambda: 0):
        torch.ones(2).view(3)


def test_numbers_that_stand_for_names_are_no_names():
    """A network made with classes=3 calls them 0, 1, 2; folders may be called 1, 2, 3."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    numbered = Backbone(module, input_shape=(1, 2, 2), classes=3)
    images, labels = np.zeros((3, 1, 2, 2), np.uint8), [0, 1, 2]
    numbered.accepts(Data(images, labels, classes=["1", "2", "3"]))
    with pytest.raises(BadRequest, match="classes in another order"):
        numbered.accepts(Data(images, labels, classes=["1", "2", "0"]))
