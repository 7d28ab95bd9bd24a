"""The official files of the published sets, as torchvision names them: idx files and CIFAR batches.

CIFAR is published as pickle, which can execute what it likes: a file is handed to torchvision only
if its MD5 is the published one, and torchvision looks at the MD5 once more before it reads.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
from numpy.typing import NDArray

from robustlab.data.fetch import Archive, Place
from robustlab.data.idx import find_idx, read_idx
from robustlab.errors import BadRequest

__all__ = ["read_batches", "read_idx_files"]

Found = tuple[NDArray[Any], NDArray[Any], list[str]]  # uint8 [n, C, H, W], labels, class names
_PREFIX = {"train": "train", "test": "t10k"}


def read_idx_files(place: Place, reader: str, official: str) -> Found:
    """MNIST and its like: two files a set, packed or not; the other set may be missing."""
    from torchvision import datasets

    source = getattr(datasets, reader)
    folder = Path(reader, "raw")
    archives = {
        folder / name.removesuffix(".gz"): Archive(
            tuple(urljoin(mirror, name) for mirror in source.mirrors), name, md5
        )
        for name, md5 in source.resources
        if name.startswith(_PREFIX[official])
    }
    missing = [file for file in archives if find_idx(place.root / file) is None]
    place.complete(missing, [archives[file] for file in missing], folder)
    images, labels = (
        read_idx(place.root / folder / f"{_PREFIX[official]}-{kind}-ubyte", dimensions)
        for kind, dimensions in (("images-idx3", 3), ("labels-idx1", 1))
    )
    classes = [str(name).partition(" - ")[0] for name in source.classes]  # "0 - zero" is MNIST's 0
    return images[:, None], labels.astype(np.int64), classes


def read_batches(place: Place, reader: str, official: str) -> Found:
    """CIFAR: all batches must be there and be the published ones, to the bit."""
    from torchvision import datasets

    source = getattr(datasets, reader)
    folder = Path(source.base_folder)
    published = {folder / name: md5 for name, md5 in [*source.train_list, *source.test_list]}
    published[folder / source.meta["filename"]] = source.meta["md5"]
    missing = [file for file in published if not (place.root / file).is_file()]
    place.complete(missing, [Archive((source.url,), source.filename, source.tgz_md5)])
    for file, md5 in published.items():
        _check_md5(place.root / file, md5)
    with warnings.catch_warnings():
        # NumPy 2.4.0 warns of how the files of 2009 spell a dtype; that is no news to their user.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        found = source(str(place.root), train=official == "train", download=False)
    images = np.asarray(found.data).transpose(0, 3, 1, 2)
    return images, np.asarray(found.targets, dtype=np.int64), list(found.classes)


def _check_md5(file: Path, md5: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise BadRequest(
            f"{file}: this is not the published file (MD5 {found} instead of {md5}); it is a "
            "pickle, which could execute anything, so it is not opened; remove it, then it is "
            "downloaded again"
        )
