"""Networks to probe: `Backbone`, `load_backbone`, the shipped weights and their cards.

Lazy, so that `list_backbones` (cards only) works without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustlab.backbones.backbone import Backbone
    from robustlab.backbones.cards import list_backbones, read_card
    from robustlab.backbones.lectures import Builder, builders
    from robustlab.backbones.loading import load_backbone
    from robustlab.backbones.references import Reference, parse_reference

__all__ = [
    "Backbone",
    "Builder",
    "Reference",
    "builders",
    "list_backbones",
    "load_backbone",
    "parse_reference",
    "read_card",
]

_HOMES = {
    "Backbone": "backbone",
    "Builder": "lectures",
    "Reference": "references",
    "builders": "lectures",
    "list_backbones": "cards",
    "load_backbone": "loading",
    "parse_reference": "references",
    "read_card": "cards",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
