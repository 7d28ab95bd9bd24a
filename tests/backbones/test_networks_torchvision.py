"""The same weights give the same logits in torchvision's networks."""

import gc

import pytest
import torch
import torchvision
from torch import nn

from robustlab.backbones import builders

pytestmark = pytest.mark.usefixtures("one_thread")


def theirs(name, **options):
    """torchvision's network with statistics of batch normalisation that matter."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, **options)
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.normal_(one.running_mean, 0, 0.1)
            nn.init.uniform_(one.running_var, 0.5, 1.5)
            nn.init.uniform_(one.weight, 0.5, 1.5)
            nn.init.normal_(one.bias, 0, 0.1)
    return module.eval()


def check_same_logits(one, two, size):
    """Weights poured by name, both ways alike; logits on two images."""
    two.load_state_dict(one.state_dict())
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = one(images)
        scale = expected.abs().max().item()
        torch.testing.assert_close(two.eval()(images), expected, rtol=1e-4, atol=1e-4 * scale)
    del one, two
    gc.collect()


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


SEVEN = {"num_classes": 7}
BARE = {"init_weights": False}
CASES = [
    ("resnet18", "resnet18", SEVEN, {"classes": 7, "size": 64}, 64),
    ("googlenet", "googlenet", SEVEN | BARE, {"classes": 7, "branch5": 3, "auxiliary": True}, 64),
    ("alexnet", "alexnet2014", SEVEN, {"classes": 7}, 224),
    slow("resnet34", "resnet34", SEVEN, {"classes": 7, "size": 64}, 64),
    slow("resnet50", "resnet50", SEVEN, {"classes": 7, "size": 64}, 64),
    slow("resnet101", "resnet101", SEVEN, {"classes": 7, "size": 64}, 64),
    slow("resnet152", "resnet152", {}, {}, 65),
    *(slow(f"vgg{d}", f"vgg{d}", BARE, {}, 224) for d in (11, 13, 16, 19)),
    slow("vgg16_bn", "vgg16", SEVEN | BARE, {"classes": 7, "norm": "batch"}, 224),
]


@pytest.mark.parametrize(("name", "ours", "their_options", "our_options", "size"), CASES)
def test_same_logits(name, ours, their_options, our_options, size):
    check_same_logits(theirs(name, **their_options), builders[ours](**our_options), size)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"classes": 7, "shortcut": "A"}),
        ("resnet18", {"classes": 7, "pool": "max"}),
        ("resnet18", {"classes": 7, "padding": "replicate"}),
        ("resnet18", {"classes": 7, "activation": "leaky_relu"}),
        ("googlenet", {"classes": 7, "branch5": 5, "auxiliary": True}),
        ("googlenet", {"classes": 7, "branch5": 3, "auxiliary": True, "pool": "avg"}),
    ],
)
def test_that_check_kills_every_other_network(name, options):
    bare = {} if name == "resnet18" else BARE
    with pytest.raises((AssertionError, RuntimeError)):
        check_same_logits(theirs(name, **SEVEN, **bare), builders[name](**options), 64)


@pytest.mark.parametrize("mean", [0.5, 0.485])
def test_the_statistics_that_torchvision_s_googlenet_ends_up_with(mean):
    """With published weights its input is normalised anew: mean and std 0.5 in all channels."""
    preset = torchvision.models.GoogLeNet_Weights.DEFAULT.transforms()
    usual, spread = (torch.tensor(one)[:, None, None] for one in (preset.mean, preset.std))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    module = theirs("googlenet", transform_input=True, **SEVEN, **BARE)
    seen = []
    module.conv1.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    module((images - usual) / spread)
    assert torch.allclose(seen[0], (images - mean) / 0.5, atol=1e-5) == (mean == 0.5)


def test_auxiliary_logits_in_train_mode():
    one = theirs("googlenet", dropout=0.0, dropout_aux=0.0, **SEVEN, **BARE)
    two = builders["googlenet"](branch5=3, auxiliary=True, classes=7, dropout=0.0, size=64)
    two.load_state_dict(one.state_dict())
    two.aux1.dropout.p = two.aux2.dropout.p = 0.0
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = one.train()(images)
    logits, aux1, aux2 = two(images)
    for found, wanted in ((logits, expected[0]), (aux2, expected[1]), (aux1, expected[2])):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
