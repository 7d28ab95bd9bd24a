"""Options written behind a question mark, ``folder:cats?size=32&mode=L``; the network references
use the same form. Plain text: no percent decoding, so a path keeps its plus signs and spaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from robustlab.errors import BadRequest, choices

__all__ = ["known_options", "one_of", "pixels", "split_query"]


def split_query(text: str) -> tuple[str, dict[str, str]]:
    """``"name?a=1&b=x"`` -> ``("name", {"a": "1", "b": "x"})``.

    Raises:
        BadRequest: an option without a value, or given twice.
    """
    name, mark, query = text.partition("?")
    options: dict[str, str] = {}
    for part in query.split("&") if mark else ():
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise BadRequest(f"{text!r}: option {part!r} is not of the form name=value")
        if key in options:
            raise BadRequest(f"{text!r}: option {key!r} is given twice")
        options[key] = value
    return name, options


def known_options(where: str, options: Mapping[str, str], names: Collection[str]) -> None:
    """Refuse an option that is not one of ``names``; ``where`` stands in front of the error."""
    for key in options:
        if key not in names:
            raise BadRequest(f"{where}: unknown option {key!r}{choices(key, names)}")


def one_of(where: str, options: Mapping[str, str], key: str, values: Collection[str]) -> str | None:
    """The option's value, one of ``values``, or None where it is not given."""
    value = options.get(key)
    if value is not None and value not in values:
        raise BadRequest(f"{where}: unknown {key} {value!r}{choices(value, values)}")
    return value


def pixels(where: str, options: Mapping[str, str], key: str, least: int = 1) -> int | None:
    """The option as a number of pixels, ``least`` to 4096, or None where it is not given."""
    value = options.get(key)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and least <= int(value) <= 4096):
        raise BadRequest(f"{where}: {key} {value!r} is not a number of pixels, {least} to 4096")
    return int(value)
