"""Activation maximisation: the parametrisation, what is reached, seeds, and the diversity row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab import Data
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.filters import maximise as making
from robustlab.filters.fourier import Painter, colour_mixing
from robustlab.filters.maximisation import maximisation
from robustlab.filters.maximise import Target, likeness, maximise, score
from robustlab.filters.projection import layer_output
from robustlab.hooks import find_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def linear(channels=1):
    """Two channels of one 3x3 filter each, so that the best image is known: the filter's signs."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(channels, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 3)
    ).eval()
    return Backbone(module, input_shape=(channels, 8, 8), classes=3, name="linear")


def images(n=12, channels=1):
    pixels = np.random.default_rng(0).integers(0, 256, (n, channels, 8, 8), dtype=np.uint8)
    return Data(pixels, np.arange(n) % 3, classes=["0", "1", "2"])


def layer_of(one, name):
    x = torch.rand(2, *one.input_shape)
    return next(x for x in find_layers(one.network, x)[0] if x.name == name)


def best_unit(one, channel):
    """The largest that a cell behind the first rectifier can be, pixels in [0, 1]."""
    weight, bias = one.module[0].weight[channel], one.module[0].bias[channel]
    return float(weight.clamp(min=0).sum() + bias)


def reached(one, target, x):
    with torch.no_grad():
        seen = torch.tensor(x[None]).float() / 255
        return float(score(target, layer_output(one.network, target.layer, seen))[0])


@pytest.mark.parametrize("channel", [0, 1])
def test_what_is_reached_comes_near_the_largest_there_is(channel):
    one = linear()
    target = Target("unit", layer_of(one, "1"), channel)
    painter = Painter((1, 8, 8), None, torch.zeros(1))
    (x,) = maximise(one.network, [target], painter, 120, 0.2, 0, 0)
    best = best_unit(one, channel)
    assert 0.9 * best < reached(one, target, x) <= best + 1e-5


def test_channels_go_beyond_random_images():
    one = linear()
    layer = layer_of(one, "1")
    drawn = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        means = one.module[:2](drawn).mean((2, 3)).amax(0)
    for channel in (0, 1):
        target = Target("channel", layer, channel)
        painter = Painter((1, 8, 8), None, torch.zeros(1))
        (x,) = maximise(one.network, [target], painter, 120, 0.1, 1, 0)
        assert reached(one, target, x) > float(means[channel])


def test_a_closed_rectifier_is_opened(monkeypatch):
    """The mutant: without redirected gradients a dark start never moves."""
    one = linear()
    one.module[0].bias.data -= 1.0
    target = Target("unit", layer_of(one, "1"), 0)
    painter = Painter((1, 8, 8), None, torch.zeros(1))
    assert best_unit(one, 0) < 0.9  # the start is below 0
    one.module[0].weight.data *= 4

    def made():
        (x,) = maximise(one.network, [target], painter, 60, 0.2, 0, 0)
        return reached(one, target, x)

    assert made() > 0.5
    right = making.Exchanged
    monkeypatch.setattr(making, "Exchanged", lambda rule: right("gradient"))
    assert made() == 0


def test_images_do_not_see_each_other():
    one = linear()
    layer = layer_of(one, "1")
    painter = Painter((1, 8, 8), None, torch.zeros(1))
    targets = [Target("channel", layer, 0), Target("unit", layer, 1)]
    both = maximise(one.network, targets, painter, 9, 0.1, 2, 0)
    first = maximise(one.network, targets[:1], painter, 9, 0.1, 2, 0)
    assert np.abs(both[0].astype(int) - first[0]).max() <= 1


def test_diversity_makes_images_less_alike():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)).eval()
    one = Backbone(module, input_shape=(1, 8, 8), classes=3)
    target = Target("channel", layer_of(one, "1"), 2)
    painter = Painter((1, 8, 8), None, torch.zeros(1))
    alike = []
    for weight in (0.0, 4.0):
        made = maximise(one.network, [target] * 3, painter, 60, 0.1, 1, 0, weight)
        x = torch.tensor(np.stack(made)).float() / 255
        with torch.no_grad():
            alike.append(float(likeness(layer_output(one.network, target.layer, x))))
    assert alike[1] < alike[0] - 0.02


def test_likeness_of_gram_matrices_by_hand():
    a = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]], [[[0.0, 0.0]], [[0.0, 2.0]]]])
    assert float(likeness(a)) == 0  # Gram matrices diag(1, 0) and diag(0, 4)
    assert float(likeness(torch.cat([a[:1], 3 * a[:1]]))) == pytest.approx(1)


def test_the_painter():
    painter = Painter((1, 6, 9), None, torch.zeros((), dtype=torch.float64))
    flat = painter(torch.zeros(1, 1, 6, 5, 2, dtype=torch.float64))
    assert (flat == 0.5).all()
    spectrum = torch.zeros(1, 1, 6, 5, 2, dtype=torch.float64)
    spectrum[0, 0, 0, 2, 0] = 0.5  # two waves along the rows
    wave = torch.logit(painter(spectrum))[0, 0]
    assert torch.allclose(wave, wave[:1].expand(6, 9))
    weight = 1 / (2 / 9) * np.sqrt(54)
    wanted = 2 * 0.5 * weight / 54 * np.cos(2 * np.pi * 2 * np.arange(9) / 9)
    assert np.allclose(wave[0], wanted)
    assert not torch.equal(painter.start(0, ["a"]), painter.start(0, ["b"]))
    assert torch.equal(painter.start(0, ["a", "b"])[1:], painter.start(0, ["b"]))


def check_colours(mixing, pixels):
    wanted = np.cov(pixels)
    wanted /= np.linalg.eigvalsh(wanted)[-1]
    assert np.allclose(mixing @ mixing.T, wanted, atol=1e-6)


def coloured():
    generator = np.random.default_rng(0)
    base = generator.normal(size=(20, 1, 8, 8))
    mixed = 128 + 40 * base * np.array([1, 0.8, -0.5])[:, None, None]
    mixed = mixed + 10 * generator.normal(size=(20, 3, 8, 8))
    return Data(mixed.clip(0, 255).astype(np.uint8), np.zeros(20, int), classes=["a", "b", "c"])


def test_colours_are_those_of_the_data():
    data = coloured()
    pixels = data.batch(range(20)).transpose(1, 0, 2, 3).reshape(3, -1).astype(float)
    check_colours(colour_mixing(data), pixels)
    with pytest.raises(AssertionError):
        check_colours(np.eye(3), pixels)
    assert colour_mixing(images()) is None
    black = Data(np.zeros((2, 3, 8, 8), np.uint8), np.zeros(2, int), classes=["a", "b", "c"])
    assert colour_mixing(black) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_the_probe(channels):
    one = linear(channels)
    data = images() if channels == 1 else coloured()
    asked = {"channels": 2, "classes": 2, "steps": 12, "rate": 0.2, "diversity": 3}
    found = maximisation(one, data, **asked).checked(len(data))
    a = found.arrays
    assert a["kind"].tolist() == ["unit"] * 2 + ["channel"] * 2 + ["class"] * 2
    x = torch.tensor(data.images).float() / 255
    with torch.no_grad():
        maps, logits = one.module[:2](x), one.network(x)
    every = [maps[:, c].amax((1, 2)) for c in (0, 1)]
    every += [maps[:, c].mean((1, 2)) for c in (0, 1)] + [logits[:, c] for c in (0, 1)]
    assert np.allclose(a["strongest"], [float(v.max()) for v in every], atol=1e-6)
    assert a["row"].tolist() == [int(v.argmax()) for v in every]
    assert found.samples["strongest"].sum() == len(a["row"])
    # The picture holds the images whose activations are told.
    made = found.pictures[0].pixels
    for place, (row, column) in enumerate([(0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2)]):
        tile = made[row * 10 : row * 10 + 8, column * 10 : column * 10 + 8].transpose(2, 0, 1)
        layer = layer_of(one, "1" if place < 4 else "3")
        target = Target(a["kind"][place], layer, int(a["channel"][place]))
        value = reached(one, target, np.ascontiguousarray(tile[:channels]))
        assert value == pytest.approx(a["reached"][place], abs=1e-5)
    assert a["diverse"].shape == (1, 3)
    again = maximisation(one, data, **asked, batch=5)
    assert all(
        np.array_equal(p.pixels, q.pixels)
        for p, q in zip(found.pictures, again.pictures, strict=True)
    )
    other = maximisation(one, data, **asked, seed=1)
    assert not np.array_equal(other.pictures[0].pixels, made)
    assert found.cost["backward"] == 12 * (6 + 3)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"kinds": ("units",)}, "unknown kind 'units'"),
        ({"kinds": ()}, "nothing to do"),
        ({"kinds": ("unit", "unit")}, "given twice"),
        ({"steps": 0}, "steps=0"),
        ({"rate": 0.0}, "rate=0.0"),
        ({"layers": ("relu",)}, "no layer 'relu'"),
    ],
)
def test_bad_requests(asked, told):
    with pytest.raises(BadRequest, match=told):
        maximisation(linear(), images(), **asked)


def test_a_float64_network_and_inference_mode():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(72, 3)).eval()
    one = Backbone(module.double(), input_shape=(1, 8, 8), classes=3)
    with torch.inference_mode():
        found = maximisation(one, images(), kinds=("class",), steps=8, diversity=0)
    assert (found.arrays["reached"] > found.arrays["strongest"]).any()
