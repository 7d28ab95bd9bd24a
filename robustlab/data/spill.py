"""Room for many images: in memory, or on disk where they would fill it.

Arrays of more than `SPILL` bytes are memory maps of a file without a name: it is unlinked while it
is open, so the space is free again when the array goes, whatever ends the process. It lies in
``$TMPDIR``, or else in ``/var/tmp``, because ``/tmp`` is kept in memory on many machines. The space
is reserved at once, so that a full disk is an error here and not a crash later.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest

__all__ = ["SPILL", "chunks", "gather", "release", "room"]

Array = NDArray[Any]
SPILL = 256 * 2**20
_CHUNK = 16 * 2**20  # bytes that are copied or hashed at a time


def _folder() -> Path:
    usual = "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()
    return Path(os.environ.get("TMPDIR") or usual)


def room(shape: Sequence[int], dtype: Any) -> Array:
    """An array to be filled, C-contiguous: in memory up to `SPILL` bytes, a memory map beyond.

    Raises:
        BadRequest: the disk has too little space.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= SPILL:
        return np.empty(tuple(shape), dtype)
    folder = _folder()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, dtype, "r+", shape=tuple(shape))
    except OSError as error:
        raise BadRequest(
            f"{size / 2**30:.1f} GiB of images do not fit into {folder}: {error.strerror}; free "
            "space, point TMPDIR to a folder on a larger disk, or take fewer images (take)"
        ) from None


def release(array: Array) -> None:
    """Give a memory map's pages back to the system; the next look reads them again.

    Other arrays are left alone, and so is a map that keeps changes to itself (copy on write).
    """
    owner: Any = array
    while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
        owner = owner.base  # a plain view of a map
    mapped = getattr(owner, "_mmap", None)
    if mapped is not None and owner.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def chunks(array: Array) -> Iterator[slice]:
    """Slices along the first axis of about 16 MiB each."""
    step = max(1, _CHUNK // max(1, array[:1].nbytes))
    return (slice(start, start + step) for start in range(0, len(array), step))


def gather(source: Array, rows: NDArray[np.intp]) -> Array:
    """``source[rows]``: a view where the rows follow each other, else a `room` of their own."""
    if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return source[rows[0] : rows[0] + len(rows)]
    taken = room((len(rows), *source.shape[1:]), source.dtype)
    for part in chunks(taken):
        taken[part] = source[rows[part]]
        release(source)
        release(taken)
    return taken
