"""What a thing is, as a number: canonical JSON (RFC 8785 in spirit) hashed with SHA-256.

Equal content gives equal identity on every machine: keys are sorted, floats are written by `repr`
(the shortest text that reads back to the same double), NaN and infinities are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["canonical", "fingerprint", "identity", "source_fingerprint"]


def canonical(value: Any) -> str:
    """The one JSON text of ``value`` (dict, list, tuple, str, int, finite float, bool, None)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def identity(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def fingerprint(parts: Iterable[bytes | bytearray | memoryview]) -> str:
    """SHA-256 over byte blocks, each preceded by its length so that no two splits collide."""
    digest = hashlib.sha256()
    for part in parts:
        view = memoryview(part)
        digest.update(view.nbytes.to_bytes(8, "little"))
        digest.update(view)
    return digest.hexdigest()


def source_fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 of source files' bytes, in the order of their names: numbers depend on code too."""
    ordered = sorted(set(paths), key=lambda path: path.name)
    return fingerprint(path.read_bytes() for path in ordered)
