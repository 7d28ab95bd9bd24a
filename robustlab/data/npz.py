"""Data from a numpy archive: arrays ``images`` and ``labels``, optionally ``classes`` and ``ids``.

``classes`` are names, or one integer, their number. Pickle is never read: an object array is
refused, not executed. 8-bit images are unpacked piece by piece into a `room`, so that many of them
never lie in memory.
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.data.dataset import Data
from robustlab.data.spill import chunks, release, room
from robustlab.errors import BadRequest, choices

__all__ = ["load_npz"]

_ARRAYS = ("images", "labels", "classes", "ids")
_DAMAGE = (
    OSError,
    EOFError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def load_npz(path: Path) -> Data:
    """Read one archive; the ids default to ``STEM/000123``.

    Raises:
        BadRequest: no such file, not an archive, damaged, packed in a way that cannot be unpacked
            (a password, an unknown method), an object array, or arrays missing.
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
            arrays = {name: archive[name] for name in names if name in _ARRAYS[1:]}
            if "images" in names:
                streamed = _stream(archive.zip)
                arrays["images"] = archive["images"] if streamed is None else streamed
    except ValueError as error:
        if "pickle" not in str(error):
            raise BadRequest(f"npz:{path}: damaged archive ({error})") from None
        raise BadRequest(
            f"npz:{path}: it holds an array of Python objects, which would have to be unpickled; "
            "the lab never does. Save plain arrays: numbers for images and labels, "
            "numpy.array(names) of text for classes and ids"
        ) from None
    except _DAMAGE as error:
        raise BadRequest(f"npz:{path}: damaged archive ({error}); write it again") from None
    except RuntimeError as error:  # zipfile's word for a password, or a method it does not know
        raise BadRequest(
            f"npz:{path}: it cannot be unpacked ({error}); write it again with "
            "numpy.savez_compressed(path, images=..., labels=...)"
        ) from None
    for needed in ("images", "labels"):
        if needed not in arrays:
            raise BadRequest(f"npz:{path}: there is no array {needed!r}{choices(needed, names)}")
    try:
        ids = _texts(arrays["ids"]) if "ids" in arrays else None
        classes = _classes(arrays["classes"]) if "classes" in arrays else None
        return Data(arrays["images"], arrays["labels"], classes, path.stem, ids)
    except BadRequest as error:
        raise error.inside(f"npz:{path}") from None


def _classes(array: NDArray[Any]) -> int | list[Any]:
    """Their number, where it is a single integer, or else their names."""
    if array.ndim == 0 and array.dtype.kind in "iu":
        return int(array)
    return _texts(array)


def _texts(array: NDArray[Any]) -> list[Any]:
    """A list, of text where the array is of bytes."""
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"a name is not UTF-8 ({error}); save names as text") from None
    return list(np.atleast_1d(array).tolist())


def _stream(archive: zipfile.ZipFile) -> NDArray[Any] | None:
    """The archive's images, uint8 and C-contiguous; None where they are anything else."""
    if "images.npy" not in archive.namelist():
        return None
    with archive.open("images.npy") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            return None
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        # A header that promises more than is there is left to numpy, which refuses it.
        promised = math.prod(shape) > archive.getinfo("images.npy").file_size
        if dtype != np.uint8 or fortran or not shape or promised:
            return None
        images = room(shape, np.uint8)
        for part in chunks(images):
            piece = file.read(images[part].nbytes)
            images[part] = np.frombuffer(piece, np.uint8).reshape(images[part].shape)
            release(images)
        file.read()  # to the end, where the checksum is compared
    return images
