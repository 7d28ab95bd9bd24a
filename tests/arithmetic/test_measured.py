"""Fields by recursion against fields by gradient, layer by layer; passes and memory."""

import random

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from robustlab.arithmetic import fields
from robustlab.arithmetic.effective import effective_field, effective_width
from robustlab.arithmetic.fields import Field
from robustlab.arithmetic.measured import measured_fields
from robustlab.arithmetic.passes import counted_passes, kept_bytes, timed_passes
from robustlab.backbones.lectures import builders
from robustlab.errors import BadRequest

pytestmark = pytest.mark.usefixtures("one_thread")


def check(network, shape, most=None, least=1):
    measured = measured_fields(network, shape, most)
    assert len(measured) >= least
    wrong = [one for one in measured if not one.agrees]
    assert not wrong, wrong[:3]
    return measured


THIN = {
    "lenet5": ({}, (1, 32, 32)),
    "lenet5_1998": ({}, (1, 32, 32)),
    "local": ({}, (1, 32, 32)),
    "alexnet": ({"width": 2}, (3, 227, 227)),
    "alexnet2014": ({"width": 2}, (3, 224, 224)),
    "zfnet": ({"width": 2}, (3, 224, 224)),
    "vgg16": ({"width": 1, "head": "gap"}, (3, 256, 256)),
    "resnet20": ({"width": 1}, (3, 160, 160)),
}


@pytest.mark.parametrize("name", THIN)
def test_the_gradient_says_the_same(name):
    options, shape = THIN[name]
    check(builders[name](**options), shape, least=4)


@pytest.mark.parametrize("pool", ["max", "avg", "strided", "blur"])
@pytest.mark.parametrize("padding", ["zero", "reflect", "replicate"])
def test_at_every_pooling_and_padding(pool, padding):
    check(builders["resnet20"](width=1, pool=pool, padding=padding), (3, 96, 96), least=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "width"),
    [
        ("googlenet", {"width": 8}, 480),
        ("resnet50", {"width": 1}, 1000),
        ("resnet101", {"width": 1}, 2100),
        ("resnet152", {"width": 1}, 3000),
    ],
)
def test_in_deep_networks_on_images_wider_than_their_field(name, options, width):
    """A strip as wide as the field leaves nothing of it beyond the edge."""
    measured = check(builders[name](**options), (3, 64, width), most=70)
    fields = [one.found[1][1] - one.found[1][0] + 1 for one in measured]
    assert max(fields[:-2]) > 300


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "convnext_tiny", "densenet121"]
)
def test_networks_of_torchvision(name):
    """Gates that see the whole map, maps with channels last, concatenations, windows left over."""
    check(getattr(torchvision.models, name)(), (3, 96, 96), most=8, least=4)


class Random(nn.Module):
    """Layers drawn at random, with a branch that is added or put beside."""

    def __init__(self, seed):
        super().__init__()
        draw = random.Random(seed)
        self.first, self.left, self.right = (self.layers(draw, n) for n in (2, 2, 2))
        self.last = self.layers(draw, 2)
        self.add = draw.random() < 0.5
        self.narrow = nn.Conv2d(4, 2, 1)

    def layers(self, draw, count):
        return nn.Sequential(*(self.layer(draw) for _ in range(count)))

    def layer(self, draw):
        kernel, dilation = draw.choice((1, 2, 3, 5)), draw.choice((1, 1, 2))
        return draw.choice(
            [
                nn.Conv2d(2, 2, kernel, padding=kernel // 2, dilation=dilation),
                nn.Conv2d(2, 2, kernel, draw.choice((1, 2)), groups=2),
                nn.MaxPool2d(3, draw.choice((1, 2)), 1, ceil_mode=draw.random() < 0.5),
                nn.AvgPool2d(2, 1),
                nn.ConvTranspose2d(2, 2, 3, 2, 1),
                nn.ConvTranspose2d(2, 2, 2, 3),
                nn.Upsample(scale_factor=2),
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.ZeroPad2d((1, 2, 0, 3)),
                nn.Sequential(nn.Conv2d(2, 8, kernel), nn.PixelShuffle(2)),
                nn.Sequential(nn.PixelUnshuffle(1), nn.LeakyReLU()),
                nn.InstanceNorm2d(2),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        left, right = self.left(x), self.right(x)
        if self.add and left.shape == right.shape:
            return self.last(left + right)
        size = min(left.shape[2], right.shape[2]), min(left.shape[3], right.shape[3])
        cut = [one[:, :, : size[0], : size[1]] for one in (left, right)]
        return self.last(functional.relu(self.narrow(torch.cat(cut, 1))))


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    """Where strides of branches differ nothing is said; where something is, it is right."""
    torch.manual_seed(seed)
    check(Random(seed), (2, 41, 50), least=3)


class Standardised(nn.Conv2d):
    """Kernels of mean zero, as in networks without batch normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(x, kernels / kernels.norm(), None, self.stride, self.padding)


class Added(nn.Module):
    """The sum is written over the first branch's own result."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.near(x)
        total += self.far(x)
        return total


@pytest.mark.parametrize("network", [Standardised(2, 2, 3, 2, 1), Added()], ids=["zero", "written"])
def test_what_once_was_measured_wrongly(network):
    """Kernels that are zero when all weights are equal; results that are written over."""
    check(nn.Sequential(nn.Conv2d(2, 2, 3), network), (2, 20, 20), least=2)


def off_by_one(patch):
    true = fields.window
    patch.setattr(fields, "window", lambda kernel, *rest: true(kernel + 1, *rest))


def padding_forgotten(patch):
    true = fields.window
    patch.setattr(
        fields, "window", lambda kernel, stride=1, padding=0, *rest: true(kernel, stride, 0, *rest)
    )


def dilation_forgotten(patch):
    true = fields.window
    patch.setattr(
        fields,
        "window",
        lambda kernel, stride=1, padding=0, dilation=1: true(kernel, stride, padding),
    )


def phases_forgotten(patch):
    true = fields.spread
    patch.setattr(
        fields,
        "spread",
        lambda *given: type(true(*given))(1, 1, true(*given).reads[:1]),
    )


def shortest_branch(patch):
    true = Field.joined
    patch.setattr(
        Field,
        "joined",
        lambda self, other, size: (
            true(self, other, size) and min((self, other), key=lambda one: one.size)
        ),
    )


@pytest.mark.parametrize(
    ("mutate", "network"),
    [
        (off_by_one, builders["lenet5"](channels=2)),
        (padding_forgotten, nn.Sequential(nn.Conv2d(2, 2, 5, padding=2), nn.Conv2d(2, 2, 3))),
        (dilation_forgotten, nn.Sequential(nn.Conv2d(2, 2, 3, dilation=2), nn.Conv2d(2, 2, 1))),
        (phases_forgotten, nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2), nn.Conv2d(2, 2, 2))),
        (shortest_branch, builders["resnet20"](width=1, channels=2)),
    ],
    ids=["off by one", "padding", "dilation", "phases", "branch"],
)
def test_the_gradient_kills(mutate, network, monkeypatch):
    check(network, (2, 32, 32))
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        check(network, (2, 32, 32))


def test_nothing_is_left_behind():
    network = builders["lenet5"]()
    network.train()
    network.conv1.weight.requires_grad_(False)
    network.conv2.weight.grad = torch.ones_like(network.conv2.weight)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    x = torch.rand(2, 1, 32, 32)
    measured_fields(network, (1, 32, 32))
    effective_field(network, "conv2", x)
    counted_passes(network, (1, 32, 32))
    timed_passes(network, x, 1)
    with pytest.raises(BadRequest):
        effective_field(network, "fc1", x)
    assert all(torch.equal(before[name], one) for name, one in network.state_dict().items())
    assert all(one.training for one in network.modules())
    assert not network.conv1.weight.requires_grad
    assert network.conv2.weight.requires_grad
    assert (network.conv2.weight.grad == 1).all()
    hooks = [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in network.modules()]
    assert sum(hooks) == 0


# Effective fields ---------------------------------------------------------------------------------


def test_the_effective_field_of_one_linear_layer_is_its_kernel():
    conv = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    found = effective_field(conv, "0", torch.rand(3, 1, 9, 9))
    kernel = conv[0].weight.detach().abs()[0, 0].double()
    middle = torch.tensor(found)[3:6, 3:6]
    assert torch.allclose(middle, kernel / kernel.max())
    assert (found > 0).sum() == 9
    assert effective_width(found) <= 3


def test_means_of_means_look_like_a_bell():
    """Luo et al. (2016): the effective field of a stack grows with its root only."""
    stack = nn.Sequential(*(nn.AvgPool2d(3, 1, 1) for _ in range(12)))
    found = effective_field(stack, "11", torch.rand(1, 1, 41, 41))
    row = found[20] / found[20].sum()
    spread = ((row * (torch.arange(41).numpy() - 20) ** 2).sum()) ** 0.5
    assert spread == pytest.approx((12 * 2 / 3) ** 0.5, rel=1e-6)
    assert effective_width(found) < 25  # the field itself has 25 pixels a side


def test_a_layer_there_is_not():
    with pytest.raises(BadRequest, match=r"unknown layer 'conv9'; did you mean 'conv"):
        effective_field(builders["lenet5"](), "conv9", torch.rand(1, 1, 32, 32))


# Passes -------------------------------------------------------------------------------------------


def test_an_attack_pays_one_forward_pass_and_training_nearly_two():
    found = counted_passes(builders["resnet20"](), (3, 32, 32))
    assert found.attack == 1
    first = 3 * 3 * 3 * 16 * 32 * 32  # nobody needs the gradient of the image
    assert found.weights == 2 * found.forward - first
    assert found.both == 2 * found.forward


def test_passes_are_timed():
    found = timed_passes(builders["lenet5"](), torch.rand(4, 1, 32, 32), 2)
    assert min(found.forward, found.inputs, found.weights, found.both) > 0


def test_kept_memory_by_hand():
    """A convolution keeps its input for the weights' gradient, a ReLU keeps its result."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    inputs, results = 16 * 4, 4 * 2 * 2 * 4
    assert kept_bytes(network, (1, 4, 4), "weights") == inputs + results
    assert kept_bytes(network, (1, 4, 4), "inputs") in (results, inputs + results)
