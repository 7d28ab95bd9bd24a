"""`Builder`: a function that builds one of the lectures' networks, and how its options are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from robustlab.backbones.published import Published
from robustlab.errors import BadRequest, choices

__all__ = ["Builder"]

_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


@dataclass(frozen=True)
class Builder:
    """A function that builds an untrained network, with what the lab must know of the result.

    Attributes:
        function: takes keyword options with literal defaults, returns the module in train mode.
            The options ``channels``, ``size`` and ``classes`` decide what it takes and gives; one
            that the function lacks stays as published.
        published: the network's row in the table.
    """

    function: Callable[..., nn.Module]
    published: Published

    def __call__(self, **options: Any) -> nn.Module:
        """The module, for typed options."""
        return self.function(**options)

    @property
    def name(self) -> str:
        return self.published.name

    @property
    def defaults(self) -> dict[str, Any]:
        """Option -> literal default."""
        parameters = inspect.signature(self.function).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    def bind(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Every option with its value: text is read as the type of the default.

        Raises:
            BadRequest: an option there is not, or text that is no such number.
        """
        bound = self.defaults
        for key, value in options.items():
            if key not in bound:
                raise BadRequest(f"unknown option {key!r} of {self.name!r}{choices(key, bound)}")
            try:
                bound[key] = _read(value, type(bound[key]))
            except (TypeError, ValueError):
                raise BadRequest(
                    f"option {key}={value!r} of {self.name!r} is not "
                    f"of the kind of its default, {bound[key]!r}"
                ) from None
        return bound

    def input_shape(self, options: Mapping[str, Any]) -> tuple[int, int, int]:
        """(C, H, W) that the module of these options takes."""
        channels, height, width = self.published.input_shape
        bound = self.bind(options)
        size = bound.get("size")
        return bound.get("channels", channels), size or height, size or width

    def classes(self, options: Mapping[str, Any]) -> int:
        """Number of logits that the module of these options gives."""
        return int(self.bind(options).get("classes", self.published.classes))


def _read(value: Any, kind: type) -> Any:
    if kind is bool and isinstance(value, str):
        if value.lower() not in _SWITCH:
            raise ValueError
        return _SWITCH[value.lower()]
    if kind is int and isinstance(value, bool | float):
        raise ValueError
    if kind is str and not isinstance(value, str):
        raise ValueError
    return kind(value)
