"""Pooling choices, and the exchange of one for another in a network whose weights stay.

A pooling layer is a window (max, average, ...) over every place of a map, and a sampler (plain
strides, blur, polyphase, ...) that thins the result out. `Pooling` is any pair of them;
`swap_pooling` puts one at every down-sampling site of a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustlab.lazy import doors

if TYPE_CHECKING:
    from robustlab.pooling.exchanging import Site
    from robustlab.pooling.geometry import PADDINGS, Geometry
    from robustlab.pooling.heads import HEADS, GlobalPool
    from robustlab.pooling.kinds import KINDS, parse_kind
    from robustlab.pooling.pool import Pooling
    from robustlab.pooling.swap import Swapped, swap_pooling, swapped_name

__all__ = [
    "HEADS",
    "KINDS",
    "PADDINGS",
    "Geometry",
    "GlobalPool",
    "Pooling",
    "Site",
    "Swapped",
    "parse_kind",
    "swap_pooling",
    "swapped_name",
]

_HOMES = {
    "HEADS": "heads",
    "KINDS": "kinds",
    "PADDINGS": "geometry",
    "Geometry": "geometry",
    "GlobalPool": "heads",
    "Pooling": "pool",
    "Site": "exchanging",
    "Swapped": "swap",
    "parse_kind": "kinds",
    "swap_pooling": "swap",
    "swapped_name": "swap",
}

__getattr__, __dir__ = doors(__name__, _HOMES)
