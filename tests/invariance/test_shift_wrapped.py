"""What windows share of a convolution that goes round them: their own values, window by window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab import Backbone, load_data
from robustlab.backbones.lectures.pooling import Subsample
from robustlab.invariance.shift_maps import Mapper
from robustlab.invariance.shift_wrapped import Wrapped, wrap

SIZE = (12, 14)


def network(kernel=(5, 5), pool=None, mode="circular", more=()):
    torch.manual_seed(0)
    padding = tuple(k // 2 for k in kernel)
    pools = [pool] if pool is not None else []
    layers = [nn.Tanh(), nn.Conv2d(2, 4, kernel, padding=padding, padding_mode=mode), *more]
    layers += [nn.ReLU(), *pools, nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(3, 5)).double().eval()


def check(found, module, radius=3):
    """Every window of a picture through the cut network and through the whole one."""
    torch.manual_seed(1)
    height, width = SIZE
    picture = torch.rand(2, 2, height + 2 * radius, width + 2 * radius, dtype=torch.float64)
    side = 2 * radius + 1
    places = [(n, i, j) for n in range(2) for i in range(side) for j in range(side)]
    image, top, left = torch.tensor(places).T
    with torch.no_grad():
        made = found.rest(found.cut(found.features(picture), image, top, left))
        for row, (n, i, j) in enumerate(places):
            true = module(picture[n : n + 1, :, i : i + height, j : j + width])[0]
            assert torch.allclose(made[row], true, atol=1e-12)


NETWORKS = {
    "plain": lambda: network(),
    "of one row": lambda: network((1, 5)),
    "of one column": lambda: network((3, 1)),
    "max": lambda: network(pool=nn.MaxPool2d(2)),
    "overlapping": lambda: network(pool=nn.MaxPool2d(3, 2)),
    "avg": lambda: network(pool=nn.AvgPool2d(2)),
    "strided": lambda: network(pool=Subsample(2, 2)),
    "strided by three": lambda: network(pool=Subsample(3, 2)),
    "avg of three": lambda: network(pool=nn.AvgPool2d(3, 2)),
    "padded pool": lambda: network(pool=nn.MaxPool2d(3, 2, 1)),
    "normalised": lambda: network(more=(nn.BatchNorm2d(4),)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_windows_get_their_own_values(name):
    module = NETWORKS[name]()
    found = wrap(module, SIZE, 3)
    assert isinstance(found, Wrapped)
    pooled = name.split()[0] in ("max", "overlapping", "avg", "strided")
    assert (found.pool is not None) is pooled
    check(found, module)


def rows_changed(self, features, image, top, left):
    return Wrapped.cut(self, features, image, left, top)


def seam_the_other_way(self, features, image, top, left):
    made = Wrapped.cut(self, features, image, top, left)
    return torch.cat([made[:, :, -2:], made[:, :, 2:-2], made[:, :, :2]], dim=2)


def zeros_outside(self, picture):
    strips = picture.unfold(3, SIZE[1], 1).permute(0, 3, 1, 2, 4)
    wide = torch.nn.functional.pad(strips, (2, 2))
    made = self._convolved(wide.flatten(0, 1))
    return wide, made.view(*strips.shape[:2], *made.shape[1:])


@pytest.mark.parametrize("mutant", [rows_changed, seam_the_other_way, zeros_outside])
def test_the_check_kills(monkeypatch, mutant):
    module = network()
    found = wrap(module, SIZE, 3)
    name = "features" if mutant is zeros_outside else "cut"
    if name == "features":
        found.before.clear()
        module = module[1:]
    check(found, module)
    monkeypatch.setattr(found, name, mutant.__get__(found))
    with pytest.raises(AssertionError):
        check(found, module)


@pytest.mark.parametrize(
    "module",
    [
        network(mode="zeros"),
        network(kernel=(7, 7)),
        nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1, padding_mode="circular"), nn.Flatten()),
        nn.Sequential(nn.Conv2d(2, 4, 4, 1, 1, padding_mode="circular"), nn.Flatten()),
        nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3, 1, 1, padding_mode="circular")),
        nn.Linear(14, 3),
    ],
)
def test_what_is_not_wrapped(module):
    assert wrap(module.double().eval(), SIZE, 3) is None


def test_what_would_be_too_much_to_keep_is_not():
    wide = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, padding_mode="circular"), nn.Flatten())
    assert wrap(wide, (32, 32), 1) is not None
    assert wrap(wide, (32, 32), 8) is None


@pytest.mark.parametrize("mode", ["crop", "reflect", "zero"])
def test_maps_are_those_of_the_loop(mode):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 5, padding=2, padding_mode="circular"), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(96, 10)]
    module = nn.Sequential(*layers).eval()
    module[-1].weight.data *= 20
    backbone = Backbone(module, input_shape=(1, 32, 32), classes=10, name="own")
    data = load_data("digits:test", take=3)
    quick = Mapper(backbone, 2, mode)
    assert isinstance(quick.way[0], Wrapped)
    mine, true = quick(data), Mapper(backbone, 2, mode, quick=False)(data)
    assert np.array_equal(mine.prediction, true.prediction)
    assert len(np.unique(true.prediction)) > 1
    assert np.allclose(mine.probability, true.probability, atol=1e-5)
    assert not mine.anew.any()
