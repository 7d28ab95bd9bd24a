"""The folder of one fooled picture: which files it holds, and how they come there.

Files are whole or absent. A folder that holds a file of such a name that is not from here, a
picture of the user's own called ``original.png``, is refused; other files in it are left alone.
The mark in a folder holds the question that its files answer: they are replaced by an answer to the
same question and by no other.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from robustlab import atomic
from robustlab.errors import BadRequest
from robustlab.fooled import Pixels

__all__ = [
    "FILES",
    "INDEX",
    "TOLD",
    "Question",
    "check_folder",
    "clear",
    "default_folder",
    "free_folder",
    "mark",
    "plain",
    "prepare",
    "write_picture",
]

TOLD = "fooled.json"  # the last to land: a folder with it is one of the lab's
FILES = (
    *("original.png", "fooled.png", "perturbation.png", "smallest.png", "way.png"),
    *("triptych.png", TOLD, "report.html"),
)
INDEX = "index.csv"  # of a folder of pictures, each with a folder of its own in it
_MARK = ".robustlab-fool"

Question = Mapping[str, Any]  # what decides the answer, by name; JSON-able


def default_folder(picture: str, target: str | None) -> Path:
    """``reports/out/fool-PICTURE-TARGET`` of the folder the user stands in; no target: ``any``."""
    return Path("reports") / "out" / f"fool-{plain(picture)}-{plain(target or 'any')}"


def plain(word: str) -> str:
    """A name as a part of a file's."""
    return re.sub(r"[^\w.@-]+", "_", word).strip("_.")[:80] or "picture"


def free_folder(folder: Path, question: Question) -> Path:
    """``folder``, or ``folder-2``, ``-3``, ...: the first that holds no other question's answer."""
    places = (folder if n == 1 else folder.with_name(f"{folder.name}-{n}") for n in count(1))
    return next(one for one in places if not _differing(one, question))


def check_folder(folder: Path, question: Question | None = None) -> None:
    """Refuse a place that cannot be used, before anything runs; nothing is written.

    Args:
        question: what is asked; None: not looked at.

    Raises:
        BadRequest: a file, or a folder that holds files of these names that are not the lab's, or
            that answer another question.
    """
    if folder.is_file():
        raise BadRequest(f"--out {folder} is a file; name a folder")
    there = _held(folder, question)
    if there and not (folder / _MARK).exists():
        raise BadRequest(
            f"{folder} holds {there}, which was not written by robustlab fool; "
            "choose another folder with --out"
        )
    told = _differing(folder, question) if question is not None else ""
    if told:
        raise BadRequest(
            f"{folder} holds the answer to another question ({told}), and would lose it; choose "
            "another folder with --out, or remove this one"
        )


def _held(folder: Path, question: Question | None) -> str:
    """The first file of an answer in a folder, of the kind that is asked for; empty: none."""
    names = (INDEX,) if question is not None and "pictures" in question else FILES
    return next((name for name in names if (folder / name).exists()), "")


def _differing(folder: Path, question: Question) -> str:
    """``eps 0.2, not 0.01``: how the question that was answered here differs; empty: not at all."""
    begun = "pictures" in question and any(folder.glob(f"*/{TOLD}"))
    if not (_held(folder, question) or begun) or not (folder / _MARK).is_file():
        return ""
    try:
        held = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        held = dict(held) if isinstance(held, dict) else {}
    except ValueError:
        held = {}
    asked = json.loads(json.dumps(question))
    if not held:
        return "which, its mark does not say"
    names = [name for name in {**asked, **held} if asked.get(name) != held.get(name)]
    return ", ".join(_apart(name, held.get(name), asked.get(name)) for name in names)


def _apart(name: str, held: Any, asked: Any) -> str:
    """Long values, as fingerprints, tell nobody anything."""
    plain_ = not any(isinstance(one, dict | list) or len(str(one)) > 40 for one in (held, asked))
    return f"{name} {held}, not {asked}" if plain_ else f"other {name}"


def prepare(folder: Path, question: Question) -> None:
    """Make the folder, and clear away what an earlier call of the same question left in it.

    Raises:
        BadRequest: it cannot be written to; see `check_folder`.
    """
    check_folder(folder, question)
    mark(folder, question)
    clear(folder)


def mark(folder: Path, question: Question) -> None:
    """Make the folder one of the lab's, with the question that its files are to answer.

    Raises:
        BadRequest: it cannot be written to.
    """
    atomic.make_folder(folder)
    text = json.dumps(question, indent=1, ensure_ascii=False)
    atomic.write(folder / _MARK, text.encode("utf-8", "replace"))


def clear(folder: Path) -> None:
    """Take away the files of `FILES`; what else lies in the folder stays."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def write_picture(file: Path, pixels: Pixels) -> None:
    """uint8 [C, H, W] as PNG."""
    from PIL import Image

    plain_ = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plain_)).save(buffer, "PNG", optimize=True)
    atomic.write(file, buffer.getvalue())
