"""Small networks to swap, and how much a shift changes what they say."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab.backbones import Backbone

SIZE = 16


class Residual(nn.Module):
    """A block whose branches both have the stride, as those of ResNets."""

    def __init__(self, wide, out):
        super().__init__()
        self.conv1 = nn.Conv2d(wide, out, 3, 2, 1)
        self.norm = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1)
        self.short = nn.Conv2d(wide, out, 1, 2)

    def forward(self, x):
        out = self.conv2(functional.relu(self.norm(self.conv1(x))))
        return functional.relu(out + self.short(x))


def plain(head="gap"):
    """Convolutions, a max pool, an average pool: total stride 4."""
    last = [nn.AdaptiveAvgPool2d(1)] if head == "gap" else []
    wide = 6 if head == "gap" else 6 * (SIZE // 4) ** 2
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 6, 5, padding=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1),
        *last,
        nn.Flatten(),
        nn.Linear(wide, 5),
    )


def residual():
    """A strided convolution and a residual block: total stride 4."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, 1),
        nn.ReLU(),
        Residual(4, 6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


class Calls(nn.Module):
    """All sites are function calls."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 2, 3, 3))
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.last = nn.Linear(6, 5)

    def forward(self, x):
        x = functional.relu(functional.conv2d(x, self.weight, None, 2, 1))
        x = functional.max_pool2d(functional.relu(self.conv(x)), 2)
        return self.last(functional.avg_pool2d(x, x.size(3)).flatten(1))


NETWORKS = {"plain": plain, "residual": residual, "calls": Calls}


def backbone(make, seed=0, size=SIZE, dtype=torch.float64, **given):
    """A `Backbone` of random weights, batch normalisation among them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = make(**given)
        for one in module.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.running_mean.normal_()
                one.running_var.uniform_(0.5, 2)
                nn.init.normal_(one.weight)
    module = module.to(dtype).eval()
    return Backbone(module, input_shape=(2, size, size), classes=5, name=make.__name__)


def images(seed=0, size=SIZE, dtype=torch.float64, channels=2):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, size, size, dtype=dtype, generator=random)


def change(network, x, down, right):
    """The largest change of a logit under a circular shift, relative to the logits' spread."""
    logits = network(x)
    moved = network(x.roll((down, right), (-2, -1)))
    return ((moved - logits).abs().max() / logits.std()).item()


@pytest.fixture(scope="session")
def lab_nets():
    """The networks and what is asked of them."""
    return SimpleNamespace(
        networks=NETWORKS, backbone=backbone, images=images, change=change, calls=Calls
    )
