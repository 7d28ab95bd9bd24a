"""What a thing is, as a number: canonical JSON (RFC 8785 in spirit) hashed with SHA-256.

Equal content gives equal identity on every machine: keys are sorted, floats are written by `repr`
(the shortest text that reads back to the same double), NaN and infinities are refused.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from robustlab import shelf

__all__ = [
    "canonical",
    "code_fingerprint",
    "fingerprint",
    "identity",
    "imported_beside",
    "source_fingerprint",
]


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
    """SHA-256 of source files' names and bytes, wherever they lie: numbers depend on code too."""
    ordered = sorted((path.name.encode(), path.read_bytes()) for path in set(paths))
    return fingerprint(block for name_and_bytes in ordered for block in name_and_bytes)


def code_fingerprint(obj: Any) -> str:
    """SHA-256 of the file a function or class stands in, or of its own code where it was typed into
    a notebook or a shell.
    """
    try:
        file = inspect.getsourcefile(obj)
    except (OSError, TypeError):  # a class that has no file
        file = None
    if file is not None and Path(file).is_file():
        return source_fingerprint([Path(file)])
    try:
        return identity(inspect.getsource(obj))
    except (OSError, TypeError):
        return identity(_code(obj))


def _code(obj: Any) -> list[Any]:
    """The byte code of a function, or of a class's functions, and the plain values in it."""
    if inspect.isclass(obj):
        members = sorted(vars(obj).items())
        return [[k, _code(v) if callable(v) else repr(v)] for k, v in members if k[:2] != "__"]
    code = obj if inspect.iscode(obj) else getattr(obj, "__code__", None)
    if code is None:
        return [repr(obj)]
    constants = [_code(c) if inspect.iscode(c) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]


def imported_beside(file: Path, but: str) -> list[Path]:
    """Files of the modules in ``file``'s folder, or below it, that have been imported by now.

    Needed or not; what is installed, and modules whose name begins with ``but``, are left out.
    """
    home = file.resolve().parent
    modules = [module for name, module in list(sys.modules.items()) if not name.startswith(but)]
    names = {getattr(module, "__file__", None) or "" for module in modules}
    # A relative name is made up (torch has some); a user's file may lie above an environment.
    paths = [Path(name) for name in names if name.endswith(".py") and Path(name).is_absolute()]
    installed = [shelf.HOME, shelf.attacks(), *map(Path, sysconfig.get_paths().values())]
    return [
        path.resolve()
        for path in paths
        if path.resolve().is_relative_to(home)
        and path.is_file()
        and not {"site-packages", "dist-packages"} & set(path.parts)
        and not any(path.is_relative_to(one) for one in installed)
    ]
