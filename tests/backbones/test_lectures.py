"""The lectures' networks against a second writing of them, and their initialisation."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab.backbones import builders
from robustlab.errors import BadRequest


def lenet5_by_hand(weights, x, pool):
    """LeNet-5 with plain functions, from the lecture's drawing."""
    for layer in ("conv1", "conv2"):
        x = functional.conv2d(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
        x = pool(x.clamp(min=0), 2)
    x = x.flatten(1)
    for layer in ("fc1", "fc2"):
        x = (x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]).clamp(min=0)
    return x @ weights["fc3.weight"].T + weights["fc3.bias"]


POOLS = {"max": functional.max_pool2d, "avg": functional.avg_pool2d}


def check_lenet5(module, pool):
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        module(images), lenet5_by_hand(module.state_dict(), images, POOLS[pool])
    )


@pytest.mark.parametrize("pool", POOLS)
def test_lenet5(pool):
    module = builders["lenet5"](pool=pool)
    check_lenet5(module, pool)
    assert sum(one.numel() for one in module.parameters()) == 61_706
    assert builders["lenet5"].input_shape({}) == (1, 32, 32)
    assert builders["lenet5"].classes({}) == 10


@pytest.mark.parametrize("pool", POOLS)
def test_that_check_kills_the_other_twin(pool):
    (other,) = set(POOLS) - {pool}
    with pytest.raises(AssertionError):
        check_lenet5(builders["lenet5"](pool=other), pool)


def test_twins_start_equal_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    twins = [builders["lenet5"](pool=pool).state_dict() for pool in POOLS]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(twins[0][name], twins[1][name]) for name in twins[0])
    other = builders["lenet5"](seed=1).state_dict()
    assert not torch.equal(other["conv1.weight"], twins[0]["conv1.weight"])
    assert all(one.training for one in builders["mlp"]().modules())  # fresh: ready to be trained


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_initial_weights_are_those_the_shipped_networks_started_from(name):
    """A second drawing: He's layer by layer from one generator, variance 1/fan_in at the end."""
    generator = torch.Generator().manual_seed(6)
    layers = [one for one in builders[name](seed=6) if hasattr(one, "weight")]
    for layer in layers:
        kind = "linear" if layer is layers[-1] else "relu"
        weight = torch.empty_like(layer.weight)
        nn.init.kaiming_normal_(weight, nonlinearity=kind, generator=generator)
        assert torch.equal(layer.weight, weight)


def check_variance(module):
    """Weights have variance gain / fan_in: 2 before a ReLU, 1 before the logits; biases are 0."""
    layers = [one for one in module if hasattr(one, "weight")]
    for layer in layers:
        fan_in = layer.weight[0].numel()
        gain = 1 if layer is layers[-1] else 2
        # The standard error of a variance is sqrt(2 / count) of it: five of them.
        tolerance = 5 * (2 / layer.weight.numel()) ** 0.5
        assert abs(layer.weight.var().item() * fan_in / gain - 1) < tolerance
        assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_variance(name):
    check_variance(builders[name]())


def test_that_check_kills_torchs_default():
    with pytest.raises(AssertionError):
        check_variance([nn.Linear(100, 100), nn.Linear(100, 10)])


def test_mlp_widths():
    shapes = [tuple(one.shape) for one in builders["mlp"](hidden="7, 5,3").parameters()]
    assert shapes[::2] == [(7, 1024), (5, 7), (3, 5), (10, 3)]
    assert builders["mlp"](hidden="9")(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet5", {"pol": "avg"}, "unknown option 'pol' of 'lenet5'; did you mean 'pool'"),
        ("lenet5", {"seed": "x"}, "seed='x' of 'lenet5' is not of the kind of its default, 0"),
        ("lenet5", {"pool": "mex"}, "unknown pool 'mex' of 'lenet5'; did you mean 'max'"),
        ("mlp", {"hidden": "a,b"}, "hidden 'a,b' of 'mlp' is no list of widths"),
        ("mlp", {"hidden": "0"}, "no list of widths"),
        ("mlp", {"hidden": ""}, "no list of widths"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(BadRequest, match=message):
        builders[name](**builders[name].bind(options))


def test_text_options_become_the_type_of_the_default():
    builder = builders["lenet5"]
    assert builder.bind({"seed": "3"}) == {**builder.defaults, "pool": "max", "seed": 3}
    bound = builders["googlenet"].bind({"auxiliary": "true", "dropout": "0.1", "width": "8"})
    assert (bound["auxiliary"], bound["dropout"], bound["width"]) == (True, 0.1, 8)
