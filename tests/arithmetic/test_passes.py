"""What gradients cost where convolutions have groups: counted against a sum by hand."""

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustlab import anatomy
from robustlab.arithmetic import passes
from robustlab.arithmetic.passes import counted_passes, timed_passes

pytestmark = pytest.mark.usefixtures("one_thread")


def check_groups(groups, transposed):
    """Each product of the forward pass gives one of the images' gradient, one of the weights'."""
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    conv = kind(4, 8, 3, 2, bias=False, groups=groups)
    products = (9 * 9 if transposed else 4 * 4) * conv.weight.numel()
    found = counted_passes(conv, (4, 9, 9))
    assert found == passes.Passes(products, products, products, 2 * products)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_groups(groups, transposed):
    check_groups(groups, transposed)


@pytest.mark.parametrize("transposed", [False, True])
def test_that_check_kills_torchs_own_formula(monkeypatch, transposed):
    """Its count of the weights' gradient is too large by the number of groups."""
    monkeypatch.setattr(passes, "_FORMULAS", {})
    check_groups(1, transposed)
    with pytest.raises(AssertionError):
        check_groups(4, transposed)


def turns(monkeypatch, least, most):
    """How often a small network is run forward for three kinds of backward pass."""
    monkeypatch.setattr(passes, "LEAST", least)
    monkeypatch.setattr(passes, "MOST", most)
    ran = []
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    network.register_forward_hook(lambda *_: ran.append(1))
    found = timed_passes(network, torch.rand(2, 1, 2, 2), repeats=2)
    assert min(found.forward, found.inputs, found.weights, found.both) > 0
    return len(ran) / 3


def test_small_networks_are_timed_as_long_as_large_ones(monkeypatch):
    """Two turns of less than a millisecond say nothing on a machine that does other things too."""
    assert turns(monkeypatch, 0.0, 200) == 1 + 2
    assert turns(monkeypatch, 60.0, 20) == 20
    assert turns(monkeypatch, 60.0, 1) == 1 + 2  # never fewer than asked for
    assert passes.LEAST >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "convnext_tiny", "resnext50_32x4d"])
def test_depthwise_and_grouped_networks_pay_about_two_to_one(name):
    network = getattr(torchvision.models, name)()
    found = counted_passes(network, (3, 64, 64))
    assert found.attack == 1
    assert 1.9 < found.training < 2
    assert found.both == 2 * found.forward == 2 * anatomy(network, (3, 64, 64)).multiply_adds


def test_without_groups_torchs_formula_says_the_same():
    network = torchvision.models.resnet18().to("meta")
    x = torch.zeros(1, 3, 64, 64, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    found = counted_passes(network, (3, 64, 64))
    assert counter.get_total_flops() // 2 == found.forward + found.weights
