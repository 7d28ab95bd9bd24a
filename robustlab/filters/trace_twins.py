"""Pairs of images: the clean one, and the one an attack or a shift has made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters.projection import gradients_on
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve

__all__ = ["Twins", "attacked", "drawn", "rolled", "shifted"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Twins:
    """Pairs of 8-bit images.

    Attributes:
        rows: the images' rows in the data, [k].
        clean, changed: uint8 [k, C, H, W].
        traced: bool [k]: images that are right as they are and, of an attack, verified to be wrong
            as 8-bit pixels; all true of a shift, whose images are judged when they are measured.
        right: bool [k], right as they are; None where nobody has looked.
        what: what was done, in words; notes: what the attack says; cost: its passes in sum.
    """

    rows: Array
    clean: Array
    changed: Array
    traced: Array
    right: Array | None
    what: str
    notes: tuple[str, ...] = ()
    cost: dict[str, float] = field(default_factory=lambda: {"forward": 0.0, "backward": 0.0})


def drawn(data: Data, most: int) -> list[int]:
    """Rows of at most ``most`` images (0: all), drawn by their ids, in the order of the draw."""
    numbers = SampleRandom(0, data.ids, "depth_trace").uniform(())
    order: list[int] = np.lexsort((np.array(data.ids), numbers)).tolist()
    return order[: most or None]


def attacked(
    backbone: Backbone,
    data: Data,
    rows: Sequence[int],
    *,
    attack: str,
    norm: str,
    eps: str,
    seed: int,
    batch: int,
) -> Twins:
    """What an attack of the catalogue makes of the images: the 8-bit pixels that it verified.

    Raises:
        BadRequest: no such attack, another norm, a budget that cannot be, a targeted or a spatial
            attack.
    """
    registered = resolve(attack)
    if registered.kind != "attack":
        raise BadRequest(f"{attack!r} is no attack; `robustlab list attacks` shows them")
    asked = {"eps": [eps], **({"norm": norm} if norm else {})}
    with gradients_on():
        found = registered.obj(**bind(registered, asked))(
            backbone, data.subset(list(rows)), seed=seed, batch=batch
        )
    traced = found.verified_8bit[0] & found.clean_correct
    cost = {"forward": float(found.forward.sum()), "backward": float(found.backward.sum())}
    what = f"{attack}, {found.norm}, eps {eps}"
    changed = np.asarray(found.images_8bit[0])
    images = (np.array(rows), np.asarray(found.clean), changed)
    return Twins(*images, traced, found.clean_correct, what, tuple(found.notes), cost)


def shifted(data: Data, rows: Sequence[int], shift: Sequence[int], mode: str) -> Twins:
    """The images moved by (dy, dx) whole pixels, down and right positive.

    Raises:
        BadRequest: a shift that moves nothing, or everything out of the frame.
    """
    pair = tuple(int(v) for v in shift)
    if len(pair) != 2 or pair == (0, 0):
        raise BadRequest(
            f"shift {list(pair)} of 'depth_trace' is no (dy, dx) that moves an image; write "
            "[0, 1] for one pixel to the right"
        )
    height, width = data.shape[1:]
    if abs(pair[0]) >= height or abs(pair[1]) >= width:
        raise BadRequest(
            f"shift {list(pair)} of 'depth_trace' leaves nothing of images of {height}x{width} "
            f"pixels; the largest are {height - 1} and {width - 1}"
        )
    clean = data.batch_8bit(list(rows))
    what = f"shift by ({pair[0]}, {pair[1]}), {mode}"
    images = (np.array(rows), clean, rolled(clean, pair, mode))
    return Twins(*images, np.ones(len(rows), bool), None, what)


def rolled(images: Array, shift: tuple[int, int], mode: str) -> Array:
    """Images [n, C, H, W] moved by (dy, dx); ``circular``: what leaves enters on the other side,
    ``zero``: black enters.
    """
    moved = np.roll(images, shift, axis=(2, 3))
    if mode == "zero":
        for axis, by in zip((2, 3), shift, strict=True):
            side = moved.swapaxes(axis, 0)
            side[slice(0, by) if by > 0 else slice(len(side) + by, None) if by else slice(0)] = 0
    return moved
