"""The folder of one fooled picture: which files it holds, and how they come there.

Files are whole or absent. A folder that holds a file of such a name that is not from here, a
picture of the user's own called ``original.png``, is refused; other files in it are left alone.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from robustlab import atomic
from robustlab.errors import BadRequest
from robustlab.fooled import Pixels

__all__ = [
    "FILES",
    "TOLD",
    "check_folder",
    "clear",
    "default_folder",
    "plain",
    "prepare",
    "write_picture",
]

TOLD = "fooled.json"  # the last to land: a folder with it is one of the lab's
FILES = (
    *("original.png", "fooled.png", "perturbation.png", "smallest.png", "way.png"),
    *("triptych.png", TOLD, "report.html"),
)
_MARK = ".robustlab-fool"


def default_folder(picture: str, target: str | None) -> Path:
    """``reports/out/fool-PICTURE-TARGET`` of the folder the user stands in; no target: ``any``."""
    return Path("reports") / "out" / f"fool-{plain(picture)}-{plain(target or 'any')}"


def plain(word: str) -> str:
    """A name as a part of a file's."""
    return re.sub(r"[^\w.@-]+", "_", word).strip("_.")[:80] or "picture"


def check_folder(folder: Path) -> None:
    """Refuse a place that cannot be used, before anything runs; nothing is written.

    Raises:
        BadRequest: a file, or a folder that holds files of these names that are not the lab's.
    """
    if folder.is_file():
        raise BadRequest(f"--out {folder} is a file; name a folder")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not (folder / _MARK).exists():
        raise BadRequest(
            f"{folder} holds {there[0]}, which was not written by robustlab fool; "
            "choose another folder with --out"
        )


def prepare(folder: Path) -> None:
    """Make the folder, and clear away what an earlier call left in it.

    Raises:
        BadRequest: it cannot be written to; see `check_folder`.
    """
    check_folder(folder)
    atomic.make_folder(folder)
    atomic.write(folder / _MARK, b"robustlab fool writes here\n")
    clear(folder)


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
