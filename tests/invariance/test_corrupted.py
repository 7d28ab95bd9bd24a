"""Common corruptions: what each must do to an image, at any size, and mCE by hand."""

from __future__ import annotations

import doctest
import io
import itertools

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from robustlab import invariance
from robustlab.errors import BadRequest
from robustlab.invariance.corrupted import (
    CORRUPTIONS,
    FIFTEEN,
    SEVERITIES,
    corrupt,
    digital,
    noises,
)
from robustlab.invariance.corrupted.blurs import defocus_blur, motion, zoom, zoom_blur
from robustlab.invariance.corrupted.weather import terrain
from robustlab.invariance.mce import ALEXNET, mean_corruption_error
from robustlab.randomness import SampleRandom

NAMES = list(CORRUPTIONS)
SHAPES = ((1, 8, 8), (1, 32, 32), (3, 24, 40), (3, 224, 224))


def photograph(shape=(3, 24, 40), seed=1):
    """Smooth and coloured, with an edge."""
    rng = np.random.default_rng(seed)
    drawn = scipy.ndimage.gaussian_filter(rng.normal(size=shape), (0, 2, 2))
    drawn = (drawn - drawn.min()) / np.ptp(drawn)
    drawn[:, : shape[1] // 3] *= 0.3
    return drawn


def rng(n=0, name="x"):
    return SampleRandom(0, [f"own/{n}"], "corruption", name)


def test_all_in_the_order_of_the_paper():
    assert list(ALEXNET) == list(FIFTEEN)
    assert [n for n in ALEXNET if n != "frost"] == NAMES
    assert len(NAMES) == 14


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels(name, shape):
    image = photograph(shape)
    before = image.copy()
    for severity in (1, 5):
        made = corrupt(image, name, severity, "own/1")
        assert made.dtype == np.uint8
        assert made.shape == shape
        assert np.array_equal(image, before)
        assert np.array_equal(made, corrupt(image, name, severity, "own/1"))
    clean = np.rint(image * 255).astype(np.uint8)
    tiny = name == "defocus_blur" and shape[-1] == 8  # a disc that lies inside a pixel
    assert np.mean(made != clean) > 0.05 or tiny


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"elastic_transform", "glass_blur"}))
def test_more_severe_is_further_away(name):
    """On average over images; as published, elastic_transform changes its kind from 2 to 3, and
    snow has smaller flakes at 2 than at 3; glass on small images is bound to its one pixel."""
    images = [photograph((3, 64, 64), seed) for seed in range(4)]
    away = [
        np.mean(
            [np.abs(corrupt(x, name, s, f"i{k}") / 255 - x).mean() for k, x in enumerate(images)]
        )
        for s in SEVERITIES
    ]
    assert away[4] > away[0] * 1.1
    assert name == "snow" or all(b > 0.9 * a for a, b in itertools.pairwise(away))


RANDOM = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "fog",
    "elastic_transform",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_and_the_id_decide(name):
    image = photograph((3, 64, 64))
    first = corrupt(image, name, 3, "own/1", seed=0)
    for other in (corrupt(image, name, 3, "own/2", 0), corrupt(image, name, 3, "own/1", 1)):
        assert np.array_equal(first, other) == (name not in RANDOM)


# Noise.


def test_gaussian_noise_is_one_draw():
    image = np.full((40, 40, 3), 0.5)
    weak, strong = (noises.gaussian_noise(image, s, rng()) - 0.5 for s in (1, 5))
    assert np.allclose(strong, weak * 0.38 / 0.08)
    assert abs(weak.std() - 0.08) < 2e-3


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_is_poisson(severity):
    photons = (60, 25, 12, 5, 3)[severity - 1]
    for value in (0.0, 0.2, 0.9):
        made = noises.shot_noise(np.full((80, 80, 1), value), severity, rng())
        counts = made * photons
        assert np.allclose(counts, np.rint(counts))
        assert abs(made.mean() - value) < 0.02
        assert abs(made.var() - value / photons) < 0.06 * value / photons + 1e-12


def test_impulse_noise_hits_its_share():
    image = np.full((100, 100, 1), 0.5)
    made = [noises.impulse_noise(image, s, rng()) for s in SEVERITIES]
    for one, share in zip(made, (0.03, 0.06, 0.09, 0.17, 0.27), strict=True):
        hit = one != 0.5
        assert abs(hit.mean() - share) < 0.015
        assert set(np.unique(one[hit])) == {0.0, 1.0}
        assert abs(one[hit].mean() - 0.5) < 0.08
    assert all(not ((a != 0.5) & (b == 0.5)).any() for a, b in itertools.pairwise(made))


# Blurs.


def test_blurs_keep_an_even_image_and_the_mean():
    even = np.full((30, 30, 3), 0.37)
    point = np.zeros((61, 61, 1))
    point[30, 30] = 1.0
    for severity in SEVERITIES:
        for blur in (defocus_blur, zoom_blur):
            assert np.allclose(blur(even, severity, rng()), 0.37)
        assert np.isclose(defocus_blur(point, severity, rng()).sum(), 1.0)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_is_a_disc_of_its_radius(severity):
    point = np.zeros((224, 224, 1))
    point[112, 112] = 1.0
    radius = (3, 4, 6, 8, 10)[severity - 1]
    spread = defocus_blur(point, severity, rng())[:, :, 0]
    rows, columns = np.mgrid[:224, :224] - 112
    far = np.hypot(rows, columns)
    assert np.allclose(spread[far < radius - 1], 1 / (np.pi * radius**2), rtol=0.03)
    assert spread[far > radius + 1].max() == 0
    second = (spread * far**2).sum()  # mean squared radius of a disc: r^2 / 2, and of a pixel 1/6
    assert abs(second - radius**2 / 2 - 1 / 6) < 0.2


@pytest.mark.parametrize("angle", [0.0, 0.7, -0.7, np.pi / 2])
def test_motion_goes_one_way(angle):
    """Half a Gaussian of deviation sigma has its mean at sigma sqrt(2 / pi), cut here at radius."""
    point = np.zeros((224, 224, 1))
    point[112, 112] = 1.0
    spread = motion(point, 30, 5, angle)[:, :, 0]
    rows, columns = np.mgrid[:224, :224] - 112
    centre = (spread * rows).sum(), (spread * columns).sum()
    expected = 5 * np.sqrt(2 / np.pi)
    assert np.isclose(spread.sum(), 1.0)
    assert np.allclose(centre, (expected * np.sin(angle), expected * np.cos(angle)), atol=0.12)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    assert (spread * across**2).sum() < 0.4


def test_zoom_is_about_the_centre():
    """A linear ramp zoomed is a ramp of a slope divided by the factor, the centre stays."""
    ramp = np.tile(np.linspace(0, 1, 21)[:, None, None], (1, 11, 1))
    zoomed = zoom(ramp, 1.25)
    assert np.allclose(np.diff(zoomed[:, 5, 0]), 0.05 / 1.25)
    assert np.isclose(zoomed[10, 5, 0], 0.5)
    assert np.array_equal(zoom(ramp, 1.0), ramp)


# Weather.


def test_terrain():
    """In [0, 1], every cell filled, and rougher where the decay is small."""
    rough = []
    for decay in (2.0, 1.4):
        heights = terrain(6, decay, rng())
        assert heights.shape == (64, 64)
        assert heights.min() == 0
        assert heights.max() == 1
        assert len(np.unique(heights)) > 4000
        rough.append(np.abs(np.diff(heights, axis=0)).mean())
        seam = np.abs(heights[0] - heights[-1]).mean()  # a torus
        assert seam < 5 * rough[-1]
    assert rough[1] > 1.5 * rough[0]


def test_terrain_midpoints_by_hand():
    """One halving of a torus with one corner: the middle is its draw, the edges lie between."""
    drawn = rng().uniform((1, 1), -1, 1)[0, 0, 0]
    stream = rng()
    middle, edge, other = (stream.uniform((1, 1), -1, 1)[0, 0, 0] for _ in range(3))
    assert drawn == middle
    raw = np.array([[0.0, middle / 2 + edge], [middle / 2 + other, middle]])
    expected = (raw - raw.min()) / np.ptp(raw)
    assert np.allclose(terrain(1, 2.0, rng()), expected)


def test_fog_and_snow_lighten():
    image = photograph((3, 32, 32)) * 0.5
    assert corrupt(image, "snow", 3, "a").mean() > 255 * image.mean() + 30
    fogged = corrupt(image, "fog", 5, "a") / 255
    assert fogged.max() <= image.max() + 0.01
    assert fogged.std() < image.std()


# Digital.


def test_brightness_keeps_hue_and_saturation():
    import colorsys

    image = np.clip(photograph((3, 6, 6)), 0.02, 0.6).transpose(1, 2, 0)
    image[0, 0] = 0
    made = digital.brightness(image, 3, rng())
    for before, after in zip(image.reshape(-1, 3), made.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before)
        assert np.allclose(after, colorsys.hsv_to_rgb(h, s, min(1, v + 0.3)))


def test_contrast_and_pixelate_arithmetic():
    image = photograph((3, 8, 8)).transpose(1, 2, 0)
    mean = image.mean(axis=(0, 1))
    assert np.allclose(digital.contrast(image, 4, rng()), mean + 0.1 * (image - mean))
    blocks = digital.pixelate(image, 2, rng())  # half the size
    levels = np.rint(image * 255).reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(255 * blocks[::2, ::2] - levels).max() <= 1  # Pillow rounds after either axis
    assert np.array_equal(np.kron(blocks[::2, ::2], np.ones((2, 2, 1))), blocks)


def test_jpeg_is_pillows():
    image = photograph((3, 24, 40))
    picture = Image.fromarray(np.rint(image * 255).astype(np.uint8).transpose(1, 2, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=10)
    expected = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
    assert np.array_equal(corrupt(image, "jpeg_compression", 4, "a"), expected)


def test_elastic_bends_grow_with_the_size():
    """The same picture at twice the size is bent by about twice the pixels."""
    moved = []
    for side in (56, 112, 224):
        ramp = np.tile(np.arange(side)[:, None, None] / side, (1, side, 1))
        inner = slice(side // 4, -side // 4)
        shifts = [
            ((digital.elastic_transform(ramp, 5, rng(k)) - ramp) * side)[inner, inner].std()
            for k in range(6)
        ]
        moved.append(np.mean(shifts) / side)
    assert max(moved) / min(moved) < 1.6


# Bad requests, mCE.


@pytest.mark.parametrize(
    ("name", "severity", "told"),
    [
        ("fogg", 1, "did you mean 'fog'"),
        ("frost", 1, "photographs"),
        ("fog", 0, "1 to 5"),
        ("fog", 6, "1 to 5"),
    ],
)
def test_bad_requests(name, severity, told):
    with pytest.raises(BadRequest, match=told):
        corrupt(photograph(), name, severity, "a")


def check_mce(mce) -> None:
    assert mce({k: [v] * 5 for k, v in ALEXNET.items()}) == pytest.approx(1.0)
    assert mce({k: [v / 2] * 5 for k, v in ALEXNET.items()}) == pytest.approx(0.5)
    rising = {k: [0.1, 0.2, 0.3, 0.4, 0.5] for k in ALEXNET}
    assert mce(rising) == pytest.approx(sum(0.3 / v for v in ALEXNET.values()) / 15)


def test_mce():
    check_mce(mean_corruption_error)
    assert len(ALEXNET) == 15
    assert sum(ALEXNET.values()) == pytest.approx(11.834896)  # of the published list


@pytest.mark.parametrize(
    "mutant",
    [
        lambda e: float(np.mean([np.mean(v) for v in e.values()])),
        lambda e: sum(np.mean(v) for v in e.values()) / sum(ALEXNET.values()),
        lambda e: float(np.mean([v[4] / ALEXNET[k] for k, v in e.items()])),
    ],
)
def test_mce_kills(mutant):
    with pytest.raises(AssertionError):
        check_mce(mutant)


def test_the_example_of_mce_runs_and_is_public(python):
    """Its docstring's numbers are what it gives, and asking for the name loads no torch."""
    found = doctest.DocTestFinder().find(mean_corruption_error, globs={})
    results = [doctest.DocTestRunner().run(one) for one in found]
    assert sum(one.attempted for one in results) == 4
    assert not any(one.failed for one in results)
    assert invariance.mean_corruption_error is mean_corruption_error
    assert {"ALEXNET", "mean_corruption_error"} <= set(dir(invariance))
    told = python(
        "-c",
        "import sys; from robustlab.invariance import mean_corruption_error; "
        "print('torch' in sys.modules)",
    )
    assert told.stdout.strip() == "False"


def test_mce_of_fourteen_is_refused():
    errors = {k: [0.5] * 5 for k in CORRUPTIONS}
    with pytest.raises(BadRequest, match="missing: frost"):
        mean_corruption_error(errors)
    with pytest.raises(BadRequest, match="five errors"):
        mean_corruption_error({**errors, "frost": [0.5] * 4})
