"""The table of networks against the networks: counts, inputs, smallest sizes, published sizes."""

import gc
import re

import pytest
import torch

from robustlab.backbones import builders
from robustlab.backbones.lectures import parts
from robustlab.backbones.published import PUBLISHED
from robustlab.errors import BadRequest

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def only_built(monkeypatch):
    """Networks stay on the meta device: their shapes without their numbers."""
    monkeypatch.setattr(parts, "initialised", lambda network, seed, **how: network)
    monkeypatch.setattr(
        "robustlab.backbones.lectures.mlp.initialised", lambda network, seed, **how: network
    )


def count(module):
    return sum(one.numel() for one in module.parameters())


def check_row(row, module):
    assert count(module) == row.parameters
    images = torch.empty(2, *row.input_shape, device=next(module.parameters()).device)
    assert module(images).shape == (2, row.classes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_row(name, only_built):
    check_row(PUBLISHED[name], builders[name]())
    assert builders[name].input_shape({}) == PUBLISHED[name].input_shape
    assert builders[name].classes({}) == PUBLISHED[name].classes


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("googlenet", {"branch5": 3}),
        ("googlenet", {"module": "naive"}),
        ("alexnet", {"towers": 1}),
        ("alexnet2014", {"norm": "batch"}),
        ("zfnet", {"width": 95}),
        ("vgg16", {"classes": 999}),
        ("vgg19", {"channels": 1}),
        ("resnet20", {"shortcut": "B"}),
        ("resnet152", {"shortcut": "A"}),
        ("resnet18", {"head": "flatten"}),
        ("lenet5", {"size": 28}),
    ],
)
def test_that_check_kills_another_network(name, options, only_built):
    with pytest.raises((AssertionError, RuntimeError)):
        check_row(PUBLISHED[name], builders[name](**options))


# Other published counts: torchvision's metadata and the Caffe model of GoogLeNet (no batch
# normalisation, biases), AlexNet on one tower, the shortcuts of the CIFAR networks.
GOLDEN = [
    ("googlenet", {"branch5": 3}, 6_624_904),
    ("googlenet", {"norm": "lrn"}, 6_998_552),
    ("googlenet", {"branch5": 3, "auxiliary": True}, 13_004_888),
    ("alexnet", {"towers": 1}, 62_378_344),
    ("vgg16", {"norm": "batch"}, 138_365_992),
    ("resnet20", {"shortcut": "none"}, 269_722),
]


@pytest.mark.parametrize(("name", "options", "parameters"), GOLDEN)
def test_golden_counts(name, options, parameters, only_built):
    assert count(builders[name](**options)) == parameters


def test_where_lenet5_of_1998_has_its_parameters():
    module = builders["lenet5_1998"]()
    found = [count(module.get_submodule(name)) for name in ("c1", "s2", "c3", "s4", "c5", "f6")]
    assert found == [156, 12, 1516, 32, 48_120, 10_164]
    assert count(module.rbf) == 0
    assert sum(found) == count(module) == 60_000


SIZED = [name for name in PUBLISHED if "size" in builders[name].defaults]
SMALLEST = {
    "local": 16,
    "lenet5": 16,
    "alexnet": 67,
    "alexnet2014": 63,
    "zfnet": 47,
    "googlenet": 15,
    **{f"vgg{depth}": 32 for depth in (11, 13, 16, 19)},
}


def narrow(name):
    """Options of a network small enough to be built in passing."""
    return {"width": 4} if "width" in builders[name].defaults else {"hidden": "4"}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_size_works_and_the_next_smaller_does_not(name):
    options = narrow(name)
    with pytest.raises(BadRequest) as caught:
        builders[name](**options, size=1)
    said = re.search(r"size 1 of '(\w+)' is too small; .* is (\d+)$", str(caught.value))
    assert (said[1], int(said[2])) == (name, SMALLEST[name])
    with pytest.raises(BadRequest, match="too small"):
        builders[name](**options, size=SMALLEST[name] - 1)
    shape = builders[name].input_shape({**options, "size": SMALLEST[name]})
    module = builders[name](**options, size=SMALLEST[name]).eval()
    assert module(torch.zeros(1, *shape)).isfinite().all()


@pytest.mark.parametrize("name", sorted(set(SIZED) - set(SMALLEST)))
def test_the_others_take_a_single_pixel(name):
    shape = builders[name].input_shape({"size": 1})
    module = builders[name](**narrow(name), size=1).eval()
    assert module(torch.zeros(1, *shape)).isfinite().all()


def test_the_smallest_size_depends_on_the_padding():
    with pytest.raises(BadRequest, match=r"size 4 of 'resnet20' is too small; .* is 5$"):
        builders["resnet20"](width=2, padding="reflect", size=4)
    builders["resnet20"](width=2, padding="reflect", size=5)


@pytest.mark.parametrize("name", ["mlp", "local", "lenet5", "lenet5_1998", "vgg11"])
def test_an_image_of_another_size_is_refused(name):
    options = {"size": 32, "width": 4} if name == "vgg11" else {}
    module = builders[name](**options).eval()
    channels = builders[name].input_shape(options)[0]
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, channels, 64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_size_forward_and_backward(name):
    row = PUBLISHED[name]
    module = builders[name]()
    images = torch.rand(1, *row.input_shape, generator=torch.Generator().manual_seed(0))
    logits = module(images)
    torch.nn.functional.cross_entropy(logits, torch.tensor([1])).backward()
    assert logits.shape == (1, row.classes)
    assert logits.isfinite().all()
    assert all(one.grad.isfinite().all() for one in module.parameters())
    del module, logits
    gc.collect()
