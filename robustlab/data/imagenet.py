"""ImageNet (ILSVRC 2012) from a folder, in the usual layouts, prepared as torchvision evaluates.

``imagenet:PATH?split=val&size=224&resize=256&interpolation=bilinear|bicubic&mode=RGB|L``. PATH
holds ``val`` (or another split) with a folder a synset in it, ``val/n01440764/*.JPEG``, or is such
a split itself. ``resize`` is 256/224 of the size where it is not given. A label is torchvision's
class index: the place of the synset's WordNet id among the sorted 1,000; the class names are
torchvision's. Nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from robustlab.data.categories import class_names
from robustlab.data.folder import crop_of, subfolders
from robustlab.data.listing import Listing
from robustlab.data.pictures import MODES, images_in, is_image, read_picture
from robustlab.data.query import known_options, one_of, pixels
from robustlab.errors import BadRequest, choices

__all__ = ["class_names", "list_imagenet"]

_CLASSES = 1000
_OPTIONS = ("interpolation", "mode", "resize", "size", "split")
_SYNSET = re.compile(r"n\d{8}")
_SPLITS = ("train", "val", "test")
_TEXT, _BINARY = "LOC_synset_mapping.txt", "meta.bin"  # Kaggle's list and torchvision's


def list_imagenet(path: Path, options: Mapping[str, str]) -> Listing:
    """Every image of the split; an id is ``imagenet/SYNSET/FILE``, wherever the folder lies.

    Raises:
        BadRequest: no such folder or split, no synset folders, or fewer than 1,000 of them and no
            list that says which index each has.
    """
    where = f"imagenet:{path}"
    known_options(where, options, _OPTIONS)
    size = pixels(where, options, "size") or 224
    resize = pixels(where, options, "resize") or round(size * 256 / 224)
    crop = crop_of(where, options, resize, size)
    mode = one_of(where, options, "mode", MODES) or "RGB"
    folder = _split_folder(where, path, options.get("split"))
    synsets = _synsets(where, folder)
    index = _index(where, path, folder, synsets)
    found = [(index[name], file) for name in synsets for file in images_in(folder / name)]
    files = tuple(file for _, file in found)
    ids = tuple(f"imagenet/{file.relative_to(folder).as_posix()}" for file in files)
    split = folder.resolve().name
    return Listing(
        f"imagenet:{split}" if split in _SPLITS else "imagenet",
        class_names(),
        files,
        np.array([label for label, _ in found], dtype=np.int64),
        ids,
        partial(read_picture, mode=mode, crop=crop),
    )


def _split_folder(where: str, path: Path, split: str | None) -> Path:
    if not path.is_dir():
        raise BadRequest(f"{where}: there is no such folder")
    found = subfolders(path)
    if any(map(_SYNSET.fullmatch, found)):
        if split not in (None, path.resolve().name):
            raise BadRequest(
                f"{where}: synset folders lie in it, so it is a split itself and has no "
                f"{split!r}; leave out split="
            )
        return path
    split = split or "val"
    if split not in found:
        raise BadRequest(f"{where}: it holds no folder {split!r}{choices(split, found)}")
    return path / split


def _synsets(where: str, folder: Path) -> list[str]:
    found = [name for name in subfolders(folder) if _SYNSET.fullmatch(name)]
    if found:
        return found
    flat = any(map(is_image, folder.iterdir()))
    raise BadRequest(
        f"{where}: {folder} holds no synset folders such as n01440764; "
        + (
            "its images lie flat, as the validation archive unpacks: sort them into synset "
            "folders first (torchvision.datasets.ImageNet does)"
            if flat
            else "for folders of other names use 'folder:PATH'"
        )
    )


def _index(where: str, path: Path, folder: Path, synsets: list[str]) -> dict[str, int]:
    """The class index of each synset: its place among all 1,000."""
    listed = synsets
    if len(synsets) < _CLASSES:
        listed = _mapping(where, path, folder, len(synsets))
    if len(listed) != _CLASSES:
        raise BadRequest(
            f"{where}: there are {len(listed)} synsets, ILSVRC 2012 has {_CLASSES:,}; "
            "the index of a class is its place among exactly those"
        )
    index = {name: place for place, name in enumerate(listed)}
    for name in synsets:
        if name not in index:
            raise BadRequest(f"{where}: the synset {name!r} is none of ILSVRC 2012's; move it away")
    return index


def _mapping(where: str, path: Path, folder: Path, there: int) -> list[str]:
    """Sorted WordNet ids from the first list that lies beside the images."""
    places = [path, path.resolve().parent, folder.parent]
    for place in places:
        if (place / _TEXT).is_file():
            lines = (place / _TEXT).read_text(encoding="utf-8", errors="replace").splitlines()
            ids = {line.partition(" ")[0] for line in lines if line.strip()}
        elif (place / _BINARY).is_file():
            ids = _read_binary(place / _BINARY)
        else:
            continue
        if strange := sorted(one for one in ids if not _SYNSET.fullmatch(one)):
            raise BadRequest(f"{where}: the synset list in {place} holds {strange[0]!r}, no synset")
        return sorted(ids)
    raise BadRequest(
        f"{where}: {there} of {_CLASSES:,} synset folders are there, so their order does not tell "
        f"the class index; put {_TEXT} (Kaggle's) or {_BINARY} (torchvision's) into {path}"
    )


def _read_binary(file: Path) -> set[str]:
    """torchvision's ``meta.bin``, (names of each id, ids of the images), read without pickle."""
    import torch

    try:
        return {str(one) for one in torch.load(file, weights_only=True)[0]}
    except Exception as error:  # UnpicklingError, RuntimeError, TypeError, ... by what it holds
        raise BadRequest(
            f"{file}: no synset list of torchvision ({type(error).__name__}); "
            f"remove it and put {_TEXT} there"
        ) from None
