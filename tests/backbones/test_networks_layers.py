"""Layer by layer as the papers print them: what stands where, how wide it looks, what it gives.

Written from the papers' text, figures and tables. Where a paper leaves a padding unsaid, it is the
one that makes its output sizes.
"""

import pytest
import torch
from torch import nn

from robustlab.backbones import builders
from robustlab.backbones.lectures import mlp, parts
from robustlab.backbones.lectures.inception import Inception
from robustlab.backbones.lectures.normalisation import ResponseNorm

pytestmark = pytest.mark.usefixtures("one_thread")

# name, kind, kernel / stride, padding, groups (of convolutions and response normalisation); maps.
# Krizhevsky et al. 2012, section 3.5: 227 pixels, two towers that meet in conv3 and behind conv5.
ALEXNET = """
    conv1   conv  11/4  0  1   96x55x55
    relu1   act                96x55x55
    norm1   lrn            2   96x55x55
    pool1   max    3/2  0      96x27x27
    conv2   conv   5/1  2  2  256x27x27
    relu2   act               256x27x27
    norm2   lrn            2  256x27x27
    pool2   max    3/2  0     256x13x13
    conv3   conv   3/1  1  1  384x13x13
    relu3   act               384x13x13
    conv4   conv   3/1  1  2  384x13x13
    relu4   act               384x13x13
    conv5   conv   3/1  1  2  256x13x13
    relu5   act               256x13x13
    pool5   max    3/2  0     256x6x6
"""

# Zeiler and Fergus 2013, figure 3: 110, 55, 26 and 13 pixels, normalised behind the poolings.
ZFNET = """
    conv1   conv   7/2  1  1   96x110x110
    relu1   act                96x110x110
    pool1   max    3/2  0      96x55x55
    norm1   lrn            1   96x55x55
    conv2   conv   5/2  0  1  256x26x26
    relu2   act               256x26x26
    pool2   max    3/2  0     256x13x13
    norm2   lrn            1  256x13x13
    conv3   conv   3/1  1  1  384x13x13
    relu3   act               384x13x13
    conv4   conv   3/1  1  1  384x13x13
    relu4   act               384x13x13
    conv5   conv   3/1  1  1  256x13x13
    relu5   act               256x13x13
    pool5   max    3/2  0     256x6x6
"""

# Szegedy et al. 2014, table 1 and figure 3; the four convolutions of a module are below. The paper
# pools 3x3 behind 4e, torchvision (and so the lab) 2x2.
GOOGLENET = """
    conv1.conv    conv  7/2  3  1   64x112x112
    maxpool1      max   3/2  0      64x56x56
    norm1         lrn           1   64x56x56
    conv2.conv    conv  1/1  0  1   64x56x56
    conv3.conv    conv  3/1  1  1  192x56x56
    norm2         lrn           1  192x56x56
    maxpool2      max   3/2  0     192x28x28
    inception3a   module           256x28x28
    inception3b   module           480x28x28
    maxpool3      max   3/2  0     480x14x14
    inception4a   module           512x14x14
    inception4b   module           512x14x14
    inception4c   module           512x14x14
    inception4d   module           528x14x14
    inception4e   module           832x14x14
    maxpool4      max   2/2  0     832x7x7
    inception5a   module           832x7x7
    inception5b   module           1024x7x7
"""
# #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
TABLES = {"alexnet": (ALEXNET, {}), "zfnet": (ZFNET, {}), "googlenet": (GOOGLENET, {"norm": "lrn"})}


@pytest.fixture(autouse=True)
def only_built(monkeypatch):
    """Networks of full width stay on the meta device: their shapes without their numbers."""
    for home in (parts, mlp):
        monkeypatch.setattr(home, "initialised", lambda network, seed, **how: network)


def square(value):
    """The one number of a kernel, stride or padding that is the same both ways."""
    return value if isinstance(value, int) else value[0] if len(set(value)) == 1 else value


def line(name, layer, out):
    """One layer in the words of the tables; None for what they leave out."""
    words = {nn.Conv2d: "conv", nn.MaxPool2d: "max", ResponseNorm: "lrn", Inception: "module"}
    kind = words.get(type(layer), "act" if isinstance(layer, nn.ReLU) else None)
    if kind is None or out.dim() != 4:
        return None
    row = [name, kind]
    if kind in ("conv", "max"):
        row += [f"{square(layer.kernel_size)}/{square(layer.stride)}", square(layer.padding)]
    if kind == "conv":
        row.append(layer.groups)
    if kind == "lrn":
        row.append(layer.towers)
    return " ".join(map(str, [*row, "x".join(map(str, out.shape[1:]))]))


def check_table(name, module):
    """Line by line, in the order in which the image passes."""
    found = []
    modules = [one for one, layer in module.named_modules() if isinstance(layer, Inception)]
    inside = tuple(f"{one}." for one in modules)
    for place, layer in module.named_modules():
        if not place.startswith(inside):
            layer.register_forward_hook(
                lambda layer, x, out, place=place: found.append(line(place, layer, out))
            )
    size = 227 if name == "alexnet" else 224
    module.eval()(torch.empty(1, 3, size, size, device="meta"))
    table = TABLES[name][0]
    wanted = [" ".join(row.split()) for row in table.strip().splitlines()]
    # GoogLeNet's table names no activations.
    assert [row for row in found if row and (" act " in table or " act " not in row)] == wanted


def check_modules(module):
    """Each module's convolutions, from its four branches, and the pooling in the last one."""
    for name, maps in MODULES.items():
        one, narrow3, three, narrow5, five, pooled = maps
        layers = [
            layer
            for layer in module.get_submodule(f"inception{name}").modules()
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d)
        ]
        pooling = layers.pop(-2)
        assert (pooling.kernel_size, pooling.stride, pooling.padding) == (3, 1, 1)
        found = [(layer.kernel_size[0], layer.out_channels) for layer in layers]
        wanted = [(1, one), (1, narrow3), (3, three), (1, narrow5), (5, five), (1, pooled)]
        assert found == wanted, name


def built(name):
    return builders[name](**TABLES[name][1])


@pytest.mark.parametrize("name", TABLES)
def test_the_paper_s_table(name):
    check_table(name, built(name))


def test_the_paper_s_modules():
    check_modules(built("googlenet"))


def replaced(name, layer, new):
    module = built(name)
    module.set_submodule(layer, new)
    return name, module


MUTANTS = {
    "zfnet with 2x2 pooling": lambda: replaced("zfnet", "pool1", nn.MaxPool2d(2, 2)),
    "zfnet without norm2": lambda: replaced("zfnet", "norm2", nn.Identity()),
    "alexnet on one tower": lambda: ("alexnet", builders["alexnet"](towers=1)),
    "alexnet with average pooling": lambda: ("alexnet", builders["alexnet"](pool="avg")),
    "alexnet without norm1": lambda: replaced("alexnet", "norm1", nn.Identity()),
    "googlenet without normalisation": lambda: ("googlenet", builders["googlenet"](norm="off")),
    "googlenet without norm1": lambda: replaced("googlenet", "norm1", nn.Identity()),
    "googlenet, naive": lambda: ("googlenet", builders["googlenet"](module="naive", norm="lrn")),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_that_check_kills(mutant):
    name, module = MUTANTS[mutant]()
    with pytest.raises(AssertionError):
        check_table(name, module)


@pytest.mark.parametrize("mutant", [{"branch5": 3}, {"width": 63}])
def test_the_check_of_modules_kills(mutant):
    with pytest.raises(AssertionError):
        check_modules(builders["googlenet"](**mutant))


# What stands behind the maps, with the share dropped by default. Krizhevsky 2012, section 4.2, and
# Simonyan and Zisserman: the first two fully connected layers; Szegedy: 40 % before the linear
# layer. The ResNets, LeNet and the perceptron were published without.
TWO_HIDDEN = "linear act drop linear act drop linear"
DROPOUT = {
    "alexnet": (0.5, f"flatten {TWO_HIDDEN}"),
    "zfnet": (0.5, f"flatten {TWO_HIDDEN}"),
    "vgg11": (0.5, f"flatten {TWO_HIDDEN}"),
    "vgg16": (0.5, f"flatten {TWO_HIDDEN}"),
    "alexnet2014": (0.5, "flatten drop linear act drop linear act linear"),  # as torchvision
    "googlenet": (0.4, "gap flatten drop linear"),
    "resnet20": (0.0, "gap flatten drop linear"),
    "resnet50": (0.0, "gap flatten drop linear"),
    "lenet5": (0.0, f"flatten {TWO_HIDDEN}"),
    "local": (0.0, f"flatten {TWO_HIDDEN}"),
    "mlp": (0.0, f"flatten {TWO_HIDDEN}"),
}
WORDS = {
    nn.Dropout: "drop",
    nn.Linear: "linear",
    nn.ReLU: "act",
    nn.Flatten: "flatten",
    nn.AdaptiveAvgPool2d: "gap",
}


def check_dropout(name, module, share):
    """Dropout of that share where it belongs and nowhere else; none at all for a share of 0."""
    tail = [word for word in DROPOUT[name][1].split() if share or word != "drop"]
    leaves = [layer for layer in module.modules() if not list(layer.children())]
    # A dropout of nothing may stand or not.
    active = [layer for layer in leaves if not isinstance(layer, nn.Dropout) or layer.p]
    assert [WORDS.get(type(layer)) for layer in active][-len(tail) :] == tail
    shares = [layer.p for layer in active if isinstance(layer, nn.Dropout)]
    assert shares == [share] * tail.count("drop")


@pytest.mark.parametrize("name", DROPOUT)
@pytest.mark.parametrize("share", [None, 0.3, 0.0])
def test_dropout(name, share):
    options = {} if share is None else {"dropout": share}
    check_dropout(name, builders[name](**options), DROPOUT[name][0] if share is None else share)


def test_every_network_with_dropout_is_held():
    families = {builders[name].published.function for name in DROPOUT}
    assert {b.published.function for b in builders.values() if "dropout" in b.defaults} == families


@pytest.mark.parametrize("name", [name for name in DROPOUT if "vgg" not in name])
def test_that_check_kills_dropout_that_never_comes(name, monkeypatch):
    monkeypatch.setattr(parts.Parts, "dropped", lambda self, name: {})
    module = builders[name](dropout=0.3)
    if name == "alexnet2014":  # it does not ask `dropped`
        module.get_submodule("classifier.3").p = 0.0
    with pytest.raises(AssertionError):
        check_dropout(name, module, 0.3)


@pytest.mark.parametrize("mutant", ["nothing", "another share", "elsewhere"])
def test_that_check_kills_vgg_with(mutant):
    module = builders["vgg11"]()
    rest = module.classifier
    if mutant == "elsewhere":
        module.classifier = nn.Sequential(rest[2], *rest[:2], *rest[3:])
    else:
        rest[2].p = rest[5].p = 0.0 if mutant == "nothing" else 0.4
    with pytest.raises(AssertionError):
        check_dropout("vgg11", module, 0.5)
