"""Data from a numpy archive: arrays ``images`` and ``labels``, optionally ``classes`` and ``ids``.

Pickle is never read: an object array is refused, not executed.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from robustlab.data.dataset import Data
from robustlab.errors import BadRequest, choices

__all__ = ["load_npz"]

_TEXTS = ("classes", "ids")
_ARRAYS = ("images", "labels", *_TEXTS)


def load_npz(path: Path) -> Data:
    """Read one archive; the ids default to ``STEM/000123``.

    Raises:
        BadRequest: no such file, not an archive, damaged, an object array, or arrays missing.
    """
    if not path.is_file():
        raise BadRequest(f"npz:{path}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise BadRequest(
            f"npz:{path}: this is no .npz archive, or it is cut off; "
            "write it with numpy.savez(path, images=..., labels=...)"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            arrays = {name: archive[name] for name in names if name in _ARRAYS}
    except ValueError as error:
        if "pickle" not in str(error):
            raise BadRequest(f"npz:{path}: damaged archive ({error})") from None
        raise BadRequest(
            f"npz:{path}: it holds an array of Python objects, which would have to be unpickled; "
            "the lab never does. Save plain arrays: numbers for images and labels, "
            "numpy.array(names) of text for classes and ids"
        ) from None
    except (OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise BadRequest(f"npz:{path}: damaged archive ({error}); write it again") from None
    for needed in ("images", "labels"):
        if needed not in arrays:
            raise BadRequest(f"npz:{path}: there is no array {needed!r}{choices(needed, names)}")
    lists = {name: np.atleast_1d(arrays[name]).tolist() for name in _TEXTS if name in arrays}
    try:
        return Data(
            arrays["images"], arrays["labels"], lists.get("classes"), path.stem, lists.get("ids")
        )
    except BadRequest as error:
        raise error.inside(f"npz:{path}") from None
