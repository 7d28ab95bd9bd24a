"""Parameters bound to a probe: every name, type and range checked before anything runs."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustlab import catalogue
from robustlab.errors import BadRequest, choices
from robustlab.identity import canonical
from robustlab.registry import Registered, resolve

__all__ = ["bind", "described"]


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
    cost = _passes(found.obj, hints) if found.kind == "attack" else ""
    return catalogue.Entry(
        found.name, found.kind, found.obj.__module__, file, doc, parameters, facts, cost
    )


def _passes(cls: Any, slots: Mapping[str, _Slot]) -> str:
    """Passes with all defaults, as text; empty where a parameter without one decides them.

    Nothing is checked: what is missing on this machine must not keep an attack from being shown.
    """
    made = object.__new__(cls)
    for name, slot in slots.items():
        if not slot.required:
            object.__setattr__(made, name, slot.default)
    try:
        text = str(made.passes())
    except AttributeError:
        return ""
    return text if getattr(cls, "bounded", True) else f"{text}; a guess, it has no end of its own"
