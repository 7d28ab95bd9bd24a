"""One image file: is it one, what does its header say, what are its pixels.

Orientation tags of cameras are not followed, transparency is dropped. Pillow decodes; its warning
of a decompression bomb counts as an error here.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest

__all__ = [
    "DEEP",
    "INTERPOLATIONS",
    "MODES",
    "Crop",
    "evaluation_crop",
    "fit",
    "header",
    "images_in",
    "is_image",
    "opened",
    "read_picture",
]

_EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
)
INTERPOLATIONS = ("bilinear", "bicubic")
MODES = ("L", "RGB")
_GREY = ("1", "L", "LA")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # more than 8 bits: converting would clip

Crop = Callable[[Any], Any]  # from a Pillow image to one


def is_image(file: Path) -> bool:
    """Whether the name is that of a picture; hidden files are none."""
    return file.suffix.lower() in _EXTENSIONS and not file.name.startswith(".")


def images_in(folder: Path) -> list[Path]:
    """The pictures in a class folder and below it, sorted.

    Raises:
        BadRequest: there are none, or a name is not UTF-8: ids are, wherever they are kept.
    """
    found = sorted(file for file in folder.rglob("*") if is_image(file) and file.is_file())
    if not found:
        raise BadRequest(
            f"{folder}: this class holds no images ({', '.join(sorted(_EXTENSIONS))}); "
            "fill it or remove it"
        )
    for file in found:
        if not _is_utf8(file):
            raise BadRequest(f"{os.fsencode(file)!r}: this name is not UTF-8; rename the file")
    return found


def _is_utf8(file: Path) -> bool:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def opened(file: Path, *, deep: bool = False) -> Iterator[Any]:
    """The file as Pillow opens it, nothing decoded yet; all that goes wrong inside is told.

    Args:
        deep: take pixels of more than 8 bits, too.

    Raises:
        BadRequest: no readable image, a suspiciously large one, or more than 8 bits.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on and refuses from twice as many: refuse both.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.mode in DEEP and not deep:
                    raise BadRequest(
                        f"{file}: pixels have more than 8 bits ({image.mode}); save it as 8-bit"
                    )
                yield image
    except BadRequest:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadRequest(
            f"{file}: this image unpacks to more than {Image.MAX_IMAGE_PIXELS} pixels; "
            "refused as a decompression bomb, make it smaller"
        ) from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise BadRequest(f"{file}: no readable image ({error}); repair or remove it") from None


def header(file: Path) -> tuple[bool, tuple[int, int]]:
    """(grey or not, (width, height)) as the header says; no pixel is decoded."""
    with opened(file) as image:
        return image.mode in _GREY and "transparency" not in image.info, image.size


def read_picture(file: Path, mode: str, crop: Crop | None) -> NDArray[np.uint8]:
    """uint8 [C, H, W]; C is 1 for the mode ``L`` and 3 for ``RGB``.

    Raises:
        BadRequest: no readable 8-bit image, or a suspiciously large one.
    """
    with opened(file) as image:
        image.load()
        plain = image.convert("RGBA") if "transparency" in image.info else image.copy()
    if plain.mode not in MODES:
        plain = plain.convert("L" if plain.mode in _GREY else "RGB")
    try:
        pixels = np.asarray((plain if crop is None else crop(plain)).convert(mode))
    except BadRequest as error:
        raise error.inside(str(file)) from None
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


def fit(size: int) -> Crop:
    """Scale until the shorter side is ``size`` and crop the middle (Pillow, bicubic)."""

    def crop(image: Any) -> Any:
        from PIL import Image, ImageOps

        return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)

    return crop


def evaluation_crop(resize: int, size: int, interpolation: str) -> Crop:
    """torchvision's evaluation: the shorter side to ``resize``, antialiased, then the middle
    ``size`` x ``size``.
    """

    def crop(image: Any) -> Any:
        from PIL import Image
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as drawn

        short, long = sorted(image.size)
        # A strip one pixel wide would become 256 wide, and longer in proportion.
        if resize * resize * long / short > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise BadRequest(
                f"{image.width}x{image.height} pixels with the shorter side at {resize} are more "
                f"than {Image.MAX_IMAGE_PIXELS}; remove it or crop it first"
            )
        scaled = drawn.resize(image, [resize], InterpolationMode(interpolation), antialias=True)
        return drawn.center_crop(scaled, [size])

    return crop
