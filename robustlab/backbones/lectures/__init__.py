"""The lectures' networks, built with fresh weights from an explicit seed: ``builders[NAME]``."""

from __future__ import annotations

from functools import partial
from importlib import import_module

from robustlab.backbones.lectures.builder import Builder
from robustlab.backbones.published import PUBLISHED, Published
from robustlab.errors import BadRequest, choices

__all__ = ["Builder", "builder_named", "builders"]


def _builder(row: Published) -> Builder:
    function = getattr(import_module(f"{__name__}.{row.home}"), row.function)
    return Builder(partial(function, *row.arguments), row)


builders: dict[str, Builder] = {name: _builder(row) for name, row in PUBLISHED.items()}


def builder_named(name: str) -> Builder:
    """The builder of that name; `BadRequest` with the nearest if there is none."""
    if name not in builders:
        raise BadRequest(f"unknown builder {name!r}{choices(name, builders)}")
    return builders[name]
