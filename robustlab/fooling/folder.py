"""A folder of pictures: which they are, and where each one's own folder lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from robustlab.errors import BadRequest
from robustlab.fooling.keeping import Question, check_folder, default_folder, free_folder, plain
from robustlab.fooling.pictures import Picture, pictures_in, read_file

__all__ = ["folders_of", "place_of", "readable"]


def readable(folder: Path, check: Callable[[Picture], None]) -> list[Path]:
    """The pictures in ``folder``, each read once, one at a time, so that a broken one is told
    before anything is written.

    Args:
        check: refuses a picture that was read.

    Raises:
        BadRequest: there are none, or one cannot be read or is refused; it is named.
    """
    found = pictures_in(folder)
    for file in found:
        picture = read_file(file)
        try:
            check(picture)
        except BadRequest as error:
            raise error.inside(str(file)) from None
    return found


def place_of(
    folder: Path, out: str | Path | None, target: str | int | None, question: Question
) -> Path:
    """Where the folders of the pictures in ``folder`` go: ``out``, or one that is free.

    Raises:
        BadRequest: ``out`` answers another question.
    """
    named = default_folder(folder.resolve().name, None if target is None else str(target))
    place = Path(out) if out else free_folder(named, question)
    check_folder(place, question)
    return place


def folders_of(pictures: Sequence[Path], place: Path) -> list[tuple[Path, Path]]:
    """(picture, folder for it below ``place``): called like the picture; with its extension where
    two would share a name.

    Raises:
        BadRequest: one of them cannot be used.
    """
    times = Counter(plain(file.stem).lower() for file in pictures)
    names = [plain(f.stem if times[plain(f.stem).lower()] == 1 else f.name) for f in pictures]
    found = [(file, place / name) for file, name in zip(pictures, names, strict=True)]
    for _, inside in found:
        check_folder(inside)
    return found
