"""Data from image files: one folder a class, the classes in the order of their names.

Images of one size are read as they are. ``?size=32`` scales every image until its shorter side
fits and crops the middle (Pillow, bicubic). ``?mode=L`` or ``RGB``; the default is grey where every
file is grey, RGB otherwise. Orientation tags of cameras are not followed, transparency is dropped.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.data.dataset import Data
from robustlab.errors import BadRequest, choices

__all__ = ["load_folder"]

_EXTENSIONS = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
)
_OPTIONS = ("mode", "size")
_MODES = ("L", "RGB")
_GREY = ("1", "L", "LA")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # more than 8 bits: converting would clip


def load_folder(path: Path, options: Mapping[str, str]) -> Data:
    """Read every image under ``path``; an id is ``FOLDER/CLASS/FILE``.

    Raises:
        BadRequest: no such folder, no classes, a class without images, a file that is no readable
            8-bit image or is suspiciously large, images that differ in size.
    """
    size, mode = _options(path, options)
    classes = _classes(path)
    files = [(label, file) for label, name in enumerate(classes) for file in _images(path / name)]
    images = [_read(file, size) for _, file in files]
    mode = mode or ("L" if all(image.mode in _GREY for image in images) else "RGB")
    arrays = [np.asarray(image.convert(mode)) for image in images]
    _check_one_size(path, [file for _, file in files], arrays)
    name = path.resolve().name
    ids = [f"{name}/{file.relative_to(path).as_posix()}" for _, file in files]
    return Data(np.stack(arrays), [label for label, _ in files], classes, name, ids)


def _options(path: Path, options: Mapping[str, str]) -> tuple[int | None, str | None]:
    for key in options:
        if key not in _OPTIONS:
            raise BadRequest(f"folder:{path}: unknown option {key!r}{choices(key, _OPTIONS)}")
    mode, size = options.get("mode"), options.get("size")
    if mode is not None and mode not in _MODES:
        raise BadRequest(f"folder:{path}: unknown mode {mode!r}{choices(mode, _MODES)}")
    if size is not None and not (size.isdecimal() and 1 <= int(size) <= 4096):
        raise BadRequest(f"folder:{path}: size {size!r} is not a number of pixels, 1 to 4096")
    return (None if size is None else int(size)), mode


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _EXTENSIONS and not file.name.startswith(".")


def _classes(path: Path) -> list[str]:
    if not path.is_dir():
        raise BadRequest(f"folder:{path}: there is no such folder")
    found = [one.name for one in path.iterdir() if one.is_dir() and not one.name.startswith(".")]
    if not found:
        loose = (
            " (the images in it belong to no class)" if any(map(_is_image, path.iterdir())) else ""
        )
        raise BadRequest(f"folder:{path}: there are no class folders{loose}; make one a class")
    return sorted(found)


def _images(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if file.is_file() and _is_image(file))
    if not found:
        raise BadRequest(
            f"folder:{folder}: this class holds no images ({', '.join(sorted(_EXTENSIONS))}); "
            "fill it or remove it"
        )
    return found


def _read(file: Path, size: int | None) -> Any:
    """The decoded Pillow image, cropped to ``size`` where one is asked."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on and refuses from twice as many: refuse both.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                opened.load()
                image = opened.convert("RGBA") if "transparency" in opened.info else opened.copy()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadRequest(
            f"{file}: this image unpacks to more than {Image.MAX_IMAGE_PIXELS} pixels; "
            "refused as a decompression bomb, make it smaller"
        ) from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise BadRequest(f"{file}: no readable image ({error}); repair or remove it") from None
    if image.mode in _DEEP:
        raise BadRequest(f"{file}: pixels have more than 8 bits ({image.mode}); save it as 8-bit")
    if size is None:
        return image
    plain = image if image.mode in ("L", "RGB") else image.convert(_plain_mode(image.mode))
    return ImageOps.fit(plain, (size, size), Image.Resampling.BICUBIC)


def _plain_mode(mode: str) -> str:
    return "L" if mode in _GREY else "RGB"


def _check_one_size(path: Path, files: list[Path], arrays: list[NDArray[Any]]) -> None:
    height, width = arrays[0].shape[:2]
    line = f"folder:{path}?size={min(height, width)}"
    for file, array in zip(files, arrays, strict=True):
        if array.shape[:2] != (height, width):
            raise BadRequest(
                f"{file}: this image is {array.shape[1]}x{array.shape[0]} pixels, the first one "
                f"{width}x{height}; bring all to one size with {line!r}"
            )
