"""Attacks and probes by name: the decorator that registers them, and the binding of parameters.

A name is a shipped one (``pgd``), another library's (``foolbox:L2CarliniWagnerAttack``) or a user's
own (``./mine.py:my_attack``). A shipped module is imported when one of its names is asked for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from robustlab import catalogue, shelf
from robustlab.errors import BadRequest, choices
from robustlab.identity import (
    canonical,
    code_fingerprint,
    identity,
    imported_beside,
    source_fingerprint,
)

__all__ = ["Registered", "bind", "described", "probe", "resolve"]

T = TypeVar("T", bound=Callable[..., Any])

_REGISTERED: dict[str, Registered] = {}
_LOADED: dict[Path, str] = {}  # a user's file -> fingerprint of what was executed
_USER_MODULE = "robustlab_user_"  # how the modules of users' files are called
# Prefix -> module whose `resolve(name)` returns a Registered: another library's attacks by name.
_BRIDGES = {"foolbox": "robustlab.adversarial.foolbox_bridge"}


@dataclass(frozen=True)
class Registered:
    """One attack (a class) or probe (a function).

    Attributes:
        scope: ``"sample"``: images are independent and may be split; ``"set"``: it learns from all.
        version: raised by its author when the same parameters mean other numbers.
        library: another library and its version, where the attack is not the lab's own.
    """

    name: str
    obj: Callable[..., Any]
    scope: str = "sample"
    version: int = 1
    library: str = ""

    @property
    def kind(self) -> str:
        """``"attack"``, ``"clean"`` or ``"probe"``."""
        if hasattr(self.obj, "search"):
            return "attack"
        return "clean" if self.name == "clean" else "probe"

    @property
    def source(self) -> str:
        """Fingerprint of the file it stands in and of the machinery it runs on."""
        files = [*(shelf.HOME / "adversarial").glob("*.py"), shelf.HOME / "randomness.py"]
        helpers = _helpers(self.obj)
        own = code_fingerprint(self.obj)
        return identity([source_fingerprint(files), own, source_fingerprint(helpers), self.library])


def _helpers(obj: Any) -> list[Path]:
    """What a user's own file imports from its folder decides numbers too."""
    if not obj.__module__.startswith(_USER_MODULE):
        return []
    return imported_beside(Path(_place(obj)[0] or "."), _USER_MODULE)


def probe(name: str, *, scope: str = "sample", version: int = 1) -> Callable[[T], T]:
    """Register a function ``(backbone, data, *, params) -> Outcome`` or an `Attack` subclass.

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
        _REGISTERED[name] = Registered(name, obj, scope, version)
        return obj

    return register


def _place(obj: Any) -> tuple[str, str]:
    """File and qualified name: running a cell or a module again is no clash."""
    return getattr(sys.modules.get(obj.__module__), "__file__", "") or "", obj.__qualname__


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


@dataclass(frozen=True)
class _Slot:
    annotation: Any
    default: Any
    required: bool


def _slots(obj: Callable[..., Any]) -> dict[str, _Slot]:
    """Parameters of an attack class (dataclass fields) or of a probe (keyword-only arguments)."""
    if is_dataclass(obj):
        hints = typing.get_type_hints(obj)
        return {f.name: _Slot(hints[f.name], f.default, f.default is MISSING) for f in fields(obj)}
    try:
        hints = typing.get_type_hints(obj)
    except NameError:  # hints of names that exist for type checkers only: taken as they are
        hints = {}
    keywords = [p for p in inspect.signature(obj).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {
        p.name: _Slot(hints.get(p.name, Any), p.default, p.default is p.empty) for p in keywords
    }


def bind(registered: Registered, params: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a probe, defaults included, checked by name, type and range.

    Raises:
        BadRequest: unknown, missing or wrongly typed parameter, or a value out of range.
    """
    slots = _slots(registered.obj)
    for name in params:
        if name not in slots:
            raise BadRequest(
                f"unknown parameter {name!r} of {registered.name!r}{choices(name, slots)}"
            )
    bound = {}
    for name, slot in slots.items():
        if name not in params and slot.required:
            raise BadRequest(
                f"{registered.name!r} needs a parameter {name!r}; "
                f"`robustlab show {registered.name}` tells what it is"
            )
        value = params.get(name, slot.default)
        bound[name] = _conform(value, slot.annotation, name, registered.name)
    if registered.kind == "attack":
        try:
            made = registered.obj(**bound)
        except BadRequest as error:
            raise error.inside(repr(registered.name)) from None
        bound = {name: getattr(made, name) for name in slots}
    return bound


def _conform(value: Any, annotation: Any, name: str, owner: str) -> Any:
    """``value`` as ``annotation`` asks: an int passes for a float, one eps for a list of them."""
    if isinstance(value, np.generic):
        value = value.item()
    if annotation == list[str] and not isinstance(value, list | tuple):
        value = [value]
    if annotation == list[str]:
        value = [str(one) for one in value]
    what = f"parameter {name!r} of {owner!r}"
    if not _is(value, annotation):
        raise BadRequest(f"{what} must be {_type_name(annotation)}, not {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequest(f"{what} must be finite, not {value!r}")
    try:
        canonical(value)
    except (TypeError, ValueError):
        raise BadRequest(
            f"{what} must be text, a flag, a finite number or a list of these, not {value!r}"
        ) from None
    return _as_float(value, annotation)


def _as_float(value: Any, annotation: Any) -> Any:
    """An int where only a float is asked for becomes one, so that 1 and 1.0 are the same cell."""
    if typing.get_origin(annotation) in (list, tuple) and isinstance(value, list | tuple):
        inner = (typing.get_args(annotation) or (Any,))[0]
        return [_as_float(one, inner) for one in value]
    accepts_int = annotation in (int, Any) or int in typing.get_args(annotation)
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_int and not accepts_int and _is(0.5, annotation) else value


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _is(value: Any, annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, option) for option in typing.get_args(annotation))
    if origin is typing.Literal:
        return value in typing.get_args(annotation)
    if origin in (list, tuple):
        inner = [a for a in typing.get_args(annotation) if a is not Ellipsis] or [Any]
        return isinstance(value, list | tuple) and all(_is(one, inner[0]) for one in value)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation) if isinstance(annotation, type) else True


def described(name: str) -> catalogue.Entry:
    """A registered name as a catalogue entry, for what no source file of the lab describes."""
    found = resolve(name)
    hints = _slots(found.obj)
    file = Path(inspect.getsourcefile(found.obj) or "")
    written = catalogue.class_parameters(file, getattr(found.obj, "__base__", type).__name__)
    parameters = tuple(
        catalogue.Parameter(
            key,
            _type_name(slot.annotation),
            None if slot.required else slot.default,
            written[key].doc if key in written else "",
            slot.required,
        )
        for key, slot in hints.items()
    )
    facts = {key: getattr(found.obj, key, None) for key in ("norms", "knowledge", "paper")}
    doc = inspect.getdoc(found.obj) or ""
    return catalogue.Entry(
        found.name, found.kind, found.obj.__module__, file, doc, parameters, facts
    )
