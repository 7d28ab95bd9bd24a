"""Frost: a window of a photograph of frost laid over the image. The photographs are the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.data.pictures import header, images_in, read_picture
from robustlab.errors import BadRequest
from robustlab.invariance.corrupted.weather import grey
from robustlab.randomness import SampleRandom

__all__ = ["MOST", "Pictures", "frost", "read_frost"]

Image = NDArray[np.float64]
Pictures = tuple[NDArray[np.uint8], ...]  # each [H, W, 3]

MOST = 16  # photographs
_SIDE = 1024  # shorter side of a photograph for images of 224 pixels, at most: memory is bounded


def read_frost(folder: str | Path, size: tuple[int, int]) -> Pictures:
    """Photographs of frost, scaled as all lengths are: by the shorter side of the images / 224.

    Args:
        folder: with PNG, JPEG or other pictures in it, grey or RGB, 8-bit.
        size: (height, width) of the images that they are laid over.

    Raises:
        BadRequest: no such folder or no picture in it, more than `MOST`, or one that cannot be
            read, is suspiciously large, or is too small to take windows from.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise BadRequest(
            f"frost {str(folder)!r}: there is no such folder; give one with photographs of frost"
        )
    try:
        files = images_in(path)
    except BadRequest as error:
        raise BadRequest(f"frost {str(folder)!r}: no photographs of frost lie there") from error
    if len(files) > MOST:
        raise BadRequest(
            f"frost {str(folder)!r} holds {len(files)} pictures; give at most {MOST}, for they are "
            "kept in memory"
        )
    for file in files:  # before any pixel is decoded
        _check_size(file, header(file)[1], size)
    return tuple(_scaled(read_picture(file, "RGB", None), size) for file in files)


def _check_size(file: Path, found: tuple[int, int], size: tuple[int, int]) -> None:
    width, height = (round(side * min(size) / 224) for side in found)
    if height < size[0] or width < size[1]:
        least = [224 * side / min(size) for side in (size[1], size[0])]
        raise BadRequest(
            f"{file}: {found[0]}x{found[1]} pixels of frost are too small for images of "
            f"{size[0]}x{size[1]}; give pictures of at least {least[0]:.0f}x{least[1]:.0f}"
        )


def _scaled(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[H, W, 3], resampled with an area filter (Pillow's box)."""
    from PIL import Image as Pillow

    pixels = np.ascontiguousarray(picture.transpose(1, 2, 0))
    height, width = pixels.shape[:2]
    share = min(1.0, max(_SIDE, *(224 * side / min(size) for side in size)) / min(height, width))
    share *= min(size) / 224
    sides = max(size[1], round(width * share)), max(size[0], round(height * share))
    if sides == (width, height):
        return pixels
    scaled: Any = Pillow.fromarray(pixels).resize(sides, Pillow.Resampling.BOX)
    return np.asarray(scaled)


def frost(image: Image, severity: int, rng: SampleRandom, pictures: Pictures) -> Image:
    """A share of the image plus a share of a window of a photograph, both drawn by the image's id;
    the shares are those that Hendrycks and Dietterich (2019) published with their generator.
    """
    kept, added = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    which, down, across = rng.uniform((3,))[0]
    picture = pictures[min(len(pictures) - 1, int(which * len(pictures)))]
    height, width, channels = image.shape
    top = min(picture.shape[0] - height, int(down * (picture.shape[0] - height + 1)))
    left = min(picture.shape[1] - width, int(across * (picture.shape[1] - width + 1)))
    window = picture[top : top + height, left : left + width].astype(np.float64) / 255
    laid: Image = kept * image + added * (grey(window) if channels == 1 else window)
    return laid
