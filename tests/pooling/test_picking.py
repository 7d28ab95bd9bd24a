"""Down-sampling by index, which no kind can take the place of, is refused and never overlooked."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.pooling import swap_pooling
from robustlab.pooling.calls import read_call
from robustlab.pooling.picking import plain


class Picks(nn.Module):
    """A strided convolution, which can be swapped, and a way to pick values of its maps."""

    def __init__(self, pick, traced=True):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, 2, 1)
        self.up = nn.Upsample(scale_factor=0.75)
        self.head = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(4, 5)
        self.pick, self.traced = pick, traced
        self.register_buffer("even", torch.arange(0, 8, 2))
        self.register_buffer("wide", self.even[:, None].expand(1, 4, 4, 8).contiguous())
        self.register_buffer("run", torch.arange(1, 7))
        self.register_buffer("turned", torch.arange(7, -1, -1))
        self.register_buffer("mask", torch.arange(8) % 2 == 0)
        theta = torch.eye(2, 3)[None]
        grid = functional.affine_grid(theta, [1, 1, 4, 4], align_corners=False)
        self.register_buffer("grid", grid.double())

    def forward(self, x):
        maps = self.conv(x)
        if not self.traced and maps.sum() > 1e9:  # which torch.fx cannot follow
            maps = maps + 1
        return self.last(self.head(self.pick(self, maps)).flatten(1))


SHORTENING = {
    "tensors": lambda m, x: x[:, :, m.even][:, :, :, m.even],
    "rows alone": lambda m, x: x[:, :, m.even],
    "behind an ellipsis": lambda m, x: x[..., m.even],
    "a list": lambda m, x: x[:, :, [0, 2, 4, 6]],
    "a mask": lambda m, x: x[:, :, m.mask],
    "two at once": lambda m, x: x[:, :, m.even[:, None], m.even],
    "index_select": lambda m, x: x.index_select(2, m.even),
    "index_select by name": lambda m, x: torch.index_select(x, dim=-1, index=m.even),
    "gather": lambda m, x: torch.gather(x, 2, m.wide),
    "single rows": lambda m, x: torch.stack([x[:, :, i] for i in (0, 2, 4, 6)], 2),
    "select": lambda m, x: torch.stack([x.select(3, i) for i in (0, 2, 4, 6)], 3),
    "blocks": lambda m, x: x.reshape(-1, 4, 4, 2, 4, 2)[:, :, :, 0, :, 0],
    "as_strided": lambda m, x: x.as_strided((1, 4, 4, 4), (256, 64, 16, 2)),
    "flattened": lambda m, x: x.flatten(2)[:, :, torch.arange(0, 64, 2)].reshape(-1, 4, 4, 8),
    "grid_sample": lambda m, x: functional.grid_sample(x, m.grid, align_corners=False),
    "interpolate": lambda m, x: functional.interpolate(x, scale_factor=0.75),
    "upsample": lambda m, x: m.up(x),
}
KEEPING = {
    "a crop by slices": lambda m, x: x[:, :, 1:7, 2:],
    "a crop by index": lambda m, x: x[:, :, m.run],
    "a turned map": lambda m, x: x[:, :, m.turned],
    "channels": lambda m, x: x[:, [0, 2, 3, 1]],
    "narrow": lambda m, x: x.narrow(2, 1, 6),
    "repeated": lambda m, x: x[:, :, torch.arange(16) // 2],
}


def backbone(pick, traced=True):
    torch.manual_seed(0)
    module = Picks(pick, traced).double().eval()
    return Backbone(module, input_shape=(2, 16, 16), classes=5, name="picks")


def check_refused(pick, traced):
    kind = "polyphase" if traced else "blur3"
    with pytest.raises(BadRequest) as error:
        swap_pooling(backbone(pick, traced), kind)
    told = str(error.value)
    assert any(word in told for word in ("along axis", "as_strided", "makes 4x4", "makes 6x6")), (
        told
    )


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("name", SHORTENING)
def test_values_left_out_are_refused(name, traced):
    check_refused(SHORTENING[name], traced)


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("name", KEEPING)
def test_crops_and_orders_are_not(name, traced):
    swapped = swap_pooling(backbone(KEEPING[name], traced), "blur3")
    assert [one.name for one in swapped.sites] == ["conv", "head"]
    assert swapped(torch.rand(1, 2, 16, 16, dtype=torch.float64)).shape == (1, 5)


def test_that_check_kills_a_reader_of_slices_alone(monkeypatch):
    """Mutant: indices that are tensors are not looked at."""
    from robustlab.pooling import picking

    monkeypatch.setattr(picking, "_check_places", lambda *given: None)
    with pytest.raises(pytest.fail.Exception):
        check_refused(SHORTENING["tensors"], True)


def test_an_index_is_kept_and_a_map_is_not():
    index = torch.arange(3)
    assert plain(index) is index
    assert plain((slice(None), torch.rand(2, 3), index)) == (slice(None), (2, 3), index)


def test_single_values_of_maps_of_one_and_attention_pass():
    assert (
        read_call(operator.getitem, [(slice(None), slice(None), 0, 0)], {}, (1, 4, 1, 1), (1, 4))
        is None
    )
    assert read_call(operator.getitem, [0], {}, (3, 2, 4, 9, 8), (2, 4, 9, 8)) is None
    assert read_call(operator.getitem, [(slice(None), 0)], {}, (1, 197, 768), (1, 768)) is None
