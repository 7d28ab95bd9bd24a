"""Published files, downloaded on demand: whole and checked, or absent.

torchvision downloads and unpacks into a hidden folder beside the place, and checks each archive's
MD5 before it unpacks it; then every file lands by write, fsync and rename. Only a killed process
leaves the hidden folder (``.download-...``) behind, which nobody reads.
"""

from __future__ import annotations

import http.client
import socket
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from robustlab import atomic
from robustlab.errors import BadRequest, NoVerdict

__all__ = ["Archive", "Place"]

_SILENCE = 60  # seconds without a byte, after which a server counts as absent
_TROUBLE = (
    OSError,  # no network, no such host, a refusal (urllib's errors are of this kind), a full disk
    RuntimeError,  # torchvision's word for a wrong MD5
    ValueError,  # an address that is none
    EOFError,
    zlib.error,
    tarfile.TarError,
    http.client.HTTPException,
)


@dataclass(frozen=True)
class Archive:
    """One file to download: its addresses in the order in which they are tried, and its MD5."""

    addresses: tuple[str, ...]
    name: str
    md5: str


@dataclass(frozen=True)
class Place:
    """Where a published set is looked for: under ``root``, from where it may be downloaded or not.

    ``where`` stands in front of errors.
    """

    where: str
    root: Path
    download: bool

    def complete(
        self, missing: Sequence[Path], archives: Sequence[Archive], folder: Path = Path()
    ) -> None:
        """Bring the files ``missing``, by their paths under the root.

        Args:
            archives: what holds them.
            folder: where under the root the archives unpack.

        Raises:
            BadRequest: it may not be, or did not work; then only files that are whole have landed.
        """
        if not missing:
            return
        if not self.download:
            raise BadRequest(
                f"{self._absent(missing, archives)}; allow the download by leaving out "
                "download=false, or put the files there, or name their root with ?root=PATH"
            )
        try:
            self._bring(missing, archives, folder)
        except (*_TROUBLE, NoVerdict) as error:
            reason = getattr(error, "reason", None) or error
            raise BadRequest(
                f"{self._absent(missing, archives)}; downloading them failed ({reason}). Connect "
                "to the network and give the same command again, or put the files there, or name "
                "the root they lie in with ?root=PATH or the variable ROBUSTLAB_DATA"
            ) from None

    def _bring(self, missing: Sequence[Path], archives: Sequence[Archive], folder: Path) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".download-", dir=self.root) as beside,
            _impatient(),
        ):
            for archive in archives:
                _download(archive, Path(beside) / folder)
            for file in missing:
                (self.root / file).parent.mkdir(parents=True, exist_ok=True)
                atomic.write(self.root / file, (Path(beside) / file).read_bytes())

    def _absent(self, missing: Sequence[Path], archives: Sequence[Archive]) -> str:
        """Which files are missing, where they are looked for, and who has them."""
        hosts = dict.fromkeys(
            urlsplit(one).hostname or one for a in archives for one in a.addresses
        )
        folder = self.root / missing[0].parent
        return (
            f"{self.where}: missing in {folder}: {', '.join(file.name for file in missing)}; "
            f"torchvision gets them from {' or '.join(hosts)}"
        )


def _download(archive: Archive, folder: Path) -> None:
    """From the first address that gives the right bytes; raises what the last one raised."""
    from torchvision.datasets.utils import download_and_extract_archive

    for address in archive.addresses:
        try:
            download_and_extract_archive(
                address, str(folder), filename=archive.name, md5=archive.md5
            )
            return
        except _TROUBLE as error:
            if isinstance(error, HTTPError):
                error.close()  # it is the server's answer as well, with a socket
            if address == archive.addresses[-1]:
                raise


@contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
