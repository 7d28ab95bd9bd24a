"""Every small network learns: a few steps lower the loss on a batch of digits."""

import pytest
import torch
from torch import nn

from robustlab.backbones import builders
from robustlab.data import load_data

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = {"alexnet": 95, "alexnet2014": 95, "zfnet": 79, "googlenet": 64, "resnet_imagenet": 48}
SLOW = ("vgg16", "vgg19", "resnet3", "resnet4", "resnet5", "resnet10", "resnet15")


@pytest.fixture(scope="module")
def batch():
    digits = load_data("digits:train", take=24, seed=0)
    return torch.tensor(digits.batch(slice(None))), torch.tensor(digits.labels)


def small(name):
    builder = builders[name]
    wanted = {"width": 8, "channels": 1, "classes": 10, "dropout": 0.0, "seed": 1}
    wanted["size"] = SIZES.get(builder.published.function, 32)
    return {key: value for key, value in wanted.items() if key in builder.defaults}


def check_learns(name, batch, rate, **options):
    """The loss after 16 steps of Adam on one batch, against the loss before."""
    images, labels = batch
    module = builders[name](**{**small(name), **options})
    size = builders[name].input_shape(small(name))[-1]
    images = nn.functional.interpolate(images, size=(size, size))
    optimiser = torch.optim.Adam(module.parameters(), rate)
    losses = []
    for _ in range(17):
        loss = nn.functional.cross_entropy(module(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n.startswith(SLOW) else []) for n in builders],
)
def test_learns(name, batch):
    check_learns(name, batch, 1e-3)


def test_that_check_kills_a_network_that_does_not_learn(batch):
    with pytest.raises(AssertionError):
        check_learns("lenet5", batch, 0.0)


def test_gaussian_weights_of_one_hundredth_vanish_in_a_deep_network(batch):
    """What He et al. (2015) showed: the same steps from std 0.01 move nothing in VGG."""
    with pytest.raises(AssertionError):
        check_learns("vgg16", batch, 1e-3, init="normal")
