"""Networks of torchvision and timm, untrained and small: swapped, or refused with a reason."""

import pytest
import torch
import torchvision
from torch import nn

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.pooling import swap_pooling

pytestmark = pytest.mark.usefixtures("one_thread")

DOWN = {
    "resnet18": 8,  # conv1, maxpool, three blocks with a shortcut each
    "googlenet": 5,  # conv1, four pools
    "mobilenet_v2": 5,
}
# The last maps still hold more than one value, and every map divides at every site.
SIZES = {"resnet18": 64, "googlenet": 64, "mobilenet_v2": 64, "convnext_atto": 128}


def living(module, size):
    """With weights and normalisation under which images are told apart, as after training."""
    random = torch.Generator().manual_seed(0)
    for one in module.modules():
        if isinstance(one, nn.Conv2d):
            spread = (2 / one.weight[0].numel()) ** 0.5
            nn.init.normal_(one.weight, 0, spread, generator=random)
        if isinstance(one, nn.BatchNorm2d):
            one.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.rand(4, 3, size, size, dtype=torch.float64, generator=random))
    return module.eval()


@pytest.fixture(scope="module")
def library():
    """A network by name, float64, ten classes."""
    found = {}

    def build(name):
        if name not in found:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                if name == "convnext_atto":
                    module = pytest.importorskip("timm").create_model(name, num_classes=10)
                else:
                    more = {"init_weights": True, "aux_logits": False} if "goo" in name else {}
                    build = getattr(torchvision.models, name)
                    module = build(weights=None, num_classes=10, **more)
            shape = (3, SIZES[name], SIZES[name])
            module = living(module.double(), SIZES[name])
            found[name] = Backbone(module, input_shape=shape, classes=10, name=name)
        return found[name]

    return build


def worst(lab_nets, network, shifts, size=64):
    x = lab_nets.images(0, size, channels=3)
    return max(lab_nets.change(network, x, *one) for one in shifts)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["strided", "max", "blur3", "polyphase", "learned"])
@pytest.mark.parametrize("name", DOWN)
def test_torchvision(lab_nets, library, name, kind):
    swapped = swap_pooling(library(name), kind, "circular")
    down = [one for one in swapped.sites if "lobal" not in one.after and "avg" not in one.name]
    assert len(down) == DOWN[name]
    weights = library(name).module.state_dict()
    kept = swapped.module.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in weights.items())
    assert worst(lab_nets, swapped, [(32, 0), (0, 32)]) <= 1e-12
    exact = kind in ("polyphase", "learned")
    assert (worst(lab_nets, swapped, [(1, 0), (3, 5)]) <= 1e-12) is exact
    with_zeros = swap_pooling(library(name), kind, "zero")
    assert worst(lab_nets, with_zeros, [(1, 0), (3, 5)]) > 1e-6


@pytest.mark.slow
def test_shortcuts_of_a_resnet_share_their_component(library):
    swapped = swap_pooling(library("resnet18"), "polyphase", "circular")
    layers = dict(swapped.module.named_modules())
    for stage in ("layer2", "layer3", "layer4"):
        main, short = layers[f"{stage}.0.conv1"], layers[f"{stage}.0.downsample.0"]
        assert main.sampler.leads is short.sampler.follows is not None
    assert layers["conv1"].sampler.leads is None


@pytest.mark.slow
@pytest.mark.parametrize("name", DOWN)
def test_own_at_the_networks_own_padding_changes_nothing(lab_nets, library, name):
    x = lab_nets.images(0, 64, channels=3)
    original = library(name)
    same = swap_pooling(original, "space2depth")
    torch.testing.assert_close(same(x), original(x))


def test_a_function_call_of_mobilenet_becomes_a_head(library):
    swapped = swap_pooling(library("mobilenet_v2"), "own", head="gmp")
    assert swapped.sites[-1].name == "adaptive_avg_pool2d"
    assert swapped.sites[-1].after == "GlobalPool(gmp)"
    assert sum(one.changed for one in swapped.sites) == 1


@pytest.mark.slow
def test_convnext_of_timm(lab_nets, library):
    original = library("convnext_atto")
    swapped = swap_pooling(original, "polyphase", "circular")
    assert len(swapped.sites) == 5  # the stem of stride 4, three layers of stride 2, the head
    assert worst(lab_nets, swapped, [(1, 0), (3, 5)], 128) <= 1e-12
    x = lab_nets.images(0, 128, channels=3)[:1]
    torch.testing.assert_close(swap_pooling(original, "space2depth")(x), original(x))
    small = Backbone(original.module, input_shape=(3, 64, 64), classes=10)
    with pytest.raises(BadRequest, match=r"fails on its own images .* larger images"):
        swap_pooling(small, "polyphase", "circular")  # windows of 7 turn twice round maps of 2


def test_networks_that_thin_maps_out_by_slices_are_refused():
    swin = torchvision.models.swin_t(weights=None, num_classes=10).eval()
    backbone = Backbone(swin, input_shape=(3, 64, 64), classes=10)
    with pytest.raises(BadRequest, match=r"patch_merging_pad.* makes 8x384 of maps of 16x96"):
        swap_pooling(backbone, "blur3")
