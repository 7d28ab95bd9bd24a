"""What the network is shown: by Pillow, by the layer in front of it, by torchvision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision.models import GoogLeNet_Weights, SqueezeNet1_1_Weights
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as drawn

from robustlab.backbones import Backbone, load_backbone
from robustlab.errors import BadRequest
from robustlab.fooling.sight import Seen, Sight, sight_of

pytestmark = pytest.mark.usefixtures("one_thread")

SIGHTS = [
    Sight(3, 24, 24, 28),
    Sight(3, 24, 24, None),
    Sight(1, 24, 24, 24, "bicubic"),
    Sight(3, 20, 24, 27, "bicubic"),
    Sight(3, 21, 17, None, "bicubic"),
]
LIMIT = 0.06  # of values that fall between two levels, and are rounded to the other one


def noise(channels: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (channels, height, width), np.uint8)


def by_hand(sight: Sight, pixels: np.ndarray) -> np.ndarray:
    """torchvision's transforms on the Pillow image, as its documentation has them."""
    image = drawn.to_pil_image(torch.from_numpy(pixels))
    size = [sight.height, sight.width] if sight.resize is None else sight.resize
    image = drawn.resize(image, size, InterpolationMode(sight.interpolation), antialias=True)
    image = drawn.center_crop(image, [sight.height, sight.width])
    return drawn.pil_to_tensor(image).numpy()


def layer(sight: Sight, pixels: np.ndarray, **changes: object) -> np.ndarray:
    """The pixels behind the layer."""
    size = pixels.shape[1:]
    seen = Seen(nn.Identity(), *sight.layer(*size))
    for name, value in changes.items():
        setattr(seen, name, value)
    with torch.no_grad():
        x = torch.from_numpy(pixels[None].astype(np.float32) / np.float32(255))
        return np.rint(seen(x)[0].numpy() * 255).astype(int)


def apart(sight: Sight, pixels: np.ndarray, **changes: object) -> float:
    """Share of values in which layer and Pillow differ; none by more than a level."""
    difference = np.abs(layer(sight, pixels, **changes) - sight.levels(pixels).astype(int))
    return float((difference > 0).mean()) + float((difference > 1).any())


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("size", [(61, 40), (40, 61), (24, 24), (90, 27), (9, 13)])
def test_pillow_is_torchvisions_documented_preprocessing(sight, size):
    pixels = noise(sight.channels, *size)
    assert np.array_equal(sight.levels(pixels), by_hand(sight, pixels))


@settings(max_examples=25)
@given(height=st.integers(28, 90), width=st.integers(28, 90), which=st.integers(0, len(SIGHTS) - 1))
def test_the_layer_shows_the_network_what_pillow_shows(height, width, which):
    sight = SIGHTS[which]
    pixels = noise(sight.channels, height, width, seed=height * 91 + width)
    assert apart(sight, pixels) < LIMIT


@settings(max_examples=15)
@given(height=st.integers(1, 24), width=st.integers(1, 24), which=st.integers(0, len(SIGHTS) - 1))
def test_a_picture_smaller_than_the_input(height, width, which):
    """Halves are many where few pixels are spread over many, and bicubic curves carry them on."""
    sight = SIGHTS[which]
    pixels = noise(sight.channels, height, width, seed=height * 91 + width)
    assert np.array_equal(sight.levels(pixels), by_hand(sight, pixels))
    difference = np.abs(layer(sight, pixels) - sight.levels(pixels).astype(int))
    assert difference.max() <= 2


@pytest.mark.parametrize(
    "mutant",
    [
        "a window one pixel off",
        "without antialiasing",
        "the other side first",
        "one rounding alone",
    ],
)
def test_a_layer_that_looks_elsewhere_is_seen(mutant, monkeypatch):
    sight, pixels = SIGHTS[0], noise(3, 61, 83)
    changes = {}
    if mutant == "a window one pixel off":
        top, left, height, width = sight.window(61, 83)
        changes = {"window": (top, left + 1, height, width)}
    if mutant == "without antialiasing":
        whole = nn.functional.interpolate
        plain = lambda x, size, **k: whole(x, size, **{**k, "antialias": False})  # noqa: E731
        monkeypatch.setattr(nn.functional, "interpolate", plain)
    if mutant == "the other side first":
        changes = {"across_first": not sight.layer(61, 83)[-1]}
    if mutant == "one rounding alone":
        monkeypatch.setattr(
            Seen,
            "_resize",
            lambda self, x, size: nn.functional.interpolate(
                x, size, mode="bilinear", align_corners=False, antialias=True
            ),
        )
    assert apart(sight, pixels, **changes) > LIMIT


def test_torchvisions_tensor_pipeline_is_close_and_another():
    sight, pixels = SIGHTS[0], noise(3, 61, 83)
    found = np.rint(sight.by_torchvision(pixels) * 255).astype(int)
    difference = np.abs(found - sight.levels(pixels).astype(int))
    assert difference.max() <= 2


def test_the_gradient_reaches_every_pixel_that_is_seen():
    """Mutants: a layer that rounds without passing the gradient on, and one that crops nothing."""
    sight = SIGHTS[0]
    seen = Seen(nn.Identity(), sight.resized(61, 83), sight.window(61, 83), "bilinear")
    x = torch.rand(1, 3, 61, 83, requires_grad=True)
    (slope,) = torch.autograd.grad(seen(x).sum(), x)
    assert (slope[0, :, 10:50, 20:60] > 0).all()
    assert (slope[0, :, :, :10] == 0).all()  # cropped away
    assert float(slope.sum()) == pytest.approx(3 * 24 * 24, rel=1e-3)  # each output, once
    (cut,) = torch.autograd.grad((x * 255).round().sum(), x)
    assert not cut.any()


def tiny(preprocessing=None, shape=(3, 24, 24)):
    module = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 4)).eval()
    card = {} if preprocessing is None else {"preprocessing": preprocessing}
    return Backbone(module, input_shape=shape, classes=4, card=card)


def test_what_the_weights_say_is_what_is_done():
    for name, weights in (
        ("squeezenet1_1", SqueezeNet1_1_Weights.DEFAULT),
        ("googlenet", GoogLeNet_Weights.DEFAULT),
    ):
        preset = weights.transforms()
        backbone = load_backbone(f"torchvision:{name}?weights=none")
        assert sight_of(backbone) == Sight(3, 224, 224, 256, "bilinear")
        assert (preset.resize_size, preset.crop_size) == ([256], [224])
    pixels = noise(3, 300, 400)
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    theirs = preset(image)  # normalised
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (preset.mean, preset.std))
    ours = torch.from_numpy(sight_of(backbone).read(pixels))
    assert torch.allclose((ours - mean) / std, theirs, atol=1e-6)


def test_timms_own_transform_is_what_is_done():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    backbone = load_backbone("timm:mobilenetv3_small_050?weights=none")
    module = timm.create_model("mobilenetv3_small_050")
    config = timm.data.resolve_model_data_config(module)
    transform = timm.data.create_transform(**config, is_training=False)
    pixels = noise(3, 300, 400)
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    theirs = transform(Image.fromarray(pixels.transpose(1, 2, 0))) * std + mean
    ours = torch.from_numpy(sight_of(backbone).read(pixels))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_network_that_says_nothing_sees_the_middle():
    assert sight_of(tiny()) == Sight(3, 24, 24, 24)
    assert sight_of(tiny(shape=(1, 20, 30))) == Sight(1, 20, 30, 30)
    assert sight_of(tiny(), "whole") == Sight(3, 24, 24, None)
    assert sight_of(tiny(), 30) == sight_of(tiny(), "30") == Sight(3, 24, 24, 30)
    assert sight_of(tiny({"resize": 28, "interpolation": "bicubic"})).interpolation == "bicubic"


@pytest.mark.parametrize("resize", [0, -3, 23, 4097, "hole", "2.5", ""])
def test_a_resize_that_cannot_be(resize):
    with pytest.raises(BadRequest, match="give the pixels of the shorter side, 24 to 4096"):
        sight_of(tiny(), resize)


def test_what_no_picture_can_be():
    with pytest.raises(BadRequest, match="5 channels, no picture has them"):
        sight_of(tiny(shape=(5, 8, 8)))
    with pytest.raises(BadRequest, match="lanczos"):
        sight_of(tiny({"resize": 28, "interpolation": "lanczos"}))
    with pytest.raises(BadRequest, match="--resize whole"):
        sight_of(tiny({"resize": 256})).resized(1, 5000)


def test_behind_the_layer_stands_the_same_network():
    backbone = tiny({"resize": 28, "interpolation": "bilinear"})
    sight = sight_of(backbone)
    seen = sight.seen_by(backbone, 61, 40)
    pixels = noise(3, 61, 40)
    ours = seen(pixels[None].astype(np.float32) / 255)
    theirs = backbone(sight.read(pixels)[None])
    assert seen.input_shape == (3, 61, 40)
    assert seen.classes == backbone.classes
    assert torch.allclose(ours, theirs, atol=2e-2)
    other = replace(sight, resize=40).seen_by(backbone, 61, 40)  # mutant: another crop
    assert not torch.allclose(other(pixels[None].astype(np.float32) / 255), theirs, atol=2e-2)


def test_half_precision_loses_no_levels():
    backbone = tiny({"resize": 24})
    half = Backbone(backbone.module.bfloat16(), input_shape=(3, 24, 24), classes=4)
    pixels = noise(3, 24, 24)
    seen = sight_of(half).seen_by(half, 24, 24)
    assert seen.dtype == torch.float32
    x = torch.from_numpy(pixels[None] / np.float32(255))
    assert torch.equal(seen.module.image(x), x)
    assert not torch.equal(x.bfloat16().float(), x)  # what would have been lost


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("size", [(61, 40), (40, 61), (24, 24), (9, 13)])
def test_what_is_not_looked_at_changes_nothing(sight, size):
    """Noise where the layer does not look: Pillow shows the network the same. Where it does: not.

    Mutant: one column more is given up than is.
    """
    looked = Seen(nn.Identity(), *sight.layer(*size)).looked_at(*size).numpy()
    pixels, other = noise(sight.channels, *size), noise(sight.channels, *size, seed=1)
    shown = sight.levels(pixels)
    assert np.array_equal(sight.levels(np.where(looked, pixels, other)), shown)
    columns = np.flatnonzero(looked.any(axis=0))
    mutant = looked.copy()
    mutant[:, columns[len(columns) // 2]] = False
    assert not np.array_equal(sight.levels(np.where(mutant, pixels, other)), shown)
    if sight.resize is None:
        assert looked.all()
