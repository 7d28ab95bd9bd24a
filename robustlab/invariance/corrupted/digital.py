"""Light, contrast, elastic bending, pixelation and JPEG. Only the bending's lengths scale."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.invariance.corrupted.blurs import ratio
from robustlab.randomness import SampleRandom

__all__ = ["brightness", "contrast", "elastic_transform", "jpeg_compression", "pixelate"]

Image = NDArray[np.float64]
_UNIT = 244  # pixels: the authors' own unit of the bending, for images of 224


def brightness(image: Image, severity: int, rng: SampleRandom) -> Image:
    """The value of the HSV colour raised; hue and saturation stay."""
    added = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    value = image.max(axis=2, keepdims=True)
    raised = np.minimum(value + added, 1.0)
    # Black has no hue: it becomes grey.
    bright: Image = np.where(value > 0, image * raised / np.where(value > 0, value, 1.0), raised)
    return bright


def contrast(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Drawn towards the mean of each channel."""
    kept = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    mean = image.mean(axis=(0, 1), keepdims=True)
    flat: Image = mean + kept * (image - mean)
    return flat


def elastic_transform(image: Image, severity: int, rng: SampleRandom) -> Image:
    """A seeded affine map, then smooth random displacements (Simard et al. 2003); bilinear,
    mirrored outside.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    strength, smooth, tilt = (
        (2, 0.7, 0.1),
        (2, 0.08, 0.2),
        (0.05, 0.01, 0.02),
        (0.07, 0.01, 0.02),
        (0.12, 0.01, 0.02),
    )[severity - 1]
    height, width = image.shape[:2]
    r = ratio(image)
    anchors = np.array([[1, 1], [1, -1], [-1, 1]]) * min(height, width) // 3
    moved = anchors + rng.uniform((3, 2), -1, 1)[0] * tilt * _UNIT * r
    bend = rng.uniform((2, height, width), -1, 1)[0]
    # Smoothing noise by sigma divides it by sigma: so that displacements grow with the size as
    # sigma does, their strength grows with its square.
    bend = gaussian_filter(bend, (0, smooth * _UNIT * r, smooth * _UNIT * r), mode="reflect")
    bend *= strength * _UNIT * r * r
    back = np.linalg.lstsq(np.c_[moved, np.ones(3)], anchors, rcond=None)[0]
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    points = np.stack([rows - (height - 1) / 2 + bend[0], columns - (width - 1) / 2 + bend[1]], -1)
    source = points @ back[:2] + back[2]
    places = [source[..., 0] + (height - 1) / 2, source[..., 1] + (width - 1) / 2]
    channels = [
        map_coordinates(c, places, order=1, mode="mirror") for c in np.moveaxis(image, 2, 0)
    ]
    return np.stack(channels, axis=2)


def pixelate(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Reduced to a share of its size by the mean of boxes, and enlarged again."""
    from PIL.Image import Resampling

    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    picture = _picture(image)
    small = tuple(max(1, int(extent * share)) for extent in picture.size)
    return _pixels(picture.resize(small, Resampling.BOX).resize(picture.size, Resampling.NEAREST))


def jpeg_compression(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Through a JPEG file in memory."""
    from PIL import Image as Picture

    quality = (25, 18, 15, 10, 7)[severity - 1]
    buffer = io.BytesIO()
    _picture(image).save(buffer, "JPEG", quality=quality)
    return _pixels(Picture.open(io.BytesIO(buffer.getvalue())))


def _picture(image: Image) -> Any:
    from PIL import Image as Picture

    levels = np.rint(image * 255).astype(np.uint8)
    return Picture.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)


def _pixels(picture: Any) -> Image:
    levels = np.asarray(picture, dtype=np.float64) / 255
    return levels[:, :, None] if levels.ndim == 2 else levels
