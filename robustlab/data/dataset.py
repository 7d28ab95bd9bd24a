"""`Data`: images, labels, class names and stable ids, with a fingerprint of the pixels.

uint8 at rest, because that is what a PNG holds; floats in [0, 1] are accepted, kept as float32 and
remembered. The arrays are copies of their own and read-only: a fingerprint that was taken once
stays true. Many images lie in a memory map on disk (see `spill`), and every reader here lets its
pages go again, so that memory holds only what is being looked at. Needs numpy only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.data.checks import as_class_names, as_ids, as_images, as_labels
from robustlab.data.spill import chunks, gather, release, room
from robustlab.data.stratified import stratified
from robustlab.errors import BadRequest

__all__ = ["Data", "Rows"]

Array = NDArray[Any]
Rows = slice | Sequence[int] | Array  # anything that picks along the first axis of an array


class Data:
    """n images with their labels.

    Args:
        images: uint8, or floats in [0, 1]; [n, C, H, W], [n, H, W, C] or [n, H, W] with C 1 or 3;
            numpy, torch or lists.
        labels: n integers, each the index of a class.
        classes: class names, or their number; the default is as many as the labels need.
        name: what the data are called in tables, and the prefix of default ids.
        ids: one text an image, unique and stable; the lab's randomness and its per-image records
            hang on them. The default is ``own/000123``.

    Attributes:
        images: uint8 or float32 [n, C, H, W], read-only; a memory map beyond 256 MiB.
        labels: int64 [n], read-only.
        classes, ids: tuples of text; name: text.

    Raises:
        BadRequest: anything that is not so, told with what was found.
    """

    images: Array
    labels: Array
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    name: str

    def __init__(
        self,
        images: Any,
        labels: Any,
        classes: int | Sequence[str] | None = None,
        name: str = "own",
        ids: Sequence[str] | None = None,
    ) -> None:
        self._settle(as_images(images), labels, classes, name, ids)

    @classmethod
    def adopt(
        cls,
        images: Array,
        labels: Any,
        classes: int | Sequence[str] | None,
        name: str,
        ids: Sequence[str] | None = None,
    ) -> Data:
        """`Data` around ``images`` without a copy: uint8 [n, C, H, W] in a `room` that the caller
        has filled and writes to no more. For readers.
        """
        made = object.__new__(cls)
        made._settle(images, labels, classes, name, ids)
        return made

    def _settle(
        self,
        images: Array,
        labels: Any,
        classes: int | Sequence[str] | None,
        name: str,
        ids: Sequence[str] | None,
    ) -> None:
        self.name, self.images = name, images
        self.labels = as_labels(labels, len(images))
        self.classes = as_class_names(classes, self.labels)
        self.ids = as_ids(ids, len(images), name)
        self._freeze()

    def _freeze(self) -> None:
        self.images.flags.writeable = False
        self.labels.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        kind = "8-bit" if self.is_8bit else "float"
        size = "x".join(map(str, self.shape))
        return f"Data({self.name!r}: {len(self)} {kind} images {size}, {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def is_8bit(self) -> bool:
        """Whether the pixels are 8-bit levels; if not, they came as floats."""
        return bool(self.images.dtype == np.uint8)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape, dtype, pixels, labels and ids, 64 hex digits."""
        digest = hashlib.sha256()
        head = f"{self.images.dtype.name} {list(self.images.shape)}"
        ids = (one.encode() for one in self.ids)
        _add(digest, len(head), [head.encode()])
        _add(digest, self.images.nbytes, self._pixels())
        _add(digest, self.labels.nbytes, [self.labels.astype("<i8", copy=False).data])
        for one in ids:
            _add(digest, len(one), [one])
        return digest.hexdigest()

    def _pixels(self) -> Iterator[memoryview]:
        """The bytes of all pixels, some images at a time."""
        # "<" fixes the byte order, so that the number is the same on every machine.
        little = "|u1" if self.is_8bit else "<f4"
        for part in chunks(self.images):
            yield self.images[part].astype(little, copy=False).data
            release(self.images)

    def subset(self, rows: Rows) -> Data:
        """The images at ``rows`` (indices, a slice or a bool mask), with their labels and ids.

        Rows that follow each other are a view; others are copied.
        """
        picked = np.atleast_1d(np.arange(len(self))[rows])
        part = object.__new__(Data)
        part.name, part.classes = self.name, self.classes
        part.images = gather(self.images, picked)
        part.labels = self.labels[picked]
        part.ids = tuple(self.ids[row] for row in picked)
        part._freeze()
        return part

    def middle(self, height: int, width: int) -> Data:
        """The middle window of every image, copied, with the same labels and ids; where it cannot
        stand in the middle exactly it is one pixel nearer to the upper left.

        Raises:
            BadRequest: the window is larger than the images.
        """
        tall, wide = self.shape[1:]
        if not (1 <= height <= tall and 1 <= width <= wide):
            raise BadRequest(
                f"{self.name}: images of {tall}x{wide} pixels have no window of {height}x{width}"
            )
        top, left = (tall - height) // 2, (wide - width) // 2
        part = object.__new__(Data)
        part.name, part.classes = self.name, self.classes
        part.labels, part.ids = self.labels, self.ids
        part.images = room((*self.images.shape[:2], height, width), self.images.dtype)
        for some in chunks(self.images):
            part.images[some] = self.images[some, :, top : top + height, left : left + width]
            release(self.images)
            release(part.images)
        part._freeze()
        return part

    def batch(self, rows: Rows) -> NDArray[np.float32]:
        """Pixels at ``rows`` as floats in [0, 1], [k, C, H, W]; a level v becomes v / 255."""
        picked = self.images[rows]
        if self.is_8bit:
            floats = np.divide(picked, np.float32(255), dtype=np.float32)
        else:
            floats = np.array(picked, dtype=np.float32)
        release(self.images)
        return np.asarray(floats)

    def batch_8bit(self, rows: Rows) -> NDArray[np.uint8]:
        """Pixels at ``rows`` as the nearest of the 256 levels, [k, C, H, W]."""
        picked = self.images[rows]
        if self.is_8bit:
            levels = np.array(picked, dtype=np.uint8)
        else:
            levels = np.rint(picked * np.float32(255)).astype(np.uint8)
        release(self.images)
        return np.asarray(levels)

    def take(self, n: int, seed: int = 0) -> Data:
        """``n`` images, classes in their proportion (largest remainder), in their old order.

        Which images of a class are taken hangs on the seed and their ids alone, not on the order
        of the data.

        Raises:
            BadRequest: ``n`` is below 1 or more than there are.
        """
        return self.subset(stratified(self.labels, self.ids, n, seed, self.name))


def _add(digest: hashlib._Hash, size: int, parts: Iterable[bytes | memoryview]) -> None:
    """One block as `identity.fingerprint` hashes it, its length in front, from its parts."""
    digest.update(size.to_bytes(8, "little"))
    for part in parts:
        digest.update(part)
