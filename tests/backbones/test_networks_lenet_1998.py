"""LeNet-5 of 1998 against a second writing of the paper, with loops."""

import numpy as np
import pytest
import torch

from robustlab.backbones import builders
from robustlab.backbones.lectures import lenet_1998
from robustlab.backbones.lectures.bitmaps import BITMAPS, DRAWN
from robustlab.backbones.lectures.lenet_1998 import TABLE, PartlyConnected

# Table I of the paper: which maps of S2 (rows) each map of C3 (columns) is connected to.
TABLE_I = """
X . . . X X X . . X X X X . X X
X X . . . X X X . . X X X X . X
X X X . . . X X X . . X . X X X
. X X X . . X X X X . . X . X X
. . X X X . . X X X X . X X . X
. . . X X X . . X X X X . X X X
"""
CONNECTED = np.array([[mark == "X" for mark in row.split()] for row in TABLE_I.split("\n")[1:-1]])


def squash(a):
    return 1.7159 * np.tanh(2 / 3 * a)


def convolve(maps, weight, bias):
    side = maps.shape[-1] - 4
    out = np.empty((len(weight), side, side))
    for k, i, j in np.ndindex(*out.shape):
        out[k, i, j] = (maps[:, i : i + 5, j : j + 5] * weight[k]).sum() + bias[k]
    return squash(out)


def subsample(maps, weight, bias):
    added = maps[:, ::2, ::2] + maps[:, 1::2, ::2] + maps[:, ::2, 1::2] + maps[:, 1::2, 1::2]
    return squash(added * weight + bias)


def by_hand(state, image):
    """Logits [10] of one image [1, 32, 32]."""
    w = {key: value.numpy().astype(float) for key, value in state.items()}
    maps = convolve(image, w["c1.weight"], w["c1.bias"])
    maps = subsample(maps, w["s2.weight"], w["s2.bias"])
    third = []
    for column in range(16):
        seen = maps[CONNECTED[:, column]]
        weight, bias = w[f"c3.maps.{column}.weight"], w[f"c3.maps.{column}.bias"]
        third.append(convolve(seen, weight, bias)[0])
    maps = subsample(np.stack(third), w["s4.weight"], w["s4.bias"])
    hidden = convolve(maps, w["c5.weight"], w["c5.bias"]).ravel()
    hidden = squash(w["f6.weight"] @ hidden + w["f6.bias"])
    return np.array([-((hidden - code) ** 2).sum() for code in np.array(BITMAPS)])


def check_against_the_paper(module):
    assert CONNECTED.sum() == 60
    assert sum(one.numel() for one in module.c3.parameters()) == 60 * 25 + 16
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for one in module.parameters():  # no bias and no coefficient at a value that hides a mistake
        torch.nn.init.normal_(one, 0.1, 0.2, generator=torch.Generator().manual_seed(one.numel()))
    found = module(image)[0].detach().numpy()
    np.testing.assert_allclose(found, by_hand(module.state_dict(), image[0].numpy()), rtol=1e-4)


def test_against_the_paper():
    check_against_the_paper(builders["lenet5_1998"]())


def table_with(column, row):
    return tuple(row if one == column else old for one, old in enumerate(TABLE))


@pytest.mark.parametrize(
    "table", [table_with(0, (0, 1)), table_with(0, (0, 1, 3)), table_with(14, (0, 2, 3, 4))]
)
def test_that_check_kills_another_table(table, monkeypatch):
    monkeypatch.setattr(lenet_1998, "TABLE", table)
    with pytest.raises((AssertionError, ValueError)):
        check_against_the_paper(builders["lenet5_1998"]())


@pytest.mark.parametrize("pool", ["max", "strided"])
def test_that_check_kills_another_pooling(pool):
    with pytest.raises(AssertionError):
        check_against_the_paper(builders["lenet5_1998"](pool=pool))


def test_that_check_kills_a_plain_tanh():
    module = builders["lenet5_1998"]()
    module.tanh4 = torch.nn.Tanh()
    with pytest.raises(AssertionError):
        check_against_the_paper(module)


def test_unconnected_maps_do_not_matter():
    layer = PartlyConnected(TABLE)
    x = torch.rand(1, 6, 14, 14, generator=torch.Generator().manual_seed(0))
    for row in range(6):
        changed = x.clone()
        changed[:, row] += 1
        moved = (layer(x) != layer(changed)).flatten(2).any(2)[0].numpy()
        assert (moved == CONNECTED[row]).all()


def test_codes_are_ten_different_bitmaps_that_no_training_changes():
    codes = np.array(BITMAPS)
    assert codes.shape == (10, 84)
    assert set(codes.ravel()) == {-1, 1}
    assert {len(digit.split()) for digit in DRAWN} == {12}
    apart = [(a != b).sum() for i, a in enumerate(codes) for b in codes[:i]]
    assert min(apart) >= 8
    module = builders["lenet5_1998"]()
    assert "rbf.codes" in module.state_dict()
    assert not module.rbf.codes.requires_grad
    logits = module.rbf(torch.tensor(BITMAPS, dtype=torch.float32))
    assert torch.equal(logits.argmax(1), torch.arange(10))
    assert torch.equal(logits.diagonal(), torch.zeros(10))


def check_uniform(weight, limit):
    """Uniform in +-limit: bounded by it, and with its variance limit ** 2 / 3."""
    assert weight.abs().max() <= limit
    # The standard error of a uniform sample's variance is sqrt(4 / 5 / count) of it: five of them.
    tolerance = 5 * (0.8 / weight.numel()) ** 0.5
    assert abs(weight.square().mean().item() * 3 / limit**2 - 1) < tolerance


def test_initialisation():
    module = builders["lenet5_1998"](seed=4)
    for name, fan_in in (("c1", 25), ("c5", 400), ("f6", 120), ("s4", 4), ("c3.maps.15", 150)):
        layer = module.get_submodule(name)
        check_uniform(layer.weight, 2.4 / fan_in)
        assert layer.bias.abs().max() == 0
    with pytest.raises(AssertionError):
        check_uniform(builders["lenet5"]().fc1.weight, 2.4 / 400)
