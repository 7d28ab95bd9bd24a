"""Pictures and labels from a table: ``csv:PATH``, a row a picture, the names of columns on top.

``csv:images.csv?file=ImageId&label=TrueLabel&first=1&classes=imagenet&resize=224&size=224``.
``file`` is the column of the picture's name, as seen from the table's folder, its extension left
out or not (default ``file``); ``label`` that of its class (default ``label``). With
``classes=imagenet`` a label is one of the 1,000 classes, by its name, index or WordNet id;
``first=1`` says that indices count from 1. Without it the classes are the labels themselves,
sorted. ``size``, ``resize``, ``interpolation`` and ``mode`` are those of ``folder:PATH``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from robustlab.data.categories import KNOWN, class_finder, class_names
from robustlab.data.folder import PREPARING, crop_of, mode_by_headers
from robustlab.data.listing import Listing
from robustlab.data.pictures import MODES, is_image, read_picture
from robustlab.data.query import known_options, one_of, pixels
from robustlab.errors import BadRequest, choices

__all__ = ["list_table"]

_OPTIONS = ("classes", "file", "first", "label", *PREPARING)


def list_table(path: Path, options: Mapping[str, str]) -> Listing:
    """Every row of the table; an id is ``FOLDER/FILE``, the file as the table names it.

    Raises:
        BadRequest: no such table, column, picture or class, the same picture twice, images that
            differ in size, a table without rows or with one class only.
    """
    where = f"csv:{path}"
    known_options(where, options, _OPTIONS)
    known = one_of(where, options, "classes", KNOWN)
    first = int(one_of(where, options, "first", ("0", "1")) or 0)
    if "first" in options and not known:
        raise BadRequest(f"{where}: first={first} counts indices; add classes=imagenet")
    crop = crop_of(where, options, pixels(where, options, "resize"), pixels(where, options, "size"))
    mode = one_of(where, options, "mode", MODES)
    rows = _rows(where, path, options.get("file", "file"), options.get("label", "label"))
    files = tuple(_picture(where, path.parent, name) for name, _ in rows)
    _each_once(where, files)
    if crop is None or mode is None:
        mode = mode_by_headers(where, files, mode, any_size=crop is not None)
    names = class_names() if known else tuple(sorted({label for _, label in rows}))
    if len(names) < 2:
        raise BadRequest(
            f"{where}: {names[0]!r} is the only class, and one class cannot be classified; for "
            "some of ImageNet's classes add classes=imagenet"
        )
    find = _counted(where, first) if known else names.index
    labels = [_told(where, number, label, find) for number, (_, label) in enumerate(rows, 2)]
    folder = path.resolve().parent.name
    return Listing(
        folder,
        names,
        files,
        np.array(labels, dtype=np.int64),
        tuple(f"{folder}/{name}" for name, _ in rows),
        partial(read_picture, mode=mode, crop=crop),
    )


def _rows(where: str, path: Path, file: str, label: str) -> list[tuple[str, str]]:
    """(file, label) of every row, stripped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as table:
            reader = csv.DictReader(table, strict=True)
            head = list(reader.fieldnames or ())
            for name, option in ((file, "file"), (label, "label")):
                if name not in head:
                    raise BadRequest(
                        f"{where}: there is no column {name!r}{choices(name, head)} "
                        f"(name it by ?{option}=COLUMN)"
                    )
            rows = [((row[file] or "").strip(), (row[label] or "").strip()) for row in reader]
    except FileNotFoundError:
        raise BadRequest(f"{where}: there is no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"{where}: no readable table ({error}); save it as CSV, UTF-8") from None
    if not rows:
        raise BadRequest(f"{where}: there are no rows under the names of the columns")
    for number, row in enumerate(rows, 2):
        if not all(row):
            raise BadRequest(f"{where}, row {number}: {file if not row[0] else label!r} is empty")
    return rows


def _picture(where: str, folder: Path, name: str) -> Path:
    """The file that a row names, with its extension or without."""
    file = folder / name
    if file.is_file():
        return file
    found = [
        one for one in sorted(file.parent.glob("*")) if is_image(one) and one.stem == file.name
    ]
    if len(found) == 1:
        return found[0]
    told = f"; there is {', '.join(one.name for one in found)}: say which" if found else ""
    raise BadRequest(f"{where}: there is no picture {str(file)!r}{told}")


def _each_once(where: str, files: tuple[Path, ...]) -> None:
    seen: set[Path] = set()
    for file in files:
        if file in seen:
            raise BadRequest(f"{where}: {file.name!r} stands in two rows; name each picture once")
        seen.add(file)


def _counted(where: str, first: int) -> Callable[[str], int]:
    """Classes of ImageNet, indices counted from ``first``."""
    find = class_finder(where)

    def index(text: str) -> int:
        if first and text.isascii() and text.isdecimal():
            if int(text) < first:
                raise BadRequest(f"{where}: label {text} is below first={first}")
            return find(str(int(text) - first))
        return find(text)

    return index


def _told(where: str, number: int, label: str, find: Callable[[str], int]) -> int:
    try:
        return find(label)
    except BadRequest as error:
        raise error.inside(f"row {number}") from None
