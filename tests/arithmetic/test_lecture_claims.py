"""What lectures and papers say, run: what holds, and what does not."""

import pytest
from torch import nn

from robustlab import anatomy
from robustlab.backbones.lectures import builders


def row(layer, shape):
    return anatomy(layer, shape).layers.iloc[0]


def test_fully_connected_locally_connected_convolution():
    """A 200 x 200 image and 40,000 hidden units: 1.6 G, 9 M and 10 k weights, biases apart."""
    hidden = row(nn.Conv2d(1, 1, 15, padding=7), (1, 200, 200))
    assert hidden.units == 40_000
    assert hidden.fully_connected_weights == 1_600_000_000
    assert hidden.locally_connected_weights == 9_000_000
    assert row(nn.Conv2d(1, 100, 10), (1, 200, 200)).weights == 10_000


def test_the_formula_agrees_with_real_layers():
    """The lab's locally connected layer and a real linear layer have as many weights as told."""
    geometry = row(nn.Conv2d(1, 6, 5), (1, 32, 32))
    local = anatomy("local@digits").layers.set_index("layer").loc["conv1"]
    assert geometry.locally_connected_weights == local.weights == 117_600
    assert local.kind == "locally connected"
    assert local.locally_connected_weights == local.weights
    full = anatomy(nn.Sequential(nn.Flatten(), nn.Linear(1024, 6 * 28 * 28)), (1, 32, 32))
    assert geometry.fully_connected_weights == full.layers.weights.max()


def test_alexnets_832_million_count_conv4_whole():
    """The figure is the sum of rows of which one forgets the towers; the network does 724 M."""
    found = anatomy(builders["alexnet"](), (3, 227, 227))
    conv4 = found.layers.set_index("layer").loc["conv4"]
    assert conv4.groups == 2
    whole = found.multiply_adds + conv4.multiply_adds
    assert round(whole / 1e6, 1) == 836.5
    work = found.layers[found.layers.weights > 0].set_index("layer").multiply_adds
    told = [int((2 * m if layer == "conv4" else m) / 1e6) for layer, m in work.items()]
    assert told == [105, 223, 149, 224, 74, 37, 16, 4]
    assert sum(told) == 832
    assert round(found.multiply_adds / 1e6) == 724


def test_vgg16_keeps_15_million_values_not_24():
    layers = anatomy("vgg16").layers
    kept = layers[layers.kind.isin(["convolution", "pooling", "fully connected"])]
    kept = kept[~kept.layer.str.contains("avgpool")]
    assert 3 * 224 * 224 + kept.units.sum() == 15_237_608


def test_vgg16_has_its_weights_in_one_place_and_its_work_in_another():
    layers = anatomy("vgg16").layers
    full = layers[layers.kind == "fully connected"]
    assert round(full.parameters.sum() / layers.parameters.sum(), 3) == 0.894
    assert full.multiply_adds.sum() / layers.multiply_adds.sum() < 0.01


def test_three_3x3_see_as_far_as_one_7x7_and_cost_less():
    three = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1, bias=False) for _ in range(3)))
    one = nn.Conv2d(8, 8, 7, padding=3, bias=False)
    stacked, single = (anatomy(n, (8, 32, 32)) for n in (three, one))
    assert stacked.layers.field_rows.iloc[-1] == single.layers.field_rows.iloc[-1] == 7
    assert stacked.parameters / single.parameters == 27 / 49


@pytest.mark.parametrize(("first", "second"), [(3, 3), (5, 2), (7, 11)])
def test_fields_of_stride_one_add_up_to_p_plus_k_minus_one(first, second):
    net = nn.Sequential(nn.Conv2d(1, 1, first), nn.Conv2d(1, 1, second))
    assert anatomy(net, (1, 40, 40)).layers.field_rows.iloc[-1] == first + second - 1
