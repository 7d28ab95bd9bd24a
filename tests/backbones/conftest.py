"""A server of files on this machine, in place of the hosts of published weights."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` by name; ``kept_back`` is how many bytes an answer lacks at its end."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.kept_back = 0
        self.asked: list[str] = []

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def add(self, stem: str, content: bytes, end: str = "pth") -> str:
        """Put a file there, the first digits of its hash in its name; returns its address."""
        name = f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}.{end}"
        self.files[name] = content
        return self.address(name)

    def handle_error(self, *_: Any) -> None:
        """Nothing on stderr where a client hangs up on a cut-off answer."""


class Answer(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path.strip("/"))
        content = self._head()
        self.wfile.write(content[: max(0, len(content) - self.server.kept_back)])

    def do_HEAD(self) -> None:
        self._head()

    def _head(self) -> bytes:
        content = self.server.files.get(self.path.strip("/"))
        if content is None:
            self.send_error(404)
            return b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        # What the Hugging Face hub says of a file.
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        return content

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def hub(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder in which torch.hub keeps weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def saved() -> Callable[[object], bytes]:
    """Bytes of what `torch.save` writes."""

    def save(content: object) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    return save
