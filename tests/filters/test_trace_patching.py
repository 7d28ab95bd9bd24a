"""Channels set back: counts by hand, other layouts, and that what a hook gives back goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from robustlab.filters.trace_patching import Lanes, patched, ranks
from robustlab.filters.trace_search import smallest
from robustlab.hooks import feature_maps, find_layers, listening


def check_by_hand(values):
    """Logits (0.6, sum of x): of (1, 0.5, 0.25, 0.1) the first two must be set back to zero."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
        module[1].bias.copy_(torch.tensor([0.6, 0.0]))
    x = torch.tensor([[0.25, 1.0, 0.1, 0.5]], dtype=torch.float64).reshape(1, 1, 2, 2)
    layers, _ = find_layers(module, x.repeat(2, 1, 1, 1))
    score, all_ = x.flatten(1), torch.ones(1, 4, dtype=torch.bool)
    orders = torch.cat([ranks(score, all_), ranks(-score, all_)])
    assert orders.tolist() == [[2, 0, 3, 1], [1, 3, 0, 2]]
    goal, image = torch.tensor([0]), torch.tensor([0, 0])
    lanes = Lanes(module, layers[0], x, values(x.flatten(1)), goal, image, orders, 3)
    found, _ = smallest(lanes.restored, [4, 4])
    # By the smallest first: 0.1, 0.25 and 0.5 gone leaves 1 > 0.6; all four must go.
    assert found.tolist() == [2, 4]


def test_the_smallest_number_of_channels_by_hand():
    check_by_hand(torch.zeros_like)


def test_that_check_kills_the_changed_values():
    with pytest.raises(AssertionError):
        check_by_hand(lambda x: x)


def test_channels_last_and_one_channel_alone():
    class Last(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1) * 2

    module = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), Last(), nn.Flatten())
    torch.manual_seed(0)
    x, z = torch.rand(2, 4, 1, 8, 8)
    layers, _ = find_layers(module, x)
    last = layers[1]
    assert last.channels_last
    clean, out = feature_maps(module, x, layers)
    keep = torch.tensor([[True, False, False]]).repeat(4, 1)
    mixed = patched(module, z, last, clean["1"], keep).reshape(4, 8, 8, 3)
    assert (mixed[..., 0] == out.reshape(4, 8, 8, 3)[..., 0]).all()
    with torch.no_grad():
        assert (mixed[..., 1:] == module(z).reshape(4, 8, 8, 3)[..., 1:]).all()


def test_a_layer_that_is_not_met():
    x = torch.rand(2, 1, 8, 8)
    layer = find_layers(nn.Conv2d(1, 5, 3, padding=1), x)[0][0]
    other = nn.Sequential(nn.Flatten())
    other.add_module("x", nn.Identity())
    with pytest.raises(RuntimeError, match="did not come by"):
        patched(other, x, replace(layer, name="7"), x, torch.ones(2, 5) > 0)


def test_what_a_listener_gives_back_goes_on():
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Dropout())
    x, seen = torch.rand(2, 3), []

    def see(name, one, output):
        seen.append(name)
        return torch.full_like(output, 5.0) if name == "0" else None

    with torch.no_grad(), listening(module.eval(), see):
        output = module(x)
    assert (output == 5).all()
    assert seen == ["0", "1"]
