"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100, in the folders that torchvision's readers use.

``NAME:train|val|test?root=PATH&download=false&pad=2``. The root is ``?root=``, or else the variable
ROBUSTLAB_DATA, or else ``robustlab/data`` in the user's cache. What is missing there is downloaded
from where torchvision has it, so a folder of torchvision's will do (see `fetch`). ``pad`` puts as
many black pixels on each side: LeNet-5 takes MNIST's 28x28 images as 32x32 (LeCun et al. 1998).

``val`` is cut from the official training set once and for all by hashing ids, stratified by class;
``train`` is the rest. An id holds the official set and the index in it, ``mnist/train/012345``, for
val too, so the same image has the same id whatever it serves for.

CIFAR and MNIST are held to the published checksums, Fashion-MNIST to its counts and form and, where
its files are packed, to theirs (see `official`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustlab.data.dataset import Data
from robustlab.data.query import known_options, one_of, pixels
from robustlab.data.stratified import stratified
from robustlab.errors import BadRequest, choices

__all__ = ["PARTS", "PUBLISHED", "load_published"]

PARTS = ("train", "val", "test")
_SHUFFLE = "robustlab validation split, version 1"


@dataclass(frozen=True)
class Published:
    """A set's class in torchvision.datasets, its official sizes, and how many images val takes."""

    reader: str
    train: int
    test: int
    val: int


PUBLISHED = {
    "mnist": Published("MNIST", 60_000, 10_000, 6_000),
    "fashion-mnist": Published("FashionMNIST", 60_000, 10_000, 6_000),
    "cifar10": Published("CIFAR10", 50_000, 10_000, 5_000),
    "cifar100": Published("CIFAR100", 50_000, 10_000, 5_000),
}


def load_published(name: str, part: str, options: Mapping[str, str]) -> Data:
    """uint8 [n, C, H, W], C 1 or 3, in the official order.

    Raises:
        BadRequest: no such split; files missing that cannot be downloaded; a damaged file.
    """
    # Here, because they import the network's modules, which no other source needs.
    from robustlab.data.fetch import Place
    from robustlab.data.official import read_batches, read_idx_files

    if part not in PARTS:
        there = choices(part, PARTS) if part else "; there is " + ", ".join(PARTS)
        what = f"{name} has no split {part!r}" if part else f"name a split of {name}"
        raise BadRequest(f"{what}{there}; write {name + ':test'!r}")
    where = f"{name}:{part}"
    known_options(where, options, ("download", "pad", "root"))
    pad = pixels(where, options, "pad", least=0) or 0
    root = Path(options["root"]).expanduser() if "root" in options else _root()
    place = Place(where, root, one_of(where, options, "download", ("true", "false")) != "false")
    official = "test" if part == "test" else "train"
    read = read_idx_files if name.endswith("mnist") else read_batches
    images, labels, classes = read(place, PUBLISHED[name].reader, official)
    count = getattr(PUBLISHED[name], official)
    if len(images) != count or len(labels) != count:
        raise BadRequest(
            f"{where}: {len(images)} images and {len(labels)} labels lie under {root}, the "
            f"published set has {count} of each; remove those files, then they are downloaded again"
        )
    ids = [f"{name}/{official}/{index:06d}" for index in range(count)]
    rows = np.arange(count)
    if part != "test":
        val = stratified(labels, ids, PUBLISHED[name].val, _SHUFFLE, name)
        rows = val if part == "val" else np.setdiff1d(rows, val)
    chosen = np.pad(images[rows], ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return Data(chosen, labels[rows], classes, where, [ids[row] for row in rows])


def _root() -> Path:
    if own := os.environ.get("ROBUSTLAB_DATA"):
        return Path(own).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "robustlab" / "data"
