"""The idx files of MNIST: a magic number, big-endian sizes, then bytes. Read whole or refused."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest

__all__ = ["find_idx", "read_idx"]

_MOST = 2**28  # bytes; MNIST's largest file has 2**25.5, and a gzip file may unpack to anything
_BYTES = 8  # idx's number for unsigned bytes


def find_idx(path: Path) -> Path | None:
    """``path``, or the packed file beside it, ``path.gz``; None where neither is there."""
    packed = path.with_name(f"{path.name}.gz")
    return next((file for file in (path, packed) if file.is_file()), None)


def read_idx(path: Path, dimensions: int, sha256: str | None = None) -> NDArray[Any]:
    """uint8 of as many dimensions, read-only, from what `find_idx` finds.

    Args:
        sha256: of the unpacked file, where it is known.

    Raises:
        BadRequest: another kind of file, one whose length is not what its header says, or another
            SHA-256.
    """
    file = find_idx(path) or path
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            content = opened.read(_MOST)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(file, str(error)) from None
    start = 4 + 4 * dimensions
    if len(content) < start or content[:4] != bytes((0, 0, _BYTES, dimensions)):
        raise _damaged(file, f"it is no idx file of bytes in {dimensions} dimensions")
    shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, 4)]
    if len(content) != start + math.prod(shape):
        promised = "x".join(map(str, shape))
        raise _damaged(file, f"its header says {promised} bytes, {len(content) - start} are there")
    if sha256 and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise _damaged(file, f"its SHA-256 is {found}, the published file's {sha256}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _damaged(file: Path, why: str) -> BadRequest:
    return BadRequest(f"{file}: damaged, {why}; remove it, then it is downloaded again")
