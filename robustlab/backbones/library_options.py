"""The options that networks of another library take, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustlab.errors import BadRequest, choices

__all__ = ["bind_library"]

_LEAST = {"classes": 1, "size": 1, "seed": 0}


def bind_library(
    builder: str, options: Mapping[str, Any], *, weights: str, classes: int, size: int
) -> dict[str, Any]:
    """Every option with its value: ``weights`` as text, ``classes``, ``size`` and ``seed`` (0) as
    whole numbers.

    Args:
        builder: what errors call the network.
        weights, classes, size: the defaults.

    Raises:
        BadRequest: an option there is not, or no such number.
    """
    bound: dict[str, Any] = {"weights": weights, "classes": classes, "size": size, "seed": 0}
    for key, value in options.items():
        if key not in bound:
            raise BadRequest(f"unknown option {key!r} of {builder!r}{choices(key, bound)}")
        text = str(value)
        if key == "weights":
            bound[key] = text
            continue
        if not (text.isascii() and text.isdecimal()) or int(text) < _LEAST[key]:
            raise BadRequest(
                f"option {key}={value!r} of {builder!r} is no whole number of at least "
                f"{_LEAST[key]}"
            )
        bound[key] = int(text)
    return bound
