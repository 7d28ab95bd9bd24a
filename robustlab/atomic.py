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

__all__ = ["create_exclusively", "file_lock", "make_folder", "sweep", "write"]

_SUFFIX = ".tmp"


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


def _cannot_write(path: Path, error: OSError) -> NoVerdict:
    return NoVerdict(
        f"cannot write {path}: {error.strerror}; what landed before is kept, "
        "make room and run the same command again"
    )


@contextlib.contextmanager
def _beside(path: Path, content: bytes) -> Iterator[Path]:
    """``content`` in a file beside ``path``, gone again unless it was renamed in the meantime."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def sweep(path: Path) -> None:
    """Remove what killed writers of ``path`` left beside it; for who alone may write it."""
    for left in path.parent.glob(f".{path.name}.*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            left.unlink()


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
    with _beside(path, content) as beside:
        os.replace(beside, path)
        _sync_folder(path.parent)


def create_exclusively(path: Path, content: bytes) -> bytes:
    """Create ``path`` unless another process was first; returns what the file holds now.

    `os.link` is the exclusive step: it fails where the name exists, and links a whole file.
    """
    with _beside(path, content) as beside:
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
        _sync_folder(path.parent)
        return path.read_bytes()


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Try to hold a lock on ``path``; yields False at once when another process holds it.

    The kernel releases the lock when its process dies, so `kill -9` leaves nothing behind.
    """
    import fcntl

    try:
        opened = path.open("ab")
    except OSError as error:
        raise _cannot_write(path, error) from None
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
