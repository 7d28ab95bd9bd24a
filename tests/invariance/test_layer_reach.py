"""Receptive fields measured with NaN, against those that geometry gives, and the border masks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustlab.hooks import feature_maps, find_layers
from robustlab.invariance.layer_errors import aligned_error
from robustlab.invariance.layer_measures import Ruler, border_pixels
from robustlab.invariance.layer_reach import Reach
from robustlab.invariance.layer_strides import measure_strides
from robustlab.invariance.shifts import shifted


def field_of(network, size, channels=1):
    """Pixels along a row that the middle cell of each map depends on."""
    x = torch.rand(1, channels, *size)
    layers = [a for a in find_layers(network, x.repeat(2, 1, 1, 1))[0] if a.kind == "map"]
    reach, found = Reach(network, layers), {}
    for column in range(size[1]):
        pixels = torch.zeros(1, *size, dtype=torch.bool)
        pixels[..., column] = True
        for name, one in reach(x, pixels).items():
            middle = one[0, :, :, one.shape[-1] // 2].any()
            found[name] = found.get(name, 0) + int(middle)
    assert reach.passes == size[1]
    return found


def lenet():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 3, 5), nn.ReLU(), nn.AvgPool2d(2)),
    ).eval()


class Branches(nn.Module):
    """1 x 5 beside 3 x 3 dilated by 2: the wider one counts, its holes do not."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(1, 2, (1, 5), padding=(0, 2))
        self.holes = nn.Conv2d(1, 2, 3, padding=4, dilation=4)
        self.both = nn.Identity()

    def forward(self, x):
        return torch.cat([self.wide(x), self.holes(x)], dim=1)


def test_receptive_fields_of_lenet():
    assert field_of(lenet(), (4 * 8, 48)) == {"0": 5, "1": 5, "2": 6, "3": 14, "4": 14, "5": 16}


def test_receptive_fields_of_branches_and_dilation():
    found = field_of(Branches().eval(), (9, 24))
    assert found == {"wide": 5, "holes": 3, "output": 7}  # -4, -2 to 2, 4


@pytest.mark.slow
def test_receptive_fields_of_alexnet():
    """11, 19, 51, 67: the table of google-research/receptive_field."""
    import torchvision

    network = torchvision.models.alexnet(weights=None).features[:6].eval()
    found = field_of(network, (63, 131), 3)
    assert [found[k] for k in ("0", "2", "3", "5")] == [11, 19, 51, 67]


def test_weights_of_zero_and_dead_units_count():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()).eval()
    nn.init.zeros_(network[0].weight)
    nn.init.constant_(network[0].bias, -1.0)
    assert field_of(network, (8, 12)) == {"0": 3, "1": 3}


# Borders ---------------------------------------------------------------------------------------


def padded(mode="zeros"):
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, padding_mode=mode), nn.ReLU()),
        *(nn.Conv2d(4, 4, 5, padding=2, padding_mode=mode), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 3, padding=1, padding_mode=mode), nn.Flatten(), nn.Linear(576, 3)),
    ).eval()


def ruler_of(network, mode, size=(24, 24)):
    x = torch.rand(4, 1, *size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        layers, _ = find_layers(network, x[:2])
        means = {a.name: torch.zeros(a.size) for a in layers if a.kind == "vector"}
        ruler = Ruler(network, layers, measure_strides(network, x[:1], layers), mode, means)
    return ruler, x, feature_maps(network, x, layers)[0]


@pytest.mark.parametrize("mode", ["zero", "reflect"])
@pytest.mark.parametrize("shift", [(2, 0), (0, -2), (-2, 4), (4, 2)])
def test_padded_convolutions_are_exact_where_both_cells_see_the_same(mode, shift):
    ruler, x, clean = ruler_of(padded(), mode)
    found, _, _ = ruler.measure(x, clean, shift)
    for name in ("0", "1", "2", "3", "4", "5"):
        assert found["aligned"][name].max() < 1e-6, name
        assert ruler.borders(x[:1], shift)[name].kept(ruler.roll(name, shift)).any()


@pytest.mark.parametrize("forgotten", ["synthetic", "lost", "all"])
def test_without_a_mask_they_are_not(forgotten):
    """Mutants: the mask forgotten, or one half of it."""
    shift = (2, 0)
    ruler, x, clean = ruler_of(padded(), "reflect")
    after = feature_maps(ruler.network, shifted(x, *shift, "reflect"), list(ruler.layers.values()))[
        0
    ]
    border, roll = ruler.borders(x[:1], shift)["2"], ruler.roll("2", shift)
    right = border.kept(roll)
    halves = {
        "synthetic": border.stays.roll(roll, (0, 1)),
        "lost": border.seen,
        "all": torch.ones_like(right),
    }
    assert (right & ~halves[forgotten]).sum() == 0
    assert aligned_error(after["2"], clean["2"], roll, right).max() < 1e-6
    assert aligned_error(after["2"], clean["2"], roll, halves[forgotten]).min() > 1e-3


def test_the_cells_left_out_are_those_of_arithmetic():
    """A valid 5 convolution and a 2 pooling: RF 6, stride 2; 3 rows down on 28."""
    network = nn.Sequential(nn.Conv2d(1, 2, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 2))
    ruler, x, _ = ruler_of(network.eval(), "zero", (28, 28))
    border = ruler.borders(x[:1], (3, 0))["1"]
    rows = torch.arange(12)
    assert torch.equal(border.seen.all(dim=1), 2 * rows >= 3)
    assert torch.equal(border.stays.all(dim=1), 2 * rows + 5 < 25)


def test_pixels_of_the_border():
    made, lost = border_pixels((1, -2), (4, 5), torch.device("cpu"))
    assert made.sum() == lost.sum() == 4 * 5 - 3 * 3
    assert all(part.all() for part in (made[0], made[:, -2:], lost[-1], lost[:, :2]))
    x = torch.rand(1, 1, 4, 5) + 1
    assert torch.equal(shifted(x, 1, -2, "zero")[0, 0] == 0, made)


@pytest.mark.parametrize("mode", ["zero", "reflect", "circular"])
@pytest.mark.parametrize("shift", [(0, 1), (2, 0), (-1, 3), (3, -2)])
def test_shifts_against_single_pixels(mode, shift):
    x = torch.rand(1, 1, 6, 7)
    found = shifted(x, *shift, mode)[0, 0]
    for i in range(6):
        for j in range(7):
            a, b = i - shift[0], j - shift[1]
            if mode == "circular":
                expected = x[0, 0, a % 6, b % 7]
            elif mode == "reflect":
                a, b = (abs(a) if a < 6 else 10 - a), (abs(b) if b < 7 else 12 - b)
                expected = x[0, 0, a, b]
            else:
                expected = x[0, 0, a, b] if 0 <= a < 6 and 0 <= b < 7 else torch.tensor(0.0)
            assert found[i, j] == expected
