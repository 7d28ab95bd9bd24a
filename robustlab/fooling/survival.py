"""Does it survive what happens to pictures: JPEG, resizing, a crop, blur, a shift, a rotation?

Each change is done to the whole 8-bit picture and gives 8-bit pixels of the same size, which are
then read as any picture is. The clean picture is changed alike: where the network no longer knows
that one, the change says nothing of the attack. Lengths are in pixels of the picture.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooled import Curve, Pixels
from robustlab.fooling.readings import BATCH, Read, check_class, look, probabilities

__all__ = ["CHANGES", "Change", "from_picture", "survival", "to_picture"]


@dataclass(frozen=True)
class Change:
    """A change of pictures.

    Attributes:
        apply: ``(pixels uint8 [C, H, W], value) -> pixels`` of the same shape.
        unit: of the values; values: the usual severities, the mildest first.
        exact: whether the mildest leaves every pixel as it is.
    """

    apply: Callable[[Pixels, float], Pixels]
    unit: str
    values: tuple[float, ...]
    exact: bool = True


def to_picture(pixels: Pixels) -> Image.Image:
    """Pixels [C, H, W] as a picture in RGB, or in grey where C is 1."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def from_picture(picture: Image.Image) -> Pixels:
    """The pixels [C, H, W] of a picture in RGB or in grey."""
    pixels = np.asarray(picture)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Through a JPEG file in memory, colours at half the resolution, as Pillow writes it. Quality
    100 loses too: coefficients are rounded, and so are colours.
    """
    buffer = io.BytesIO()
    to_picture(pixels).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    with Image.open(buffer) as read:
        return from_picture(read)


def resized(pixels: Pixels, percent: float) -> Pixels:
    """Both sides to ``percent`` of their length and back, bilinear, smoothed when made smaller."""
    picture = to_picture(pixels)
    small = (max(1, round(side * percent / 100)) for side in picture.size)
    return _resize(_resize_to(picture, tuple(small)), picture.size)


def cropped(pixels: Pixels, percent: float) -> Pixels:
    """``percent`` of each side cut off at both its ends, the rest enlarged to the old size."""
    _, height, width = pixels.shape
    top, left = round(height * percent / 100), round(width * percent / 100)
    inside = pixels[:, top : height - top, left : width - left]
    return _resize(to_picture(np.ascontiguousarray(inside)), (width, height))


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Smoothed by a Gaussian of that standard deviation, the border repeated outside."""
    smooth = ndimage.gaussian_filter(
        pixels.astype(np.float32), (0, sigma, sigma), mode="nearest", truncate=4.0
    )
    return np.asarray(np.rint(smooth).clip(0, 255).astype(np.uint8))


def shifted(pixels: Pixels, by: float) -> Pixels:
    """Moved to the right by whole pixels; the left border is repeated."""
    columns = np.arange(pixels.shape[2]) - int(by)
    return pixels[:, :, columns.clip(0)]


def rotated(pixels: Pixels, degrees: float) -> Pixels:
    """Turned about its centre, counter-clockwise, bilinear; the border is repeated outside."""
    _, height, width = pixels.shape
    # How far a corner moves: no point outside of the wider picture is looked at.
    reach = 2 + math.ceil(math.hypot(height, width) * math.sin(math.radians(abs(degrees) / 2)))
    wider = np.pad(pixels, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    # As floats, for Pillow cuts the fractions of 8-bit levels off instead of rounding them.
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in wider]
    turned = [np.asarray(plane.rotate(degrees, Image.Resampling.BILINEAR)) for plane in planes]
    inside = np.stack(turned)[:, reach : reach + height, reach : reach + width]
    return np.asarray(np.rint(inside).clip(0, 255).astype(np.uint8))


def _resize_to(picture: Image.Image, size: tuple[int, ...]) -> Image.Image:
    return picture.resize((size[0], size[1]), Image.Resampling.BILINEAR)


def _resize(picture: Image.Image, size: tuple[int, int]) -> Pixels:
    return from_picture(_resize_to(picture, size))


CHANGES: dict[str, Change] = {
    "JPEG quality": Change(jpeg, "", (100, 95, 90, 75, 50, 25), exact=False),
    "resized and back": Change(resized, "% of the side", (100, 90, 75, 50, 35, 25)),
    "cropped": Change(cropped, "% off each end", (0, 1, 2, 5, 10, 15)),
    "blur": Change(blurred, "pixels", (0, 0.4, 0.6, 1, 1.5, 2)),
    "shifted": Change(shifted, "pixels", (0, 1, 2, 4, 8, 16)),
    "rotated": Change(rotated, "degrees", (0, 1, 2, 3, 5, 10)),
}


def survival(
    backbone: Backbone,
    read: Read,
    original: Pixels,
    changed: Pixels,
    label: int,
    target: int | None = None,
    *,
    changes: Mapping[str, Change] = CHANGES,
    batch: int = BATCH,
) -> tuple[Curve, ...]:
    """What is left of an adversarial picture under each change: one `Curve` each.

    Args:
        read: from 8-bit pixels [C, H, W] to what ``backbone`` takes.
        original, changed: uint8 [C, H, W] with C 1 or 3, the clean picture and the attack's.
        label, target: indices of the class seen in the clean picture, and of the one asked for.
        changes: by name; the usual ones are `CHANGES`.

    Raises:
        BadRequest: pictures of two shapes or of other channels, or no such class.
    """
    check_class(backbone, label, target)
    if original.shape != changed.shape or len(original) not in (1, 3):
        raise BadRequest(
            f"pictures of {original.shape} and {changed.shape}; give both alike, grey or RGB"
        )

    same: dict[str, list[bool]] = {name: [] for name in changes}

    def shown() -> Iterator[Pixels]:
        for name, change in changes.items():
            for value in change.values:
                found = change.apply(changed, value)
                same[name].append(np.array_equal(found, changed))
                yield found
                yield change.apply(original, value)

    logits = look(backbone, map(read, shown()), batch=batch)
    chances, seen = probabilities(logits)[::2], logits.argmax(axis=1)
    adversarial, clean = seen[::2], seen[1::2]
    curves, at = [], 0
    for name, change in changes.items():
        rows = slice(at, at := at + len(change.values))
        aimed = chances[rows, target] if target is not None else np.full(len(change.values), np.nan)
        curves.append(
            Curve(
                name=name,
                unit=change.unit,
                values=np.array(change.values, dtype=np.float64),
                fooled=adversarial[rows] != label,
                at_target=adversarial[rows] == (-1 if target is None else target),
                label=chances[rows, label],
                target=aimed,
                clean=clean[rows] == label,
                unchanged=[*same[name], False].index(False),
            )
        )
    return tuple(curves)
