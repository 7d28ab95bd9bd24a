"""A folder of pictures: which they are, and where each one's own folder lies."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooling.keeping import Question, check_folder, plain
from robustlab.fooling.pictures import Picture, pictures_in, read_file

__all__ = ["folders_of", "question_of", "readable"]


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


def question_of(pictures: Sequence[Path], backbone: Backbone, asked: Mapping[str, Any]) -> Question:
    """What is asked of a whole folder: the files as they are, the network, and all that was said.

    Args:
        asked: of `robustlab.fool`, by name.
    """
    told = {name: value for name, value in asked.items() if name not in ("command", "others")}
    others = [getattr(one, "name", one) for one in asked.get("others") or ()]
    return {
        **{name: None if value is None else str(value) for name, value in sorted(told.items())},
        "others": [str(one) for one in others],
        "backbone": backbone.name,
        "weights": backbone.fingerprint,
        "pictures": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in pictures},
    }


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
