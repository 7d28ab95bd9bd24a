"""The fingerprint changes with what decides the logits, and with nothing else."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone, load_backbone
from robustlab.backbones import weigh as weigh_module
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
def act(x):
    return x - 1
class Base(torch.nn.Module):
    def forward(self, x):
        return self.act(x.flatten(1)) * 2
class Net(Base):
    pass
def build():
    net = Net()
    net.act, net.names = act, {"a", "b", "c", "d", "e"}
    return rb.Backbone(net.eval(), input_shape=(1, 2, 2), classes=4)
"""
DOCUMENTED = SOURCE.replace("Module):", 'Module):\n    """Twice."""').replace(
    "pass", '"""Nothing of its own."""'
)
CHANGED = {"inherited": ("* 2", "* 3"), "kept": ("x - 1", "x - 2"), "its own": ("pass", "one = 1")}


@pytest.fixture
def weighed(tmp_path):
    """Fingerprint of the network in a file of that name and source."""

    def load(name, source):
        (tmp_path / name).write_text(source)
        return load_backbone(f"python:{tmp_path / name}:build").fingerprint

    return load


def test_code_counts_but_its_comments_and_place_do_not(weighed):
    first = weighed("a.py", SOURCE)
    assert weighed("b.py", SOURCE) == first
    assert weighed("a.py", SOURCE.replace("* 2", "*  2  # twice")) == first
    assert weighed("a.py", DOCUMENTED) == first != weighed("a.py", DOCUMENTED.replace("* 2", "* 3"))
    others = {weighed("a.py", SOURCE.replace(*change)) for change in CHANGED.values()}
    assert len(others | {first}) == 4


def test_that_check_kills_a_look_at_the_class_alone(weighed, monkeypatch):
    monkeypatch.setattr(weigh_module, "_sources", lambda kind: [("", weigh_module._source(kind))])
    first = weighed("a.py", SOURCE)
    assert weighed("a.py", SOURCE.replace(*CHANGED["its own"])) != first
    assert weighed("a.py", SOURCE.replace(*CHANGED["inherited"])) == first


@pytest.mark.slow
def test_the_same_in_every_process(tmp_path):
    """Sets are walked in another order in each."""
    (tmp_path / "a.py").write_text(SOURCE)
    code = f"from robustlab import load_backbone as l; print(l('python:{tmp_path}/a.py:build')"
    found = {
        subprocess.run(
            [sys.executable, "-c", f"{code}.fingerprint)"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(found) == 1
