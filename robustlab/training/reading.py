"""Reading tables of TOML: every key known, every value of its kind. Needs no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from robustlab.errors import BadRequest, choices

__all__ = ["at_least", "checked", "file_name", "kinds_of", "one_of"]

_KINDS = {
    "int": int,
    "float": float,
    "float | None": float,
    "str": str,
    "bool": bool,
    "tuple[str, ...]": list,
}
_SAID = {
    dict: "a table",
    str: "text",
    int: "a whole number",
    bool: "true or false",
    list: "a list of texts",
}


def kinds_of(table: type[Any]) -> dict[str, type]:
    """Field -> kind of value, of a dataclass that is a table of the file."""
    return {one.name: _KINDS[str(one.type)] for one in dataclasses.fields(table)}


def checked(
    where: str, table: Mapping[str, Any], known: Mapping[str, type], needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The table with every key known and of its kind; a whole number may stand for a float."""
    found = dict(table)
    for key, value in table.items():
        if key not in known:
            raise BadRequest(f"unknown key {key!r} in {where}{choices(key, known)}")
        kind = known[key]
        if kind is float and type(value) is int:
            found[key] = float(value)
        elif not _is_of(value, kind):
            raise BadRequest(f"{key} = {value!r} in {where} must be {_SAID.get(kind, 'a number')}")
        elif kind is list:
            found[key] = tuple(value)
    for key in needed:
        if key not in found:
            raise BadRequest(f"{where} lacks the key {key!r}")
    return found


def _is_of(value: Any, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(type(one) is str for one in value)
    return type(value) is kind


def at_least(what: str, value: Any, least: float) -> Any:
    """The value, finite and at least ``least``."""
    if not (math.isfinite(value) and value >= least):
        raise BadRequest(f"{what} = {value} must be finite and at least {least}")
    return value


def one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is none of the known."""
    if value not in known:
        raise BadRequest(f"{what} = {value!r} is unknown{choices(value, known)}")


def file_name(name: str) -> str:
    """A name that files may bear."""
    if not name or name.startswith(".") or any(one in name for one in "/\\:#?"):
        raise BadRequest(f"name = {name!r} must do as a file name, without / \\ : # ?")
    return name
