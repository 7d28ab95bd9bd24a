"""The fingerprint changes with what decides the logits, and with nothing else."""

import textwrap

import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone, load_backbone
from robustlab.backbones.weigh import weigh
from robustlab.identity import fingerprint


class Scaled(nn.Module):
    def __init__(self, slope=1.0, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.slope = slope
        self.weight = nn.Parameter(torch.rand(4, 4, generator=generator))
        self.register_buffer("unsaved", torch.ones(4), persistent=False)
        self.eval()

    def forward(self, x):
        return self.slope * x.flatten(1) @ self.weight + self.unsaved


def variants():
    """Networks of different logits: each must have a fingerprint of its own."""
    shape = (1, 2, 2)
    yield Scaled(), None, None, shape, 4
    yield Scaled(seed=1), None, None, shape, 4
    yield Scaled(slope=2.0), None, None, shape, 4
    yield Scaled().double(), None, None, shape, 4
    other = Scaled()
    other.unsaved += 1
    yield other, None, None, shape, 4
    yield Scaled(), (0.5,), (1.0,), shape, 4
    yield Scaled(), (0.5,), (2.0,), shape, 4
    yield nn.Sequential(Scaled()).eval(), None, None, shape, 4
    yield nn.Sequential(Scaled(), nn.ReLU()).eval(), None, None, shape, 4
    yield nn.Sequential(Scaled(), nn.LeakyReLU(0.1)).eval(), None, None, shape, 4
    yield nn.Sequential(Scaled(), nn.LeakyReLU(0.2)).eval(), None, None, shape, 4


def tells_apart(weigh_one):
    found = [weigh_one(*one) for one in variants()]
    assert len(set(found)) == len(found)
    assert found == [weigh_one(*one) for one in variants()]


def test_tells_apart():
    tells_apart(weigh)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda module, *rest: fingerprint([repr((module, *rest)).encode()]),
        lambda module, *rest: fingerprint(
            v.numpy().tobytes() for v in module.state_dict().values()
        ),
        lambda module, *rest: weigh(module, None, None, *rest[2:]),
    ],
    ids=["structure alone", "weights alone", "no normalisation"],
)
def test_that_check_kills(mutant):
    with pytest.raises(AssertionError):
        tells_apart(mutant)


def test_names_do_not_count():
    plain, named = (
        Backbone(Scaled(), input_shape=(1, 2, 2), classes=classes, name=name)
        for classes, name in ((4, "a"), (list("wxyz"), "b"))
    )
    assert plain.fingerprint == named.fingerprint
    assert plain.renamed("c").fingerprint == plain.fingerprint


SOURCE = """
import robustlab.backbones as rb, torch
class Net(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1) * 2
def build():
    return rb.Backbone(Net().eval(), input_shape=(1, 2, 2), classes=4)
"""


def test_code_counts_but_its_comments_and_place_do_not(tmp_path):
    def weighed(name, source):
        file = tmp_path / name
        file.write_text(textwrap.dedent(source))
        return load_backbone(f"python:{file}:build").fingerprint

    first = weighed("a.py", SOURCE)
    assert weighed("b.py", SOURCE) == first
    assert weighed("a.py", SOURCE.replace("* 2", "*  2  # twice")) == first
    assert weighed("a.py", SOURCE.replace("* 2", "* 3")) != first
