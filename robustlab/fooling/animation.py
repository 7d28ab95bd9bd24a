"""The way as an animated picture: an APNG of the looks of a search, with what the network says.

Every frame holds the picture's own pixels, above a panel with the class that is seen and the
probabilities as bars. An APNG loses nothing; a viewer that knows none shows the first frame.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from robustlab.errors import BadRequest
from robustlab.fooled import Pixels, Reading
from robustlab.fooling.survival import from_picture, to_picture
from robustlab.fooling.ways import Walked

__all__ = ["FRAMES", "LARGEST", "SIDE", "Frame", "animated", "frames_of", "magnified", "shrunk"]

FRAMES = 24
LARGEST = 2_000_000  # bytes
SIDE = 480  # pixels of the longer side; what is longer is shrunk
_FEWEST = 8  # frames, before pictures are shrunk to save bytes
_SMALL = 224  # a smaller picture is magnified, each pixel to a square
_WIDEST = 320  # of the panel, where the picture is narrower
_LINE, _BAR, _GAP, _EDGE = 17, 8, 6, 8  # pixels of the panel's parts
_FIRST, _EACH, _LAST = 1200, 160, 2400  # milliseconds
_INK, _PAPER, _EMPTY = "#1a1a1a", "#ffffff", "#dddddd"
_LABEL, _TARGET = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion


@dataclass(frozen=True)
class Frame:
    """One picture of the way, and what the network says of it.

    Attributes:
        pixels: uint8 [C, H, W]; where: which picture it is, in a few words.
        seen: the class that it is taken for.
        label, target: probabilities of the label and of the target (NaN: none).
    """

    pixels: Pixels
    where: str
    seen: str
    label: float
    target: float


def shrunk(pixels: Pixels, side: int = SIDE) -> Pixels:
    """The picture [C, H, W] with its longer side at most ``side``, smoothed; itself if it is."""
    _, height, width = pixels.shape
    share = side / max(height, width)
    if share >= 1:
        return pixels
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return from_picture(to_picture(pixels).resize(size, Image.Resampling.BILINEAR))


def magnified(height: int, width: int) -> int:
    """By how much a small picture is magnified: each pixel becomes a square of that side."""
    return max(1, _SMALL // max(height, width))


def frames_of(
    walk: Walked, original: Pixels, changed: Pixels, before: Reading, after: Reading
) -> list[Frame]:
    """The clean picture, the looks of a search whose pictures were kept, the picture as saved."""
    way = walk.way
    looks = [
        Frame(
            pixels,
            f"look {way.at[row]:.0f} of the search",
            way.prediction[row],
            float(way.label[row]),
            float(way.target[row]),
        )
        for pixels, row in zip(walk.pictures, walk.rows, strict=True)
    ]
    first, last = (
        Frame(pixels, where, told.top[0][1], told.label, told.target)
        for pixels, where, told in (
            (original, "the clean picture", before),
            (changed, "the picture as saved", after),
        )
    )
    return [first, *looks, last]


def animated(
    frames: Sequence[Frame],
    label: str,
    target: str | None = None,
    *,
    most: int = FRAMES,
    largest: int = LARGEST,
) -> bytes:
    """An APNG, without end.

    Inside the picture's area (from the top left corner, see `magnified`) the pixels of a frame are
    those of its picture to the byte, if no side is longer than `SIDE`. To stay within ``largest``
    frames between the first and the last are left out, down to 8, and then pictures are shrunk.

    Args:
        frames: at least one; all pictures of one shape but for `shrunk`, C 1 or 3.
        label, target: class names; without a target the second bar is of all other classes.
        most: frames at most; largest: bytes at most.

    Raises:
        BadRequest: no frame, or bytes that no picture fits in.
    """
    if not frames or most < 2:
        raise BadRequest("an animation needs a frame, and room for two")
    side, count = SIDE, min(most, len(frames))
    while True:
        chosen = [frames[k] for k in _spread(len(frames), count)]
        small = [replace(frame, pixels=shrunk(frame.pixels, side)) for frame in chosen]
        made = _encoded([_drawn(frame, label, target) for frame in small])
        share = largest / len(made)
        if share >= 1:
            return made
        fewer = max(min(_FEWEST, count), min(count - 1, math.floor(count * share)))
        if fewer < count:
            count = fewer
            continue
        longest = max(small[0].pixels.shape[1:])
        side = min(longest - 1, int(longest * math.sqrt(share)))
        if side < 16:
            raise BadRequest(f"no animation of {count} frames fits in {largest} bytes")


def _spread(n: int, count: int) -> list[int]:
    """``count`` of n places, evenly, the first and the last among them."""
    return sorted(set(np.linspace(0, n - 1, count).round().astype(int).tolist()))


def _encoded(pictures: Sequence[Image.Image]) -> bytes:
    times = [_FIRST, *[_EACH] * (len(pictures) - 2), _LAST][: len(pictures)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "PNG",
        save_all=True,
        append_images=list(pictures[1:]),
        duration=times if len(times) > 1 else times[0],
        loop=0,
        compress_level=9,
    )
    return buffer.getvalue()


def _drawn(frame: Frame, label: str, target: str | None) -> Image.Image:
    """The picture, and the panel under it."""
    _, height, width = frame.pixels.shape
    times = magnified(height, width)
    squares = frame.pixels.repeat(times, axis=1).repeat(times, axis=2)
    height, width = height * times, width * times
    wide = max(width, _WIDEST if width < _WIDEST else width)
    tall = 2 * _EDGE + _LINE + 2 * (_GAP + _LINE + _BAR)
    page = Image.new("RGB", (wide, height + tall), _PAPER)
    page.paste(to_picture(squares), (0, 0))
    drawn = ImageDraw.Draw(page)
    y, room = height + _EDGE, wide - 2 * _EDGE
    colour = _LABEL if frame.seen == label else _TARGET
    _write(drawn, (_EDGE, y), f"{frame.where}: {frame.seen}", room, colour)
    other = 1.0 - frame.label if target is None else frame.target
    bars = ((label, frame.label, _LABEL), (target or "any other class", other, _TARGET))
    y += _LINE
    for name, chance, tint in bars:
        y += _GAP
        percent = f"{100 * chance:.1f} %"
        wants = drawn.textlength(percent, font=_font())
        _write(drawn, (_EDGE, y), name, room - wants - _GAP, _INK)
        drawn.text((_EDGE + room - wants, y), percent, fill=_INK, font=_font())
        y += _LINE
        drawn.rectangle((_EDGE, y, _EDGE + room - 1, y + _BAR - 1), fill=_EMPTY)
        length = round(room * min(1.0, max(0.0, chance)))
        if length:
            drawn.rectangle((_EDGE, y, _EDGE + length - 1, y + _BAR - 1), fill=tint)
        y += _BAR
    return page


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(13)


def _write(
    drawn: ImageDraw.ImageDraw, place: tuple[float, float], text: str, room: float, colour: str
) -> None:
    """``text`` in one line, cut short where there is no room for all of it."""
    line = " ".join(text.split())
    while len(line) > 1 and drawn.textlength(line, font=_font()) > room:
        line = line[:-2].rstrip() + "…"
    drawn.text(place, line, fill=colour, font=_font())
