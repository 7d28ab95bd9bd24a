"""Randomness per image: each image has its own stream, keyed by seed, image id and purpose.

So no outcome depends on which images share a batch, on their order, or on how a run is split.
Streams are NumPy's counter-based Philox (Salmon et al. 2011) under a 128-bit BLAKE2 key; the same
key gives the same numbers on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SampleRandom"]


def _generator(*key: object) -> np.random.Generator:
    text = "\x1f".join(str(part) for part in key)
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class SampleRandom:
    """Independent random streams for a batch of images.

    Args:
        seed: seed of the suite.
        ids: stable ids of the images, length n.
        purpose: anything else that tells streams apart, as ``("start", restart)``.
    """

    def __init__(self, seed: int, ids: Sequence[str], *purpose: object) -> None:
        self._streams = [_generator(seed, one, *purpose) for one in ids]

    def __len__(self) -> int:
        return len(self._streams)

    def narrow(self, rows: Sequence[int]) -> SampleRandom:
        """The same streams for some of the images, where they stand now."""
        narrowed = SampleRandom(0, ())
        narrowed._streams = [self._streams[row] for row in rows]
        return narrowed

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> NDArray[Any]:
        """Uniform float64 numbers in [low, high), shape [n, *shape]."""
        return self._stack([s.uniform(low, high, tuple(shape)) for s in self._streams], shape)

    def normal(self, shape: Sequence[int]) -> NDArray[Any]:
        """Standard normal float64 numbers, shape [n, *shape]."""
        return self._stack([s.standard_normal(tuple(shape)) for s in self._streams], shape)

    def exponential(self, shape: Sequence[int]) -> NDArray[Any]:
        """Standard exponential float64 numbers, shape [n, *shape]."""
        return self._stack([s.standard_exponential(tuple(shape)) for s in self._streams], shape)

    def integers(self, high: int) -> NDArray[np.int64]:
        """One integer in [0, high) an image, shape [n]."""
        return np.array([int(s.integers(high)) for s in self._streams], dtype=np.int64)

    @staticmethod
    def _stack(drawn: list[NDArray[Any]], shape: Sequence[int]) -> NDArray[Any]:
        return np.stack(drawn) if drawn else np.empty((0, *shape))
