"""Data from image files: one folder a class, the classes in the order of their names.

Images of one size are read as they are. ``?size=32`` scales every image until its shorter side
fits and crops the middle (Pillow, bicubic). ``?resize=256&size=224`` does what torchvision's
evaluation does: the shorter side to 256 (``&interpolation=bilinear|bicubic``), then the middle 224.
``?mode=L`` or ``RGB``; the default is grey where every file is grey, RGB otherwise. Orientation
tags of cameras are not followed, transparency is dropped.

``?classes=imagenet`` takes the folders for some of ImageNet's 1,000 classes, by their names,
indices or WordNet ids (``giant panda``, ``388``, ``n02510455``), for a network that knows those.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from robustlab.data.categories import KNOWN, class_finder, class_names
from robustlab.data.listing import Listing
from robustlab.data.pictures import (
    INTERPOLATIONS,
    MODES,
    Crop,
    evaluation_crop,
    fit,
    header,
    images_in,
    is_image,
    read_picture,
)
from robustlab.data.query import known_options, one_of, pixels
from robustlab.errors import BadRequest

__all__ = ["PREPARING", "crop_of", "list_folder", "mode_by_headers", "subfolders"]

PREPARING = ("interpolation", "mode", "resize", "size")  # options of `crop_of` and of pixels


def list_folder(path: Path, options: Mapping[str, str]) -> Listing:
    """Every image under ``path``; an id is ``FOLDER/CLASS/FILE``.

    Without both ``size`` and ``mode`` the headers of all files are read, no pixel yet.

    Raises:
        BadRequest: no such folder, fewer than two classes, splits where classes should be, a class
            without images, a file that is no readable 8-bit image or is suspiciously large, images
            that differ in size; a folder that is none of the ``classes`` asked for.
    """
    where = f"folder:{path}"
    known_options(where, options, ("classes", *PREPARING))
    known = one_of(where, options, "classes", KNOWN)
    crop = crop_of(where, options, pixels(where, options, "resize"), pixels(where, options, "size"))
    mode = one_of(where, options, "mode", MODES)
    folders = _classes(path, alone=known is not None)
    label_of = class_finder(where) if known else folders.index
    places = [(label_of(name), path / name) for name in folders]
    found = [(label, file) for label, place in places for file in images_in(place)]
    files = tuple(file for _, file in found)
    if crop is None or mode is None:
        mode = mode_by_headers(f"folder:{path}", files, mode, any_size=crop is not None)
    name = path.resolve().name
    ids = tuple(f"{name}/{file.relative_to(path).as_posix()}" for file in files)
    labels = np.array([label for label, _ in found], dtype=np.int64)
    decode = partial(read_picture, mode=mode, crop=crop)
    return Listing(name, class_names() if known else tuple(folders), files, labels, ids, decode)


def crop_of(
    where: str, options: Mapping[str, str], resize: int | None, size: int | None
) -> Crop | None:
    """How ``?resize=``, ``?size=`` and ``?interpolation=`` together bring images to one size."""
    interpolation = one_of(where, options, "interpolation", INTERPOLATIONS)
    if resize is None:
        if interpolation is not None:
            raise BadRequest(f"{where}: interpolation goes with resize; add resize=256")
        return None if size is None else fit(size)
    if size is None or size > resize:
        raise BadRequest(
            f"{where}: resize={resize} scales the shorter side, size= crops the middle of that; "
            f"give a size of at most {resize}"
        )
    return evaluation_crop(resize, size, interpolation or INTERPOLATIONS[0])


def subfolders(path: Path) -> list[str]:
    """Names of the folders in ``path``, sorted, without the hidden ones."""
    found = (one.name for one in path.iterdir() if one.is_dir())
    return sorted(name for name in found if not name.startswith("."))


def _classes(path: Path, alone: bool = False) -> list[str]:
    """The class folders; ``alone``: whether one is enough, where the classes are known."""
    if not path.is_dir():
        raise BadRequest(f"folder:{path}: there is no such folder")
    found = subfolders(path)
    if not found:
        loose = " (the images in it belong to no class)" if _holds_images(path) else ""
        raise BadRequest(
            f"folder:{path}: there are no class folders{loose}; make one a class{_meant(path, [])}"
        )
    if len(found) == 1 and not alone:
        raise BadRequest(
            f"folder:{path}: {found[0]!r} is the only class folder, and one class cannot be "
            f"classified; make a second one beside it{_meant(path, found)}"
        )
    _refuse_splits(path, found)
    return found


def _refuse_splits(path: Path, found: list[str]) -> None:
    """``train/cat`` and ``val/cat``: read as classes, they would teach to tell train from val."""
    inner = {tuple(subfolders(path / name)) for name in found}
    classes = min(inner)
    if len(inner) > 1 or len(classes) < 2 or any(_holds_images(path / name) for name in found):
        return
    likely = next((name for name in ("val", "test") if name in found), found[0])
    raise BadRequest(
        f"folder:{path}: {', '.join(map(repr, found))} hold the same folders and no picture, so "
        f"they look like splits, not classes; did you mean 'folder:{path / likely}' with "
        f"{classes[0]!r}, {classes[1]!r}, ...? (If they are classes, put a picture straight into "
        "one)"
    )


def _holds_images(folder: Path) -> bool:
    return any(map(is_image, folder.iterdir()))


def _meant(path: Path, found: list[str]) -> str:
    """The folder below or above ``path`` that does hold several classes, if one does."""
    for other in [*(path / name for name in found), path.resolve().parent]:
        with contextlib.suppress(OSError):  # above may lie what only others may read
            holding = [name for name in subfolders(other) if _holds_images(other / name)]
            if len(holding) > 1:
                return f"; did you mean 'folder:{other}' with {holding[0]!r}, {holding[1]!r}, ...?"
    return ""


def mode_by_headers(where: str, files: Sequence[Path], mode: str | None, any_size: bool) -> str:
    """The mode that all files fit into, once they are known to be of one size."""
    all_grey, first = True, header(files[0])[1]
    for file in files:
        grey, size = header(file)
        all_grey = all_grey and grey
        if size != first and not any_size:
            raise BadRequest(
                f"{file}: this image is {size[0]}x{size[1]} pixels, the first one "
                f"{first[0]}x{first[1]}; bring all to one size with "
                f"'{where}?size={min(first)}'"
            )
    return mode or ("L" if all_grey else "RGB")
