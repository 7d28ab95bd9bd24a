"""Images that are known by name and not decoded yet: a choice costs only what it chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.data.dataset import Data
from robustlab.data.spill import chunks, release, room
from robustlab.data.stratified import stratified
from robustlab.errors import BadRequest

__all__ = ["Listing"]


@dataclass(frozen=True)
class Listing:
    """n image files with their labels.

    Attributes:
        files, labels, ids: n each; labels are int64.
        decode: from a file to uint8 [C, H, W], the same for all.
    """

    name: str
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    decode: Callable[[Path], NDArray[Any]]

    def take(self, n: int, seed: int = 0) -> Listing:
        """What `Data.take` would take of `read`, to be decoded alone."""
        rows = stratified(self.labels, self.ids, n, seed, self.name)
        return replace(
            self,
            files=tuple(self.files[row] for row in rows),
            labels=self.labels[rows],
            ids=tuple(self.ids[row] for row in rows),
        )

    def read(self) -> Data:
        """Decode image by image into a `room`.

        Raises:
            BadRequest: a file that cannot be read, or images that differ in size.
        """
        first = self.decode(self.files[0])
        images = room((len(self.files), *first.shape), np.uint8)
        for part in chunks(images):
            for row in range(len(images))[part]:
                pixels = self.decode(self.files[row])
                if pixels.shape != first.shape:
                    raise BadRequest(
                        f"{self.files[row]}: its pixels are {list(pixels.shape)}, those of the "
                        f"first image {list(first.shape)}; bring all to one size with ?size="
                    )
                images[row] = pixels
            release(images)
        return Data.adopt(images, self.labels, self.classes, self.name, self.ids)
