"""Files that are whole or absent: write beside, fsync, rename, fsync the folder.

Needs a POSIX file system (or Windows without the folder fsync). Accepts the cost of two fsyncs a
file, a few milliseconds, because a run is worth minutes to hours.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from robustlab.errors import BadRequest, NoVerdict

__all__ = ["create_exclusively", "file_lock", "make_folder", "write"]


def make_folder(path: Path) -> None:
    """Create a folder and its parents; an unusable place is told in a sentence."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadRequest(
            f"cannot write to the folder {path}: {error.strerror}; "
            "free it or choose another with --out"
        ) from None


def _beside(path: Path, content: bytes) -> Path:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise NoVerdict(
            f"cannot write {path}: {error.strerror}; what landed before is kept, "
            "make room and run the same command again"
        ) from None
    return beside


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` so that a reader sees the old file or the new one."""
    beside = _beside(path, content)
    os.replace(beside, path)
    _sync_folder(path.parent)


def create_exclusively(path: Path, content: bytes) -> bytes:
    """Create ``path`` unless another process was first; returns what the file holds now.

    `os.link` is the exclusive step: it fails where the name exists, and links a whole file.
    """
    beside = _beside(path, content)
    try:
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    _sync_folder(path.parent)
    return path.read_bytes()


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Try to hold a lock on ``path``; yields False at once when another process holds it.

    The kernel releases the lock when its process dies, so `kill -9` leaves nothing behind.
    """
    import fcntl

    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
