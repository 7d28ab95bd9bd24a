"""Pixels in the page: PNG, byte for byte what was verified; JPEG nowhere."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_picture", "data_uri", "magnified", "png", "scale_for"]

Pixels = NDArray[np.uint8]

# Blue, white, red: the ends of the diverging scale of Brewer's RdBu.
_NEGATIVE, _POSITIVE = np.array([33, 102, 172]), np.array([178, 24, 43])


def as_picture(image: NDArray[Any]) -> Pixels:
    """uint8 [C, H, W] as [H, W] for one channel or [H, W, 3] for three.

    Any other number of channels shows the first; a picture cannot hold the rest.
    """
    image = np.asarray(image, dtype=np.uint8)
    if image.ndim == 3 and image.shape[0] == 3:
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    return np.ascontiguousarray(image[0] if image.ndim == 3 else image)


def png(pixels: NDArray[Any]) -> bytes:
    """uint8 [H, W] or [H, W, 3] as PNG, the same bytes for the same pixels."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_uri(pixels: NDArray[Any]) -> str:
    """The PNG as an address that stands in the page."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def magnified(clean: NDArray[Any], adversarial: NDArray[Any]) -> tuple[Pixels, int]:
    """The difference of two uint8 [C, H, W] images, and the whole factor it is magnified by.

    Zero is the middle of the scale: white between blue (darker) and red (brighter) for one channel,
    grey for colour. The factor is the largest that clips nothing.
    """
    difference = as_picture(adversarial).astype(int) - as_picture(clean).astype(int)
    factor = max(1, 127 // max(1, int(np.abs(difference).max(initial=0))))
    scaled = np.clip(difference * factor, -127, 127)
    if scaled.ndim == 3:
        return (128 + scaled).astype(np.uint8), factor
    share = np.abs(scaled)[..., None] / 127
    ends = np.where(scaled[..., None] < 0, _NEGATIVE, _POSITIVE)
    return (255 + share * (ends - 255)).round().astype(np.uint8), factor


def scale_for(width: int, room: int) -> int:
    """The whole multiple at which ``width`` pixels fill ``room``, at least 1."""
    return max(1, room // max(1, width))
