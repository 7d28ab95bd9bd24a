"""The official files of the published sets, as torchvision names them: idx files and CIFAR batches.

CIFAR is published as pickle, which can execute what it likes: a file is handed to torchvision only
if its MD5 is the published one, and torchvision looks at the MD5 once more before it reads.

MNIST's files are known by the SHA-256 of what they unpack to, packed again or not. Of Fashion-MNIST
torchvision knows the MD5 of the packed files alone: those are held to it, while files that lie
there unpacked must have the right form, 28x28 and (see `published`) the right counts, no more.
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

__all__ = ["SHA256", "read_batches", "read_idx_files"]

Found = tuple[NDArray[Any], NDArray[Any], list[str]]  # uint8 [n, C, H, W], labels, class names
_PREFIX = {"train": "train", "test": "t10k"}
_SIDE = 28
# Of the unpacked files, by torchvision's reader.
SHA256 = {
    "MNIST": {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }
}


def read_idx_files(place: Place, reader: str, official: str) -> Found:
    """MNIST and its like: two files a set, packed or not; the other set may be missing.

    Raises:
        BadRequest: a damaged file, one with another checksum where one is known, or images that
            are not 28x28.
    """
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
    known = SHA256.get(reader, {})
    for file in archives:
        packed = place.root / file.with_name(f"{file.name}.gz")
        if file.name not in known and find_idx(place.root / file) == packed:
            _check_md5(packed, archives[file].md5)
    images, labels = (
        read_idx(place.root / folder / name, dimensions, known.get(name))
        for name, dimensions in (
            (f"{_PREFIX[official]}-images-idx3-ubyte", 3),
            (f"{_PREFIX[official]}-labels-idx1-ubyte", 1),
        )
    )
    if images.shape[1:] != (_SIDE, _SIDE):
        raise BadRequest(
            f"{place.where}: the images under {place.root / folder} have "
            f"{'x'.join(map(str, images.shape[1:]))} pixels, the published ones {_SIDE}x{_SIDE}; "
            "remove those files, then they are downloaded again"
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
            f"{file}: this is not the published file (MD5 {found} instead of {md5}), so it is "
            "not opened; remove it, then it is downloaded again"
        )
