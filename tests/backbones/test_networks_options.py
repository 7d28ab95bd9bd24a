"""The registry is the test matrix: every network, every option, every value of it."""

import pytest
import torch
from torch import nn

from robustlab.backbones import builders
from robustlab.backbones.options import OPTIONS, described
from robustlab.errors import BadRequest

pytestmark = pytest.mark.usefixtures("one_thread")

VALUES = {
    "activation": ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"],
    "auxiliary": [False, True],
    "branch5": [3, 5],
    "channels": [1, 3],
    "classes": [1, 7],
    "dropout": [0.0, 0.3],
    "head": ["flatten", "gap", "gmp", "gem"],
    "hidden": ["3", "6,5,4"],
    "init": ["he", "xavier", "lecun", "normal"],
    "module": ["bottleneck", "naive"],
    "norm": ["batch", "off"],
    "padding": ["zero", "reflect", "replicate", "circular"],
    "pool": ["max", "avg", "strided", "blur", "polyphase"],
    "seed": [0, 2**63 - 1],
    "shortcut": ["A", "B", "none"],
    "size": [],  # each network has its own
    "towers": [1, 2],
    "width": [2, 6],
}
RESPONSE = ("alexnet", "zfnet", "googlenet")
SIZES = {
    "alexnet": 95,
    "alexnet2014": 95,
    "zfnet": 79,
    "googlenet": 80,
    "resnet_cifar": 12,
    "resnet_imagenet": 40,
    "vgg": 32,
    "mlp": 16,
    "local": 20,
    "lenet5": 20,
}
# At their small sizes maps do not divide, as those of AlexNet never do: no polyphase there.
UNDIVIDED = ("alexnet", "alexnet2014", "googlenet")
UNDIVIDED += tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))
# Everyday runs try the wide families on the options whose layers only they have.
WIDE = ("googlenet", "resnet18")
TELLING = ("branch5", "module", "auxiliary", "norm", "pool", "shortcut")
DEEP = ("vgg13", "vgg16", "vgg19", "resnet3", "resnet4", "resnet5", "resnet10", "resnet15")


def small(name):
    """Options that make a network quick to build and run."""
    builder = builders[name]
    size = SIZES.get(builder.published.function)
    options = {"size": size, "width": 4, "classes": 5, "hidden": "6"}
    return {key: value for key, value in options.items() if key in builder.defaults}


def values(name, option):
    if option == "size":
        return [small(name)["size"], small(name)["size"] + 3]
    found = VALUES[option]
    if option == "pool" and name in UNDIVIDED:
        found = found[:-1]
    return found + (["lrn"] if option == "norm" and name in RESPONSE else [])


def matrix():
    for name, builder in builders.items():
        for option in builder.defaults:
            later = name.startswith(DEEP) or (name in WIDE and option not in TELLING)
            marks = [pytest.mark.slow] if later else []
            yield pytest.param(name, option, marks=marks, id=f"{name}-{option}")


def check_gradients(module, shape, classes):
    """One batch forward and backward: logits for each class, a gradient for each parameter."""
    torch.manual_seed(0)  # of dropout
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    found = module(images)
    found = found if isinstance(found, tuple) else (found,)
    loss = sum(nn.functional.cross_entropy(one, torch.tensor([0, classes - 1])) for one in found)
    loss.backward()
    for logits in found:
        assert logits.shape == (2, classes)
        assert logits.isfinite().all()
    for name, one in module.named_parameters():
        assert one.grad is not None, name
        assert one.grad.isfinite().all(), name
    assert not any(getattr(one, "inplace", False) for one in module.modules())


@pytest.mark.parametrize(("name", "option"), list(matrix()))
def test_every_value_builds_and_learns(name, option):
    builder = builders[name]
    for value in values(name, option):
        options = {**small(name), option: value}
        untouched = torch.get_rng_state()
        module = builder(**builder.bind({key: str(one) for key, one in options.items()}))
        assert torch.equal(torch.get_rng_state(), untouched)
        check_gradients(module, builder.input_shape(options), builder.classes(options))
        state = module.state_dict()
        again = builder(**options).state_dict()
        fresh = [key for key in state if "running" not in key and "num_batches" not in key]
        assert list(again) == list(state)
        assert all(torch.equal(state[key], again[key]) for key in fresh)


def test_that_check_kills_a_parameter_without_use():
    module = builders["lenet5"]()
    module.register_parameter("idle", nn.Parameter(torch.zeros(1)))
    with pytest.raises(AssertionError, match="idle"):
        check_gradients(module, (1, 32, 32), 10)


def test_that_check_kills_an_activation_in_place():
    module = builders["lenet5"]()
    module.relu1 = nn.ReLU(inplace=True)
    with pytest.raises(AssertionError):
        check_gradients(module, (1, 32, 32), 10)


def test_every_activation_is_a_module_of_its_own():
    calls = []
    module = builders["resnet18"](**small("resnet18"))
    for one in module.modules():
        if isinstance(one, nn.ReLU):
            one.register_forward_hook(lambda layer, x, y: calls.append(layer))
    module.eval()(torch.zeros(1, 3, 40, 40))
    assert len(calls) == len(set(calls)) == 17


def test_every_option_is_explained():
    own = {"towers", "branch5", "module", "auxiliary"}
    for name, builder in builders.items():
        doc = (builder.function.func.__doc__ or "").splitlines()
        for option in builder.defaults:
            line = any(one.strip().startswith(f"{option}:") for one in doc)
            assert line or (option in OPTIONS and option not in own), (name, option)


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("resnet18", "pool", "all but max: in the stem as well"),
        ("resnet20", "init", "logits always by lecun"),
        ("googlenet", "dropout", "the auxiliary heads always drop 0.7"),
    ],
)
def test_what_an_option_does_besides_is_said_where_it_is_shown(name, option, words):
    shown = {one.name: one.doc for one in described(name).parameters}
    assert words in shown[option]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet20", {"norm": "btch"}, "unknown norm 'btch' of 'resnet20'; did you mean 'batch'"),
        ("resnet20", {"norm": "lrn"}, "unknown norm 'lrn' of 'resnet20'; there is batch, off"),
        ("resnet50", {"shortcut": "C"}, "unknown shortcut 'C' of 'resnet50'; there is A, B, none"),
        ("vgg16", {"padding": "zeros"}, "padding 'zeros' of 'vgg16'; did you mean 'zero'"),
        ("vgg11", {"pool": ["max"]}, "unknown pool"),
        ("zfnet", {"activation": "rel"}, "activation 'rel' of 'zfnet'; did you mean 'relu'"),
        ("local", {"head": "flat"}, "head 'flat' of 'local'; did you mean 'flatten'"),
        ("mlp", {"init": "xaver"}, "init 'xaver' of 'mlp'; did you mean 'xavier'"),
        ("lenet5_1998", {"pool": "sum"}, "unknown pool 'sum' of 'lenet5_1998'"),
        ("googlenet", {"branch5": 4}, "unknown branch5 4 of 'googlenet'; there is 3, 5"),
        ("googlenet", {"module": "naiv"}, "module 'naiv' of 'googlenet'; did you mean 'naive'"),
        ("alexnet", {"towers": 3}, "unknown towers 3 of 'alexnet'; there is 1, 2"),
        ("alexnet", {"width": 5}, "width 5 of 'alexnet' is odd; the maps must halve into two"),
        ("alexnet", {"width": 5, "towers": 1}, "width 5 of 'alexnet' is odd"),
        ("lenet5", {"width": 0}, "width 0 of 'lenet5' is no whole number from 1 to 16384"),
        ("lenet5", {"classes": 2.5}, "classes 2.5 of 'lenet5' is no whole number"),
        ("lenet5", {"channels": True}, "channels True of 'lenet5' is no whole number"),
        ("lenet5", {"seed": -1}, "seed -1 of 'lenet5' is no whole number from 0 to 9223372036"),
        ("lenet5", {"dropout": 1.0}, r"dropout 1.0 of 'lenet5' is not in \[0, 1\)"),
        ("lenet5", {"dropout": float("nan")}, r"dropout nan of 'lenet5' is not in \[0, 1\)"),
        ("lenet5", {"dropout": "much"}, "dropout 'much' of 'lenet5'"),
    ],
)
def test_wrong_values(name, options, message):
    with pytest.raises(BadRequest, match=message):
        builders[name](**options)
