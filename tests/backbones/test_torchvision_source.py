"""``torchvision:NAME``: options, metadata, errors; every family held against torchvision's own."""

import re

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from robustlab.backbones import load_backbone, torchvision_source
from robustlab.backbones.building import build
from robustlab.errors import BadRequest

SMALL = "shufflenet_v2_x0_5"


def test_untrained():
    built = build(f"torchvision:{SMALL}", {"weights": "none"})
    assert built.options == {"weights": "none", "classes": 1000, "size": 224, "seed": 0}
    assert (built.input_shape, built.module.training) == ((3, 224, 224), True)
    assert built.mean == (0.485, 0.456, 0.406)
    assert built.std == (0.229, 0.224, 0.225)
    assert built.facts == {
        "preprocessing": {"resize": 256, "crop": 224, "interpolation": "bilinear"}
    }
    assert built.classes[388] == "giant panda"
    assert len(set(built.classes)) == 1000


def test_as_a_backbone():
    text = f"torchvision:{SMALL}?weights=none&classes=10&size=64"
    backbone = load_backbone(text)
    assert (backbone.name, backbone.reference) == (text, text)
    assert (backbone.input_shape, len(backbone.classes)) == ((3, 64, 64), 10)
    assert backbone.card["untrained"] is True
    assert backbone.card["preprocessing"]["resize"] == 73  # 256 : 224 = 73 : 64
    assert backbone.card["builder"] == f"torchvision:{SMALL}"
    assert load_backbone(text).fingerprint == backbone.fingerprint


def test_the_seed_decides_and_the_global_generators_stay():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (
        build(f"torchvision:{SMALL}", {"weights": "none", "seed": seed}).module.state_dict()
        for seed in (3, "3", 4)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({}, "IMAGENET1K_V2"),
        ({"weights": "default"}, "IMAGENET1K_V2"),
        ({"weights": "imagenet1k_v1"}, "IMAGENET1K_V1"),
        ({"weights": "MobileNet_V2_Weights.IMAGENET1K_V1"}, "IMAGENET1K_V1"),
        ({"weights": None}, "none"),
    ],
)
def test_names_of_weights(options, about):
    built = build("torchvision:mobilenet_v2", options, pretrained=False)
    assert built.options["weights"] == about
    resize = {"IMAGENET1K_V1": 256}.get(about, 232)
    assert built.facts["preprocessing"]["resize"] == resize


def test_the_input_is_that_of_the_weights():
    """inception_v3 sees 299 pixels, vit_b_16's SWAG weights 384: the crop of each preset."""
    with torch.device("meta"):
        shapes = [
            build(name, {"weights": weights}, pretrained=False).input_shape[1:]
            for name, weights in [
                ("torchvision:inception_v3", "DEFAULT"),
                ("torchvision:vit_b_16", "IMAGENET1K_SWAG_E2E_V1"),
                ("torchvision:vit_b_16", "DEFAULT"),
            ]
        ]
    assert shapes == [(299, 299), (384, 384), (224, 224)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet19", "unknown network 'torchvision:resnet19'; did you mean 'torchvision:resnet18'"),
        ("fasterrcnn_resnet50_fpn", "unknown network"),
        ("resnet18?weights=IMAGENET1K_V3", "did you mean 'IMAGENET1K_V1'"),
        ("vgg16?weights=IMAGENET1K_FEATURES", "unknown weights 'IMAGENET1K_FEATURES'"),
        ("resnet18?weight=none", "unknown option 'weight' of .*did you mean 'weights'"),
        ("resnet18?weights=none&classes=0", "no whole number of at least 1"),
        ("resnet18?weights=none&classes=ten", "no whole number of at least 1"),
        ("resnet18?weights=none&seed=-1", "no whole number of at least 0"),
        ("vit_b_16?weights=none&size=65", "'torchvision:vit_b_16' cannot be built: .*indivisible"),
        ("alexnet?weights=none&size=20", "fails on an image of shape .*check input_shape"),
    ],
)
def test_refused(text, message):
    with pytest.raises(BadRequest, match=message):
        load_backbone(f"torchvision:{text}")


def test_repeated_names_reach_the_backbone(monkeypatch):
    """Mutant: as they stand in the metadata, two equal names are refused."""
    twice = ["crane", "crane", *map(str, range(998))]
    for member in torchvision.models.ShuffleNet_V2_X0_5_Weights:
        monkeypatch.setitem(member.value.meta, "categories", twice)
    text = f"torchvision:{SMALL}?weights=none&size=32"
    assert load_backbone(text).classes[:2] == ("crane (0)", "crane (1)")
    monkeypatch.setattr(torchvision_source, "unique_names", tuple)
    with pytest.raises(BadRequest, match="'crane' is given twice"):
        load_backbone(text)


@pytest.mark.parametrize("name", ["resnet50", "squeezenet1_1", "vit_b_16"])
def test_described_is_what_the_built_network_is(name):
    entry = torchvision_source.described(name)
    backbone = load_backbone(f"torchvision:{name}?weights=none")
    assert entry.facts["parameters"] == f"{backbone.parameters:,}"
    assert entry.facts["input"].startswith("x".join(map(str, backbone.input_shape)))
    options = {one.name: one.default for one in entry.parameters}
    assert options == {**backbone.card["options"], "weights": "DEFAULT"}
    assert all(one.doc for one in entry.parameters)
    published = torchvision.models.get_model_weights(name).__members__
    assert [w.split()[0] for w in entry.facts["weights"]] == [
        k for k in published if k != "DEFAULT"
    ]


def test_every_classifier_is_known_and_nothing_else():
    known = torchvision_source.parameters_of()
    assert len(known) >= 80
    assert {"resnet50", "vit_b_16", "maxvit_t", "inception_v3"} <= known.keys()
    assert not {"fcn_resnet50", "raft_large", "r3d_18", "quantized_resnet18"} & known.keys()


@pytest.mark.slow
def test_auxiliary_heads_are_left_out():
    for name in ("googlenet", "inception_v3"):
        module = build(f"torchvision:{name}", {"weights": "none", "classes": 10}).module
        assert not any("aux" in part.lower() for part, _ in module.named_modules())
        assert isinstance(module.train()(torch.zeros(2, 3, 96, 96)), torch.Tensor)


# One of each family that has arguments, names or versions of its own, and some plain ones.
FAMILIES = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "swin_v2_t",
    "vit_b_32",
)


def published(name):
    """A state dict as the published file of ``name`` has it: auxiliary heads, old names, no counts
    of batches."""
    initial = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    state = torchvision.models.get_model(name, weights=None, **initial).state_dict()
    if name.startswith(("densenet", "resnet", "googlenet")):
        for key in [k for k in state if k.endswith("num_batches_tracked")]:
            del state[key]
        state._metadata.clear()
    for key in list(state):
        old = re.sub(r"(denselayer\d+\.(?:norm|relu|conv))", r"\1.", key)
        old = old.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")
        if name.startswith(("densenet", "vit")) and old != key:
            state[old] = state.pop(key)
    for key in [k for k in state._metadata if k.endswith(".mlp")]:
        state._metadata[key] = {"version": 1}
    if name.startswith("vit"):  # torchvision starts its head at zero: all logits would be equal
        nn.init.normal_(state["heads.head.weight"])
    return state


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_logits_as_torchvisions_own_loading(name, server, hub, saved, monkeypatch):
    torch.manual_seed(0)
    member = torchvision.models.get_model_weights(name).DEFAULT
    monkeypatch.setattr(member.value, "url", server.add(name, saved(published(name))))
    theirs = torchvision.models.get_model(name, weights=member, progress=False).eval()
    ours = load_backbone(f"torchvision:{name}")
    preset = member.transforms()
    size = preset.crop_size[0]
    preset.resize_size = [size]
    pictures = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    pictures[1] //= 2
    with torch.no_grad():
        expected = theirs(preset(pictures))
    # Untrained logits hardly depend on the picture: what counts is the part that does.
    scale = (expected[0] - expected[1]).abs().max()
    assert (ours(pictures / 255) - expected).abs().max() < 0.02 * scale
    (file,) = hub.iterdir()
    poured = load_backbone(f"file:{file}#torchvision:{name}")
    assert poured.fingerprint == ours.fingerprint


@pytest.mark.slow
def test_that_comparison_sees_a_missing_transform(server, hub, saved, monkeypatch):
    """Mutant: GoogLeNet without `transform_input`."""
    as_built = torchvision_source._module

    def forgotten(name, asked, *, fresh):
        module = as_built(name, asked, fresh=fresh)
        module.transform_input = False
        return module

    monkeypatch.setattr(torchvision_source, "_module", forgotten)
    with pytest.raises(AssertionError):
        test_the_same_logits_as_torchvisions_own_loading(
            "googlenet", server, hub, saved, monkeypatch
        )
