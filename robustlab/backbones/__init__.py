"""Networks to probe: `Backbone`, `load_backbone`, the shipped weights and their cards.

Lazy, so that `list_backbones` (cards only) works without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustlab.lazy import doors

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

__getattr__, __dir__ = doors(__name__, _HOMES)
