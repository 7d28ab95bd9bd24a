"""Options written behind a question mark, ``folder:cats?size=32&mode=L``; the network references
use the same form. Plain text: no percent decoding, so a path keeps its plus signs and spaces."""

from __future__ import annotations

from robustlab.errors import BadRequest

__all__ = ["split_query"]


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
