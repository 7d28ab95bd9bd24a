"""Effective fields: of the layer itself, at a place of its map, whatever follows it."""

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.arithmetic import effective
from robustlab.arithmetic.effective import effective_field, map_layers
from robustlab.errors import BadRequest

pytestmark = pytest.mark.usefixtures("one_thread")


class Turned(nn.Module):
    """To channels last, and back."""

    def __init__(self, *order):
        super().__init__()
        self.order = order

    def forward(self, x):
        return x.permute(self.order)


def last(channels):
    """A convolution whose maps go on with channels last; of as many channels as rows."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1, bias=False),
        Turned(0, 2, 3, 1),
        nn.LayerNorm(channels, elementwise_affine=False),
        nn.Linear(channels, channels),
        Turned(0, 3, 1, 2),
    )


def check_last(channels):
    torch.manual_seed(0)
    network, x = last(channels), torch.rand(1, 1, 9, 9)
    shapes = dict(map_layers(network, (1, 9, 9)))
    assert shapes == {str(i): (channels, 9, 9) for i in range(5)}
    first = effective_field(network, "3", x)
    assert np.argwhere(first > 0).min(0).tolist() == [3, 3]
    assert np.argwhere(first > 0).max(0).tolist() == [5, 5]
    np.testing.assert_allclose(first, effective_field(network, "4", x))


@pytest.mark.parametrize("channels", [4, 9])
def test_channels_last(channels):
    check_last(channels)


def test_that_check_kills_channels_taken_for_columns(monkeypatch):
    true = effective._places
    monkeypatch.setattr(
        effective,
        "_places",
        lambda *given: {name: (shape, False) for name, (shape, _) in true(*given).items()},
    )
    with pytest.raises(AssertionError):
        check_last(9)


class Rolled(nn.Module):
    """Through an operator whose fields are not followed."""

    def forward(self, x):
        return x.roll(1, 2)


def test_where_fields_are_lost_rows_and_columns_are_those_that_grow():
    network = nn.Sequential(nn.Conv2d(1, 9, 3, padding=1), Rolled(), Turned(0, 2, 3, 1))
    assert dict(map_layers(network, (1, 9, 9))) == {str(i): (9, 9, 9) for i in range(3)}
    found = effective_field(network, "2", torch.rand(1, 1, 9, 9))
    assert np.argwhere(found > 0).min(0).tolist() == [2, 3]  # the middle is row 3 before the roll
    assert np.argwhere(found > 0).max(0).tolist() == [4, 5]


def test_what_follows_in_place_is_not_counted_to_a_layer():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.ReLU(inplace=True))
    with torch.no_grad():
        network[0].weight.fill_(-1.0)  # all behind the activation is zero
    found = effective_field(network, "0", torch.rand(1, 1, 9, 9))
    assert (found > 0).sum() == 9
    assert effective_field(network, "1", torch.rand(1, 1, 9, 9)).max() == 0


@pytest.mark.parametrize("layer", ["1", "2"])
def test_what_gives_no_map_is_refused(layer):
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(49, 2))
    with pytest.raises(BadRequest, match=r"gives no map of rows and columns.*0"):
        effective_field(network, layer, torch.rand(1, 1, 9, 9))
    with pytest.raises(BadRequest, match="no images"):
        effective_field(network, "0", [])
    assert not any(one._forward_hooks for one in network.modules())
