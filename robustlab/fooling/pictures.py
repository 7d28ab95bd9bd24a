"""Any picture file as 8-bit pixels, as a viewer would show it; pictures from nothing; one at hand.

Unlike data sets, where pixels count as they are stored, one picture is turned as its camera says,
deep pixels are scaled to 8 bits, transparency lies on white, and what was done is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robustlab.data.pictures import DEEP, images_in, is_image, opened
from robustlab.data.place import image_at
from robustlab.errors import BadRequest, nearest
from robustlab.fooled import Pixels
from robustlab.randomness import SampleRandom

__all__ = [
    "FROM_NOTHING",
    "Picture",
    "at_hand",
    "from_data",
    "from_nothing",
    "pictures_in",
    "read_file",
]

FROM_NOTHING = ("noise", "black", "white")
_VIDEO = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv")
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N")
_SHIPPED = "china.jpg"  # of scikit-learn


@dataclass(frozen=True)
class Picture:
    """A picture to fool a network with.

    Attributes:
        name: how it was asked for; stem: the same as a part of a file's name.
        source: a sentence on where it comes from and what was done to it.
        pixels: uint8 [C, H, W], C 1 (grey) or 3 (RGB).
    """

    name: str
    stem: str
    source: str
    pixels: Pixels

    def with_channels(self, channels: int, network: str) -> Picture:
        """Grey or RGB as the network takes it; what is given up is said."""
        if len(self.pixels) == channels:
            return self
        if channels not in (1, 3):
            raise BadRequest(f"{network} takes images of {channels} channels, no picture has them")
        if channels == 3:
            return replace(self, pixels=self.pixels.repeat(3, axis=0))
        from PIL import Image

        grey = Image.fromarray(np.ascontiguousarray(self.pixels.transpose(1, 2, 0))).convert("L")
        said = f"{self.source} Made grey (ITU-R 601 luma): {network} takes grey images."
        return replace(self, pixels=np.asarray(grey, np.uint8)[None], source=said)


def read_file(file: Path) -> Picture:
    """One picture file: JPEG, PNG, WebP, TIFF, GIF or BMP, of any mode Pillow decodes.

    Raises:
        BadRequest: a video, no readable image, no pixels, or so many that it may be a bomb.
    """
    if file.suffix.lower() in _VIDEO:
        raise BadRequest(f"{file} is a video; give one of its frames as a picture (.png, .jpg)")
    done: list[str] = []
    with opened(file, deep=True) as image:
        if 0 in image.size:
            raise BadRequest(f"{file}: {image.width}x{image.height} pixels: there is nothing in it")
        kind = image.format
        if getattr(image, "n_frames", 1) > 1:
            done.append(f"the first of {image.n_frames} frames")
        image.load()
        pixels = _pixels(image, done)
    size = f"{pixels.shape[2]}x{pixels.shape[1]} pixels"
    told = "".join(f"; {one}" for one in done)
    return Picture(str(file), file.stem, f"The file {file.name} ({kind}, {size}{told}).", pixels)


def _pixels(image: Any, done: list[str]) -> Pixels:
    """uint8 [C, H, W] of an open Pillow image; what is more than reading is noted in ``done``."""
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(image)
    if image.getexif().get(0x0112, 1) != 1:
        done.append("turned as its EXIF tag says")
    if turned.mode in DEEP:
        done.append(f"{turned.mode} scaled to 8 bits")
        return _shallow(np.asarray(turned), turned.mode)[None]
    if turned.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in turned.info:
        turned = _on_white(turned, done)
    if turned.mode not in ("L", "RGB"):
        wanted = "L" if turned.mode == "1" else "RGB"
        if turned.mode not in ("1", "P"):
            done.append(f"{turned.mode} converted to RGB")
        turned = turned.convert(wanted)
    found = np.array(turned, np.uint8)
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1).copy()


def _shallow(values: Any, mode: str) -> Pixels:
    """16-bit levels by their 257th part, rounded; 32-bit ones by their own range."""
    levels = values.astype(np.float64)
    if not np.isfinite(levels).all():
        raise BadRequest("its pixels are not all numbers; repair it")
    if mode in _SIXTEEN or (levels.min() >= 0 and 255 < levels.max() <= 65535):
        levels = levels / 257.0
    elif levels.min() < 0 or levels.max() > 255:
        low, high = levels.min(), levels.max()
        levels = (levels - low) * (255.0 / (high - low))
    elif mode == "F" and levels.max() <= 1.0:
        levels = levels * 255.0
    return np.asarray(np.rint(levels).clip(0, 255), np.uint8)


def _on_white(image: Any, done: list[str]) -> Any:
    from PIL import Image

    clear = image.convert("RGBA")
    if clear.getextrema()[3][0] < 255:
        done.append("transparency laid on white")
    white = Image.new("RGBA", clear.size, "white")
    flat = Image.alpha_composite(white, clear).convert("RGB")
    return flat.convert("L") if image.mode in ("L", "LA", "La") else flat


def pictures_in(folder: Path) -> list[Path]:
    """The picture files straight in a folder, sorted.

    Raises:
        BadRequest: there are none.
    """
    found = sorted(one for one in folder.iterdir() if one.is_file() and is_image(one))
    if found:
        return found
    below = sorted(one.name for one in folder.iterdir() if one.is_dir() and _holds(one))
    hint = f"; its folder {below[0]!r} does: give {folder / below[0]}" if below else ""
    raise BadRequest(f"{folder} holds no pictures{hint or '; give a folder that does, or a file'}")


def _holds(folder: Path) -> bool:
    try:
        return bool(images_in(folder))
    except (BadRequest, OSError):
        return False


def from_nothing(word: str, channels: int, side: tuple[int, int], seed: int) -> Picture:
    """``noise`` (each value uniform in 0..255, by the seed), ``black`` or ``white``.

    Args:
        side: (height, width).
    """
    shape = (channels, *side)
    if word == "noise":
        drawn = SampleRandom(seed, ["noise"], "picture").uniform(shape, 0.0, 256.0)[0]
        said = f"Uniform noise, drawn with seed {seed}: a picture of nothing."
        return Picture(word, word, said, np.floor(drawn).clip(0, 255).astype(np.uint8))
    level = {"black": 0, "white": 255}.get(word)
    if level is None:
        raise BadRequest(f"no picture is called {word!r}{nearest(word, FROM_NOTHING)}")
    said = f"Every pixel {word}: a picture of nothing."
    return Picture(word, word, said, np.full(shape, level, np.uint8))


def at_hand() -> Picture:
    """A photograph that an installed package ships: scikit-learn's temple."""
    from importlib.resources import as_file, files

    with as_file(files("sklearn.datasets.images") / _SHIPPED) as file:
        found = read_file(file)
    said = (
        "A photograph that scikit-learn ships, china.jpg: by flickr.com/photos/danielbuechele "
        "(6061409035), CC BY 2.0."
    )
    return replace(found, name=_SHIPPED, source=said)


def from_data(text: str) -> Picture:
    """One image of a data set, ``digits:test#12``, as 8-bit pixels; its label is said.

    Raises:
        BadRequest: no such image, neither by its place nor as a file.
    """
    one, place = image_at(text)
    label = one.classes[int(one.labels[0])]
    # A place counts within the split, an id where the data come from: the two numbers differ.
    said = f"Image {place} of {one.name}, with the id {one.ids[0]}, labelled {label}."
    return Picture(text, text, said, one.batch_8bit([0])[0])
