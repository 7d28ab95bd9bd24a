"""A linear read-out of every layer: does the layer still tell the class of the changed image?

Each image is read by a logistic regression that has never seen it: images are dealt into folds by
their pixels, so that equal pictures share a fold, and a fold is read by what the others taught.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from robustlab.randomness import SampleRandom

__all__ = ["deal", "pooled", "read", "training_rows"]

Array = NDArray[Any]

CELLS = 512  # values of a map that a read-out is given: it is averaged to a coarser grid
SPREAD = 10.0  # root mean square length of what is fitted, so that the penalty weighs the same
COMPONENTS = 128  # principal components kept of more values than that
ENOUGH = 5  # images a fold that a read-out needs at least


def pooled(features: Tensor) -> Tensor:
    """A layer's features [n, C, h, w] or [n, d] as vectors float32 [n, values].

    Maps are averaged over cells to the finest square grid that leaves at most `CELLS` values, and
    to one value a channel where none does.
    """
    if features.ndim == 4:
        channels, *sides = features.shape[1:]
        grid = max(1, int((CELLS / channels) ** 0.5))
        if channels * sides[0] * sides[1] > CELLS:
            sizes = (min(sides[0], grid), min(sides[1], grid))
            features = functional.adaptive_avg_pool2d(features.float(), sizes)
    return features.flatten(1).float()


def deal(images: Array, folds: int, seed: int) -> Array:
    """The fold of each image, int [n] in [0, folds); decided by its pixels and the seed alone.

    Args:
        images: uint8 [n, C, H, W].
    """
    keys = [hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in images]
    return SampleRandom(seed, keys, "trace", "fold").integers(folds)


def training_rows(fold: Array, tested: int) -> Array:
    """Rows that may teach the read-out of the images in fold ``tested``: those of the others."""
    return np.flatnonzero(fold != tested)


def read(
    clean: Array, labels: Array, fold: Array, changed: Array, twin: Sequence[int]
) -> tuple[Array, Array] | None:
    """Classes read from clean images and from changed ones, each by folds it is not in.

    Args:
        clean: vectors [n, values], in an order that decides the last digits of a fit; labels,
            fold: int [n].
        changed: vectors [k, values] of the changed images; twin: of each its clean image's row.

    Returns:
        int [n] and int [k]; None where a fold would be taught by too few images or one class.
    """
    rows = np.asarray(twin, dtype=np.int64)
    said, said_changed = np.full(len(clean), -1), np.full(len(rows), -1)
    for one in np.unique(fold):
        teach, test = training_rows(fold, one), np.flatnonzero(fold == one)
        if len(teach) < ENOUGH or len(np.unique(labels[teach])) < 2:
            return None
        tell = _taught(clean[teach], labels[teach])
        said[test] = tell(clean[test])
        mine = np.flatnonzero(fold[rows] == one)
        if len(mine):
            said_changed[mine] = tell(changed[mine])
    return said, said_changed


def _taught(features: Array, labels: Array) -> Callable[[Array], Array]:
    """A logistic regression on centred features of one common scale.

    Not each value on its own scale: the pixels of a black background hardly vary, and dividing by
    that would make any noise on them count most.
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    wide = features.astype(np.float64)
    mean = wide.mean(axis=0)
    scale = float(np.sqrt(np.square(wide - mean).sum(axis=1).mean())) / SPREAD or 1.0

    def scaled(vectors: Array) -> Array:
        return np.asarray((vectors.astype(np.float64) - mean) / scale)

    steps: list[Any] = []
    if wide.shape[1] > COMPONENTS:
        steps.append(PCA(min(COMPONENTS, len(wide) - 1), svd_solver="full"))
    model = make_pipeline(*steps, LogisticRegression(max_iter=500))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 500 steps read as well as any more
        model.fit(scaled(wide), labels)
    return lambda vectors: np.asarray(model.predict(scaled(vectors)))
