"""Errors against the loop over all rolls, the exact facts of circular networks, and mutants."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from robustlab.hooks import feature_maps, find_layers
from robustlab.invariance import layer_errors
from robustlab.invariance.layer_errors import (
    aligned_error,
    best_roll,
    best_roll_near,
    cosine_distance,
    inside,
    share_changed,
    vector_error,
)
from robustlab.invariance.layer_measures import Ruler
from robustlab.invariance.layer_strides import measure_strides


def slow_error(after, before, roll):
    """One image at a time, cell by cell."""
    out = []
    for a, b in zip(after.double(), before.double(), strict=True):
        channels, height, width = b.shape
        squares = energy = 0.0
        for c in range(channels):
            mean = b[c].mean()
            for i, j in itertools.product(range(height), range(width)):
                source = b[c, (i - roll[0]) % height, (j - roll[1]) % width]
                squares += (a[c, i, j] - source) ** 2
                energy += (b[c, i, j] - mean) ** 2
        out.append(math.sqrt(squares / energy))
    return out


def pair(seed=0, shape=(3, 2, 5, 6)):
    torch.manual_seed(seed)
    return torch.randn(shape), torch.randn(shape)


def check_aligned(error):
    after, before = pair()
    for roll in ((0, 0), (1, 0), (-2, 3)):
        assert error(after, before, roll).tolist() == pytest.approx(slow_error(after, before, roll))


def check_constant(error):
    """A large constant in every channel changes no error: it is no credit to the network."""
    after, before = pair()
    lift = torch.tensor([40.0, -90.0])[:, None, None]
    assert error(after + lift, before + lift, (1, 2)).tolist() == pytest.approx(
        error(after, before, (1, 2)).tolist(), rel=1e-4
    )


def check_direction(error):
    _, before = pair()
    after = before.roll((1, 2), (2, 3))
    assert error(after, before, (1, 2)).max() == 0


CHECKS = (check_aligned, check_constant, check_direction)


@pytest.mark.parametrize("check", CHECKS)
def test_aligned_error(check):
    check(aligned_error)


def by_the_plain_norm(after, before, roll):
    there = before.roll(roll, (-2, -1)).double()
    return (after.double() - there).flatten(1).norm(dim=1) / there.flatten(1).norm(dim=1)


def about_one_mean(after, before, roll):
    """The mean over all channels together still rewards a channel that is constant."""
    there = before.roll(roll, (-2, -1)).double()
    about = (there - there.mean(dim=(1, 2, 3), keepdim=True)).flatten(1).norm(dim=1)
    return (after.double() - there).flatten(1).norm(dim=1) / about


def wrong_way(after, before, roll):
    return aligned_error(after, before, (-roll[0], -roll[1]))


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (by_the_plain_norm, check_constant),
        (about_one_mean, check_constant),
        (wrong_way, check_direction),
        (wrong_way, check_aligned),
    ],
)
def test_the_checks_kill(mutant, check):
    with pytest.raises(AssertionError):
        check(mutant)


def test_a_constant_map_has_no_error():
    flat = torch.full((2, 3, 4, 4), 0.1)
    assert aligned_error(flat, flat).isnan().all()
    assert best_roll(flat, flat)[0].isnan().all()
    assert aligned_error(flat + 1, flat).isnan().all()


@pytest.mark.parametrize("shape", [(3, 2, 5, 6), (2, 4, 8, 8), (2, 1, 1, 7), (1, 3, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_best_roll_is_the_best_of_all(shape, dtype):
    torch.manual_seed(3)
    before = torch.randn(shape, dtype=dtype) + 5
    after = before.roll((1, 2), (2, 3)) + 0.3 * torch.randn(shape, dtype=dtype)
    error, roll = best_roll(after, before)
    rolls = list(itertools.product(range(shape[2]), range(shape[3])))
    every = torch.stack([aligned_error(after, before, t) for t in rolls])
    assert error.tolist() == pytest.approx(every.amin(dim=0).tolist(), rel=1e-12)
    for i, t in enumerate(roll.tolist()):
        assert -shape[2] < 2 * t[0] <= shape[2]
        assert -shape[3] < 2 * t[1] <= shape[3]
        assert float(aligned_error(after[i : i + 1], before[i : i + 1], tuple(t))) == error[i]


def test_best_roll_is_exact_where_one_is():
    _, before = pair(shape=(4, 3, 8, 6))
    rolls = [(0, 0), (3, -1), (-2, 3), (4, 2)]
    after = torch.stack([b.roll(t, (1, 2)) for b, t in zip(before, rolls, strict=True)])
    error, roll = best_roll(after, before)
    assert (error == 0).all()
    assert roll.tolist() == [list(t) for t in rolls]


def test_best_roll_near_looks_next_to_the_expected_one():
    _, before = pair(shape=(2, 2, 9, 9))
    every = torch.ones(9, 9, dtype=torch.bool)
    after = before.roll((1, 1), (2, 3))
    error, roll = best_roll_near(after, before, (0.5, 0.5), every, every)
    assert (error == 0).all()
    assert roll.tolist() == [[1, 1]] * 2
    assert best_roll_near(after, before, (3.0, 0.5), every, every)[0].min() > 0.5
    assert best_roll_near(after, before, (0.5, 0.5), ~every, every)[0].isnan().all()


def test_cells_that_come_from_inside():
    held = inside((1, -2), (3, 4), torch.device("cpu"))
    assert held.int().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_share_changed():
    before = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]], [[[1.0, 1.0, 1.0, 1.0]]]]).double()
    after = before + torch.tensor([0.0, 1.0, 1e-7, 1.0])
    concerned = torch.tensor([True, True, True, False]).expand(2, 1, 1, 4).clone()
    concerned[1] = False
    found = share_changed(after, before, concerned, 1e-5)
    assert found[0] == pytest.approx(1 / 3)
    assert found[1].isnan()
    assert share_changed(after, before, concerned)[0] == pytest.approx(2 / 3)


def test_vectors():
    before, after = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 5.0], [0.0, 2.0]])
    mean = torch.tensor([1.0, 4.0]).double()
    assert vector_error(after, before, mean).tolist() == pytest.approx([0.5, math.sqrt(5) / 4])
    assert vector_error(before[:1], mean[None], mean).isnan().all()
    assert cosine_distance(after, before)[1] == pytest.approx(1.0)
    cosine = torch.cosine_similarity(after.double(), before.double())
    assert cosine_distance(after, before).tolist() == pytest.approx((1 - cosine).tolist())
    assert (cosine_distance(before, before) == 0).all()


# Facts of circular networks --------------------------------------------------------------------


class Polyphase(nn.Module):
    """Adaptive polyphase sampling (Chaman and Dokmanic 2021), l2, stride 2."""

    def __init__(self, always_first=False):
        super().__init__()
        self.always_first = always_first

    def forward(self, x):
        parts = torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)])
        best = parts.square().sum(dim=(2, 3, 4)).argmax(dim=0)
        if self.always_first:
            best = torch.zeros_like(best)
        return parts[best, torch.arange(x.shape[0])]


def circular(down, stages=2, seed=0):
    torch.manual_seed(seed)
    layers, wide = [], 1
    for _ in range(stages):
        conv = nn.Conv2d(wide, 6, 3, padding=1, padding_mode="circular")
        layers += [conv, nn.ReLU(), down()]
        wide = 6
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)]
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


def measured(network, shift, n=3, tolerance=1e-9):
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(n, 1, 16, 16, generator=generator, dtype=torch.float64)
    layers, _ = find_layers(network, x)
    clean = feature_maps(network, x, layers)[0]
    means = {a.name: clean[a.name].mean(dim=0) for a in layers if a.kind == "vector"}
    strides = measure_strides(network, x[:1], layers)
    ruler = Ruler(network, layers, strides, "circular", means, tolerance)
    found, rolls, _ = ruler.measure(x, clean, shift)
    return found, rolls, ruler


DOWN = {
    "max": lambda: nn.MaxPool2d(2),
    "avg": lambda: nn.AvgPool2d(2),
    "polyphase": Polyphase,
    "first phase": lambda: Polyphase(always_first=True),
}


@pytest.mark.parametrize("name", DOWN)
@pytest.mark.parametrize("shift", [(4, 0), (0, -4), (8, 4)])
def test_everything_is_exact_at_the_total_stride(name, shift):
    found, _, ruler = measured(circular(DOWN[name]), shift)
    for layer in "012345":
        assert found["best_roll"][layer].max() < 1e-12
        if name != "polyphase":
            assert found["aligned"][layer].max() < 1e-12
            assert ruler.roll(layer, shift) == (
                shift[0] // ruler.strides[layer][0],
                shift[1] // ruler.strides[layer][1],
            )
    for layer in "678":
        assert found["in_place"][layer].max() < 1e-12


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (3, -2)])
def test_convolution_is_equivariant_and_changes_every_value(shift):
    found, _, _ = measured(circular(DOWN["max"]), shift)
    assert found["aligned"]["0"].max() < 1e-12
    assert found["changed"]["0"].min() == 1.0
    assert found["in_place"]["0"].min() > 0.5
    assert found["best_roll"]["1"].max() < 1e-12


@pytest.mark.parametrize("shift", [(0, 1), (1, 1), (2, 3)])
def test_a_global_pool_is_invariant_where_nothing_sampled(shift):
    found, _, _ = measured(circular(nn.Identity), shift)
    vectors = list(found["cosine"])
    assert vectors == ["6", "7", "8"]
    assert all(found["in_place"][k].max() < 1e-12 for k in vectors)
    assert all(found["changed"][k].max() == 0 for k in vectors)


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (3, 2)])
def test_polyphase_layers_move_by_whole_cells(shift):
    found, rolls, ruler = measured(circular(Polyphase), shift)
    assert max(float(found["best_roll"][k].max()) for k in "012345") < 1e-12
    assert max(float(found["in_place"][k].max()) for k in "678") < 1e-12
    assert ruler.strides["5"] == (4, 4)
    assert rolls["5"].abs().max() <= 2


@pytest.mark.parametrize("name", ["max", "avg", "first phase"])
def test_negative_controls(name):
    """Anything that samples a fixed grid breaks at its first sampling, and not before."""
    found, _, _ = measured(circular(DOWN[name]), (0, 1))
    assert found["best_roll"]["1"].max() < 1e-12
    assert found["best_roll"]["2"].min() > 0.05
    assert found["in_place"]["8"].min() > 1e-4


def test_zero_padding_is_a_negative_control_in_circular_mode():
    network = circular(Polyphase)
    for conv in network:
        if isinstance(conv, nn.Conv2d):
            conv.padding_mode = "zeros"
    found, _, _ = measured(network, (1, 0))
    assert found["aligned"]["0"].min() > 1e-3


def test_a_network_that_hides_nan_is_noticed():
    class Hides(nn.Module):
        def forward(self, x):
            return torch.nan_to_num(x)

    network = nn.Sequential(Hides(), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(392, 2))
    found, _, ruler = measured(network.double().eval(), (0, 1))
    assert ruler.unforeseen > 0
    assert found["changed"]["1"].min() == 1.0  # of those that changed in fact


def test_the_ruler_notices_rolls_of_the_wrong_direction(monkeypatch):
    """Mutant: the facts above fail for the whole measurement, not for the formula alone."""
    monkeypatch.setattr(layer_errors, "moved", lambda x, t: x.roll((-t[0], -t[1]), (-2, -1)))
    found, _, _ = measured(circular(DOWN["max"]), (0, 1))
    assert found["aligned"]["0"].min() > 0.1
