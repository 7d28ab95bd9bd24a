"""Attacks and probes by name, and the decorator that registers them.

A name is a shipped one (``pgd``), another library's (``foolbox:L2CarliniWagnerAttack``) or a user's
own (``./mine.py:my_attack``). A shipped module is imported when one of its names is asked for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from robustlab import catalogue, shelf
from robustlab.errors import BadRequest, choices
from robustlab.identity import (
    code_fingerprint,
    identity,
    imported_beside,
    source_fingerprint,
)

__all__ = ["Registered", "bridged", "own_names", "probe", "resolve"]

# What numbers depend on whatever the probe: searches and verification, and the functions that the
# lab's own layers call, which no fingerprint of a network's classes holds.
_MACHINERY = ("adversarial", "backbones/lectures", "pooling")
_PROBES = ("arithmetic", "filters", "invariance")  # rooms that use each other

T = TypeVar("T", bound=Callable[..., Any])

_REGISTERED: dict[str, Registered] = {}
_LOADED: dict[Path, str] = {}  # a user's file -> fingerprint of what was executed
_USER_MODULE = "robustlab_user_"  # how the modules of users' files are called
# Prefix -> module whose `resolve(name)` returns a Registered and whose `names()` lists what there
# is: another library's attacks by name.
_BRIDGES = {"foolbox": "robustlab.adversarial.foolbox_bridge"}


@dataclass(frozen=True)
class Registered:
    """One attack (a class) or probe (a function).

    Attributes:
        scope: ``"sample"``: images are independent and may be split; ``"set"``: it learns from all.
        version: raised by its author when the same parameters mean other numbers.
        library: another library and its version, where the attack is not the lab's own.
        check: called as the probe is, before anything runs; it raises BadRequest.
        folders: parameters that name a folder of the user's, "" for none: looked for beside the
            suite first, and what lies in it decides the numbers.
        uses: names of attacks that a probe runs, whose code decides its numbers too; ``{attack}``
            stands for what its parameter ``attack`` says.
    """

    name: str
    obj: Callable[..., Any]
    scope: str = "sample"
    version: int = 1
    library: str = ""
    check: Callable[..., None] | None = None
    folders: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``"attack"``, ``"clean"`` or ``"probe"``."""
        if hasattr(self.obj, "search"):
            return "attack"
        return "clean" if self.name == "clean" else "probe"

    @property
    def source(self) -> str:
        """Fingerprint of the file it stands in and of the machinery it runs on."""
        rooms = {*_MACHINERY, *_room(self.obj)}
        found = [file for room in rooms for file in (shelf.HOME / room).rglob("*.py")]
        files = [*found, *(shelf.HOME / f"{name}.py" for name in ("hooks", "randomness"))]
        helpers = _helpers(self.obj)
        own = code_fingerprint(self.obj)
        return identity([source_fingerprint(files), own, source_fingerprint(helpers), self.library])


def _room(obj: Any) -> tuple[str, ...]:
    """The rooms that a shipped probe stands in or beside: their files decide numbers too."""
    parts = obj.__module__.split(".")
    if parts[0] != "robustlab":
        return ()
    # Nobody uses the room of fooling; it uses the others.
    return (*_PROBES, "fooling") if parts[1] == "fooling" else _PROBES * (parts[1] in _PROBES)


def _helpers(obj: Any) -> list[Path]:
    """What a user's own file imports from its folder decides numbers too."""
    if not obj.__module__.startswith(_USER_MODULE):
        return []
    return imported_beside(Path(_place(obj)[0] or "."), _USER_MODULE)


def probe(
    name: str,
    *,
    scope: str = "sample",
    version: int = 1,
    check: Callable[..., None] | None = None,
    folders: tuple[str, ...] = (),
    uses: tuple[str, ...] = (),
) -> Callable[[T], T]:
    """Register a function ``(backbone, data, *, params) -> Outcome`` or an `Attack` subclass.

    ``check(backbone, data, **params)`` may refuse what cannot run, with a `BadRequest`, before
    anything of the suite runs. Parameters named in ``folders`` are paths of folders: looked for
    beside the suite first, and a run is computed anew where a picture in one has changed. So it is
    where the code of an attack in ``uses`` has changed: names, or ``"{attack}"`` for the one that
    the parameter ``attack`` names.

    Example::

        @robustlab.probe("contrast")
        def contrast(backbone, data, *, factor: float = 0.5): ...
    """
    if scope not in ("sample", "set"):
        raise BadRequest(f"probe {name!r}: unknown scope {scope!r}; there is sample, set")

    def register(obj: T) -> T:
        known, shipped = _REGISTERED.get(name), catalogue.entries().get(name)
        owner = None
        if known is not None and _place(known.obj) != _place(obj):
            owner = _place(known.obj)[0] or "code typed in before"
        if shipped is not None and shipped.module != obj.__module__:
            owner = str(shipped.file)
        if owner is not None:
            raise BadRequest(f"probe {name!r} is already registered by {owner}; rename yours")
        _REGISTERED[name] = Registered(name, obj, scope, version, "", check, folders, uses)
        return obj

    return register


def _place(obj: Any) -> tuple[str, str]:
    """File and qualified name: running a cell or a module again is no clash."""
    return getattr(sys.modules.get(obj.__module__), "__file__", "") or "", obj.__qualname__


def own_names(kind: str) -> list[str]:
    """Names of ``kind`` that users registered in this process, in the order they did."""
    shipped = catalogue.entries()
    return [r.name for r in _REGISTERED.values() if r.kind == kind and r.name not in shipped]


def bridged(prefix: str) -> list[str] | None:
    """All attacks of another library as ``foolbox:NAME``; None where there is no such bridge.

    Imports the library.
    """
    if prefix not in _BRIDGES:
        return None
    return [f"{prefix}:{name}" for name in importlib.import_module(_BRIDGES[prefix]).names()]


def resolve(name: str) -> Registered:
    """Find an attack or probe by its name, importing the file it stands in.

    Raises:
        BadRequest: no such name; the nearest one is given.
    """
    if ".py:" in name:
        return _from_file(name)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _BRIDGES:
        bridge = importlib.import_module(_BRIDGES[prefix])
        found: Registered = bridge.resolve(rest)
        return found
    if name not in _REGISTERED:
        entry = catalogue.entries().get(name)
        if entry is None:
            known = {*catalogue.entries(), *_REGISTERED}
            raise BadRequest(
                f"unknown attack or probe {name!r}{choices(name, known)} "
                "(`robustlab list attacks` shows all)"
            )
        importlib.import_module(entry.module)
    return _REGISTERED[name]


def _from_file(reference: str) -> Registered:
    path_text, _, name = reference.rpartition(":")
    path = Path(path_text).resolve()
    if not path.is_file():
        raise BadRequest(f"{path_text} is not a file; write ./mine.py:name, seen from {Path.cwd()}")
    content = source_fingerprint([path])
    edited = path in _LOADED and _LOADED[path] != content
    if edited or name not in _registered_by(path):
        _execute(path, path_text)
        _LOADED[path] = content
    own = _registered_by(path)
    if name not in own:
        raise BadRequest(f"{path_text} registers no probe {name!r}{choices(name, own)}")
    return own[name]


def _registered_by(path: Path) -> dict[str, Registered]:
    return {k: r for k, r in _REGISTERED.items() if _place(r.obj)[0] == str(path)}


def _execute(path: Path, path_text: str) -> None:
    """Run a user's file as a module of its own; what it registered before is forgotten."""
    module_name = f"{_USER_MODULE}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BadRequest(f"{path_text} cannot be imported as Python")
    for name in _registered_by(path):
        del _REGISTERED[name]
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.parent))  # so that it may import what lies beside it
    try:
        spec.loader.exec_module(module)
    except BadRequest as error:
        raise error.inside(path_text) from None
    except (Exception, SystemExit) as error:
        raise BadRequest(f"{path_text}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
