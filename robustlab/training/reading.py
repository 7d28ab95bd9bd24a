"""Reading TOML: a file by name or path, every key known, every value of its kind, no torch."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustlab.errors import BadRequest, choices

__all__ = ["at_least", "checked", "file_name", "kinds_of", "named", "names_in", "one_of"]

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


def names_in(folder: Path) -> list[str]:
    """Names of the TOML files that are shipped in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def named(noun: str, given: str | Path, shipped: Path) -> tuple[dict[str, Any], Path]:
    """The table of a shipped file, by its name, or of one's own by its path; and that path.

    Args:
        noun: what it is, for the error: "recipe".
    """
    text, path = str(given), Path(given).expanduser()
    if not text.endswith(".toml"):
        known = names_in(shipped)
        if text not in known:
            hint = choices(text, known)
            raise BadRequest(f"no {noun} {text!r}{hint} (or the path of a TOML file)")
        path = shipped / f"{text}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), path
    except OSError as error:
        raise BadRequest(f"{noun} {text} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadRequest(f"{noun} {text} is not TOML: {error}") from None


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
