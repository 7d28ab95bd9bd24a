"""Published weights: fetched once into torch.hub's folder, their hash checked at every use.

The first digits of a file's SHA-256 stand in its name, as torch.hub has it. torch.hub itself checks
them while it downloads alone; a file that somebody put there by hand may be cut off as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import torch

from robustlab.errors import BadRequest

__all__ = ["fetch", "unreachable", "ways_out"]

_HASH = re.compile(r"-([0-9a-f]{8,})\.[a-z]+$")
_PATIENCE = 30.0  # seconds a silent server is waited for


def fetch(url: str, network: str, megabytes: float | None = None) -> Path:
    """Where the file of ``url`` lies, after a download if it was not there.

    Args:
        network: the reference it belongs to, for the error; of its options ``weights`` alone,
            where it decides more than numbers.
        megabytes: its size, where it is known.

    Raises:
        BadRequest: it cannot be fetched, or its content is not that of its hash. What has come of
            it is removed.
    """
    address = urlparse(url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(address.path).name
    found = _HASH.search(path.name)
    digits = found[1] if found else ""
    if path.is_file():
        _check_hash(path, digits, network)
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(
            f"network {network!r}: the folder of its weights, {path.parent}, cannot be made: "
            f"{error.strerror}; set TORCH_HOME to another"
        ) from None
    try:
        with _patience():
            torch.hub.download_url_to_file(url, str(path), digits, progress=sys.stderr.isatty())
    except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
        size = f" ({megabytes:g} MB)" if megabytes else ""
        raise BadRequest(
            f"network {network!r}: its weights {path.name}{size} are not in {path.parent} and "
            f"{address.hostname} does not give them: {_reason(error)}; "
            f"put the file into that folder, or {ways_out(network)}"
        ) from None
    return path


def unreachable(address: str) -> str:
    """Why nobody can be reached there, or nothing: for clients that would try for a minute."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_PATIENCE).close()
    except urllib.error.HTTPError as error:  # somebody is there
        error.close()
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror | ConnectionError | TimeoutError):
            return str(error.reason)
    except (OSError, http.client.HTTPException):  # the client may know how to go on
        return ""
    return ""


def ways_out(network: str) -> str:
    """What to do without published weights."""
    untrained = f"{network.partition('?')[0]}?weights=none"
    return f"name a copy as 'file:PATH#{network}', or take '{untrained}' (untrained)"


def _check_hash(path: Path, digits: str, network: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(digits):
        raise BadRequest(
            f"network {network!r}: {path} is damaged or not what its name says: its SHA-256 begins "
            f"with {digest[: len(digits)]}; remove it, and it is fetched again"
        )


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """A time limit on sockets that have none: torch.hub would wait for a silent server for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(before or _PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, RuntimeError):  # torch.hub's word for a wrong hash
        return "what came is cut off or altered, its hash is not the one in its name"
    return str(getattr(error, "reason", error) or type(error).__name__)
