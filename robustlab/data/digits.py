"""The 1,797 handwritten digits that scikit-learn carries, drawn for networks of 32x32 input.

Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), the test part;
8x8 counts in 0..16. Each is drawn up to 20x20 (Pillow, bicubic, on 8-bit levels) and centred on a
black 32x32 canvas, the proportions of LeNet-5's MNIST (LeCun et al. 1998). No network access.

The split into 1,077 / 360 / 360 was made once and for all by hashing, stratified by class. The
source does not name the writers, so one writer's digits may lie in all three splits: accuracies
are those on known hands.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from robustlab.data.dataset import Data
from robustlab.data.stratified import quotas, rank
from robustlab.errors import BadRequest, choices

__all__ = ["SPLITS", "digits"]

SPLITS = {"train": 1077, "val": 360, "test": 360}
_CANVAS, _DRAWN = 32, 20
_SHUFFLE = "robustlab digits split, version 1"


@cache
def _all() -> Data:
    from PIL import Image
    from sklearn.datasets import load_digits

    raw, labels = load_digits(return_X_y=True)
    levels = np.rint(raw.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = np.zeros((len(levels), 1, _CANVAS, _CANVAS), dtype=np.uint8)
    edge = (_CANVAS - _DRAWN) // 2
    inner = slice(edge, edge + _DRAWN)
    for image, small in zip(images, levels, strict=True):
        drawn = Image.fromarray(small).resize((_DRAWN, _DRAWN), Image.Resampling.BICUBIC)
        image[0, inner, inner] = np.asarray(drawn)
    ids = [f"digits/{split}/{index:06d}" for index, split in enumerate(_split(labels.tolist()))]
    return Data(images, labels, 10, "digits", ids)


def _split(labels: list[int]) -> list[str]:
    """The split of each digit, by scikit-learn's index."""
    members = [[i for i, label in enumerate(labels) if label == k] for k in range(10)]
    counts = [len(rows) for rows in members]
    split = ["train"] * len(labels)
    shares = zip(
        members, quotas(counts, SPLITS["test"]), quotas(counts, SPLITS["val"]), strict=True
    )
    for rows, test, val in shares:
        shuffled = sorted(rows, key=lambda index: rank(_SHUFFLE, str(index)))
        for index in shuffled[:test]:
            split[index] = "test"
        for index in shuffled[test : test + val]:
            split[index] = "val"
    return split


@cache
def digits(split: str = "") -> Data:
    """``"train"``, ``"val"``, ``"test"``, or all of them in scikit-learn's order with ``""``."""
    if not split:
        return _all()
    if split not in SPLITS:
        raise BadRequest(f"digits has no split {split!r}{choices(split, SPLITS)}")
    rows = [row for row, one in enumerate(_all().ids) if one.startswith(f"digits/{split}/")]
    part = _all().subset(rows)
    part.name = f"digits:{split}"
    return part
