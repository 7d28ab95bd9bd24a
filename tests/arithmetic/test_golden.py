"""The arithmetic against published figures and two other counters; nothing is computed at 224."""

import pytest
import torch
import torchvision
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from robustlab import anatomy
from robustlab.arithmetic import fields, geometry, operation, rules_products
from robustlab.arithmetic.fields import Field
from robustlab.backbones.lectures import builders

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORKS = {
    "alexnet": "AlexNet_Weights",
    "vgg11": "VGG11_Weights",
    "vgg16": "VGG16_Weights",
    "vgg19": "VGG19_Weights",
    "googlenet": "GoogLeNet_Weights",
    "inception_v3": "Inception_V3_Weights",
    "resnet18": "ResNet18_Weights",
    "resnet34": "ResNet34_Weights",
    "resnet50": "ResNet50_Weights",
    "resnet101": "ResNet101_Weights",
    "resnet152": "ResNet152_Weights",
    "densenet121": "DenseNet121_Weights",
    "mobilenet_v2": "MobileNet_V2_Weights",
    "squeezenet1_1": "SqueezeNet1_1_Weights",
    "convnext_tiny": "ConvNeXt_Tiny_Weights",
}


def built(name):
    """torchvision's network on the meta device: shapes without numbers."""
    options = {"googlenet": {"init_weights": False, "aux_logits": False}}
    options["inception_v3"] = {"init_weights": False}
    with torch.device("meta"):
        return getattr(torchvision.models, name)(**options.get(name, {})).eval()


def shape(name):
    size = 299 if name == "inception_v3" else 224
    return (3, size, size)


def meta(name):
    weights = getattr(torchvision.models, NETWORKS[name])
    return weights.IMAGENET1K_V1.meta


def check_counts(name):
    found = anatomy(built(name), shape(name))
    assert found.status == "complete"
    assert found.parameters == found.layers.parameters.sum() == meta(name)["num_params"]
    assert round(found.multiply_adds / 1e9, 3) == meta(name)["_ops"]


@pytest.mark.parametrize("name", NETWORKS)
def test_torchvision_says_the_same(name):
    check_counts(name)


@pytest.mark.parametrize("name", NETWORKS)
def test_torchs_counter_says_the_same_to_the_last_digit(name):
    network = built(name)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *shape(name), device="meta"))
    assert anatomy(network, shape(name)).flops == counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "weights", "patch"),
    [("vit_b_16", "ViT_B_16_Weights", 16), ("swin_t", "Swin_T_Weights", 4)],
)
def test_of_transformers_work_is_known_and_fields_end_at_the_patches(name, weights, patch):
    """What tokens see depends on what attention mixes; no number is given behind the first."""
    with torch.device("meta"):
        network = getattr(torchvision.models, name)().eval()
    found = anatomy(network, (3, 224, 224))
    told = getattr(torchvision.models, weights).IMAGENET1K_V1.meta
    assert found.parameters == told["num_params"]
    assert round(found.multiply_adds / 1e9, 3) == told["_ops"]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 224, 224, device="meta"))
    assert found.flops == counter.get_total_flops()
    assert found.status == "partial"
    assert set(found.layers.field_rows.dropna()) == {patch}
    first = found.layers.field_rows.isna().argmax()
    assert found.layers.field_rows[first:].isna().all()
    assert found.layers.note[first:].str.contains("receptive field not known").all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_torchs_profiler_says_the_same_to_the_last_digit(name):
    """It counts in C++ with formulas of its own; additions and multiplications apart are left out,
    and so is the product inside of ``addmm``, which it counts twice."""
    network = built(name)
    with torch.no_grad(), profile(with_flops=True) as told:
        network(torch.empty(1, *shape(name), device="meta"))
    counts = {one.key: one.flops for one in told.key_averages()}
    both = counts["aten::conv2d"] + counts.get("aten::addmm", 0)
    assert anatomy(network, shape(name)).flops == both


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet50", 3858), ("resnet101", 7570), ("resnet152", 11282)],
)
def test_the_resnets_of_the_paper_do_less(name, millions):
    assert round(anatomy(as_published(built(name))).multiply_adds / 1e6) == millions


# Receptive fields ---------------------------------------------------------------------------------


def as_published(network):
    """He et al. (2015) give the stride of a bottleneck to its first 1x1 convolution."""
    for block in network.modules():
        if isinstance(block, torchvision.models.resnet.Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    return network


def last_map(network, size=224):
    layers = anatomy(network, (3, size, size)).layers
    maps = layers[[len(one or ()) == 3 and one[1] > 1 for one in layers.output_shape]]
    assert maps.aligned.all()
    row = maps.iloc[-1]
    assert row.field_rows == row.field_columns
    return int(row.field_rows), row.stride_rows


FIELDS = {
    "alexnet": 195,
    "vgg11": 150,
    "vgg16": 212,
    "vgg19": 268,
    "googlenet": 379,
    "resnet18": 435,
    "resnet34": 899,
    "resnet50": 427,
    "resnet101": 971,
    "resnet152": 1451,
    "densenet121": 2071,
    "mobilenet_v2": 491,
}
PUBLISHED = {"resnet50": 483, "resnet101": 1027, "resnet152": 1507}


def check_field(name):
    assert last_map(built(name)) == (FIELDS[name], 32)


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_fields(name):
    check_field(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_receptive_fields_with_the_stride_on_the_1x1(name):
    assert last_map(as_published(built(name))) == (PUBLISHED[name], 32)


def test_inception():
    assert last_map(built("inception_v3"), 299) == (1311, 32)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("alexnet", [11, 19, 51, 67, 99, 131, 163, 195, 195]),
        (
            "vgg16",
            [3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212, 212],
        ),
    ],
)
def test_layer_by_layer(name, fields):
    layers = anatomy(built(name)).layers
    assert [*layers[layers.kernel.notna()].field_rows] == fields


# Historical networks ------------------------------------------------------------------------------


def check_lenet_1998():
    found = anatomy(builders["lenet5_1998"](), (1, 32, 32))
    assert found.parameters == 60_000
    assert found.layers.connections.sum() == 340_908
    return found.layers


def test_lenet_of_1998():
    layers = check_lenet_1998()
    by_part = layers.groupby(layers.layer.str.slice(0, 2)).connections.sum()
    told = {"c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000, "c5": 48_120, "f6": 10_164}
    assert {part: by_part[part] for part in told} == told
    assert by_part["rb"] == 840
    assert [*layers[layers.layer.isin(["c1", "c5"])].field_rows] == [5, 32]


def check_alexnet_2012():
    """Its multiply-adds in millions by layer: 724.4, for the two towers do not see each other."""
    found = anatomy("alexnet", (3, 227, 227))
    assert found.parameters == 60_965_224
    work = found.layers[found.layers.weights > 0].multiply_adds / 1e6
    wanted = [105.4, 223.9, 149.5, 112.1, 74.8, 37.7, 16.8, 4.1]
    assert [round(float(one), 1) for one in work] == wanted
    assert round(found.multiply_adds / 1e6, 1) == 724.4
    assert found.units == 659_272  # "650,000 neurons"


def test_alexnet_of_2012():
    check_alexnet_2012()


def test_zfnet_and_googlenet_as_published():
    assert round(anatomy("zfnet").multiply_adds / 1e6) == 1168
    assert round(anatomy("googlenet").multiply_adds / 1e9, 3) == 1.583


# Mutants ------------------------------------------------------------------------------------------


def off_by_one(patch):
    true = fields.window
    patch.setattr(fields, "window", lambda kernel, *others: true(kernel + 1, *others))


def shortest_branch(patch):
    true = Field.joined

    def joined(self, other, size):
        return true(self, other, size) and min((self, other), key=lambda one: one.size)

    patch.setattr(Field, "joined", joined)


def stride_forgotten(patch):
    true = fields.window
    patch.setattr(fields, "window", lambda kernel, stride=1, *rest: true(kernel, 1, *rest))


def changed(patch, change):
    true = rules_products.convolution

    def convolution(one):
        found = true(one)
        change(one, found)
        return found

    for name in ("conv2d", "convolution"):
        patch.setitem(operation.RULES, name, convolution)


def groups_forgotten(patch):
    def change(one, found):
        found.multiply_adds *= one.given["groups"]

    changed(patch, change)


def biases_multiplied(patch):
    def change(one, found):
        found.multiply_adds += found.other

    changed(patch, change)


def biases_unconnected(patch):
    def change(one, found):
        found.connections -= found.other

    changed(patch, change)


@pytest.mark.parametrize(
    ("mutate", "check"),
    [
        (off_by_one, lambda: check_field("vgg16")),
        (stride_forgotten, lambda: check_field("alexnet")),
        (shortest_branch, lambda: check_field("resnet50")),
        (shortest_branch, lambda: check_field("googlenet")),
        (groups_forgotten, lambda: check_counts("mobilenet_v2")),
        (groups_forgotten, check_alexnet_2012),
        (biases_multiplied, lambda: check_counts("squeezenet1_1")),
        (biases_unconnected, check_lenet_1998),
    ],
)
def test_a_mutant_is_killed(mutate, check, monkeypatch):
    check()
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        check()


# Does it fit? -------------------------------------------------------------------------------------


def check_fit():
    """AlexNet's first layer on the paper's 224 pixels, without padding: 54.25."""
    row = anatomy(torch.nn.Conv2d(3, 96, 11, 4), (3, 224, 224)).layers.iloc[0]
    assert (row.exact_rows, row.output_shape, row.fits) == (54.25, (96, 54, 54), False)
    assert (row.rounding, row.dropped_rows, row.dropped_columns) == ("floor", 1, 1)
    assert "1 rows dropped" in row.note
    whole = anatomy(torch.nn.Conv2d(3, 96, 11, 4), (3, 227, 227)).layers.iloc[0]
    assert (whole.exact_rows, whole.fits, whole.rounding, whole.dropped_rows) == (
        55,
        True,
        "exact",
        0,
    )


def test_alexnet_needs_227():
    check_fit()


def ceil_for_floor(patch):
    import math

    true = geometry.Geometry.dropped
    patch.setattr(
        geometry.Geometry,
        "dropped",
        lambda self, axis: true(
            geometry.Geometry(
                **{**vars(self), "out": tuple(math.ceil(self.exact(a)) for a in (0, 1))}
            ),
            axis,
        ),
    )


def rounded_first(patch):
    true = geometry.Geometry.exact
    patch.setattr(geometry.Geometry, "exact", lambda self, axis: true(self, axis) // 1 + 0)


@pytest.mark.parametrize("mutate", [ceil_for_floor, rounded_first])
def test_fitting_kills(mutate, monkeypatch):
    mutate(monkeypatch)
    with pytest.raises((AssertionError, AttributeError)):
        check_fit()
