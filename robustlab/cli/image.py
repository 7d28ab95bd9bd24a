"""The image that a view is asked of: a picture file, or one of a data set (``digits:test#12``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest, RobustlabError

if TYPE_CHECKING:
    from robustlab.backbones import Backbone
    from robustlab.data import Data

__all__ = ["blank", "image_of", "in_front"]


def image_of(text: str, backbone: Backbone, fit: bool) -> Data:
    """One image, as data for the network.

    A file has no label: it bears the class that the network gives it. A reference is a data source
    and, behind the last ``#``, the place of the image from 0.

    Args:
        fit: scale and crop the middle, grey or RGB as the network takes it, where it does not fit;
            left out, such an image is refused.

    Raises:
        BadRequest: neither a file nor a reference, a place that is not there, another size.
    """
    if Path(text).is_file():
        return _from_file(Path(text), backbone, fit)
    return _from_data(text, backbone, fit)


def _from_file(file: Path, backbone: Backbone, fit: bool) -> Data:
    from robustlab.data.pictures import header, read_picture

    grey, (width, height) = header(file)
    channels, *size = backbone.input_shape
    if [height, width] != size and not fit:
        raise BadRequest(
            f"{file} is {height}x{width} pixels (height x width), {backbone.name} takes "
            f"{size[0]}x{size[1]}; resize it, or give --fit"
        )
    if channels not in (1, 3):
        raise BadRequest(
            f"{backbone.name} takes images of {channels} channels, no picture has them"
        )
    pixels = read_picture(file, "L" if grey else "RGB", _crop(size) if fit else None)
    return _data(_channels(pixels, backbone, fit, str(file)), str(file), backbone)


def _crop(size: list[int]) -> Any:
    """Scale until it covers ``size`` (height, width), and crop the middle."""

    def crop(image: Any) -> Any:
        from PIL import Image, ImageOps

        return ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC)

    return crop


def _channels(
    pixels: NDArray[np.uint8], backbone: Backbone, fit: bool, what: str
) -> NDArray[np.uint8]:
    """uint8 [C, H, W] with the network's channels; colour is given up where ``fit`` says so."""
    wanted = backbone.input_shape[0]
    if len(pixels) == wanted:
        return pixels
    if wanted == 3 and len(pixels) == 1:
        return pixels.repeat(3, axis=0)
    if wanted == 1 and (pixels == pixels[:1]).all():
        return pixels[:1]
    if wanted == 1 and fit:
        from PIL import Image

        grey = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert("L")
        return np.asarray(grey, np.uint8)[None]
    raise BadRequest(
        f"{what} is in colour, {backbone.name} takes grey images; convert it, or give --fit"
    )


def _data(pixels: NDArray[np.uint8], name: str, backbone: Backbone) -> Data:
    from robustlab.data import Data

    x = pixels[None].astype(np.float32) / np.float32(255)
    label = int(backbone(x).argmax(dim=1)[0])
    return Data(pixels[None], [label], list(backbone.classes), name=name, ids=[name])


def _from_data(text: str, backbone: Backbone, fit: bool) -> Data:
    from robustlab.data import Data
    from robustlab.data.place import image_at

    one, _ = image_at(text)
    if fit and one.shape != backbone.input_shape:
        from PIL import Image

        levels = one.batch_8bit([0])[0]
        shown = levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)
        cut = np.asarray(_crop(list(backbone.input_shape[1:]))(Image.fromarray(shown)), np.uint8)
        cut = cut[None] if cut.ndim == 2 else cut.transpose(2, 0, 1)
        pixels = _channels(np.ascontiguousarray(cut), backbone, True, text)
        if len(one.classes) != len(backbone.classes):
            return _data(pixels, one.ids[0], backbone)
        return Data(pixels[None], one.labels, one.classes, name=one.name, ids=one.ids)
    try:
        backbone.accepts(one)
    except RobustlabError as error:
        raise BadRequest(f"image {text!r}: {error}, or give --fit") from None
    return one


def blank(backbone: Backbone) -> Data:
    """A black image, for views of the weights alone."""
    from robustlab.data import Data

    pixels = np.zeros((1, *backbone.input_shape), np.uint8)
    return Data(pixels, [0], list(backbone.classes), name="none", ids=["none"])


def in_front(image: Data, data: Data) -> Data:
    """The image, then the data without it."""
    from robustlab.data import Data

    if image.shape != data.shape or image.classes != data.classes:
        raise BadRequest(
            f"{image.ids[0]} and {data.name} have other sizes or classes; views compare images of "
            "one kind"
        )
    rest = [row for row, name in enumerate(data.ids) if name != image.ids[0]]
    if not (image.is_8bit and data.is_8bit):
        pixels: Any = np.concatenate([image.batch([0]), data.batch(rest)])
    else:
        pixels = np.concatenate([image.batch_8bit([0]), data.batch_8bit(rest)])
    labels = [*image.labels.tolist(), *data.labels[rest].tolist()]
    ids = [*image.ids, *(data.ids[row] for row in rest)]
    return Data(pixels, labels, data.classes, name=data.name, ids=ids)
