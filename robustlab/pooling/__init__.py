"""Pooling choices, and the exchange of one for another in a network whose weights stay.

A pooling layer is a window (max, average, ...) over every place of a map, and a sampler (plain
strides, blur, polyphase, ...) that thins the result out. `Pooling` is any pair of them;
`swap_pooling` puts one at every down-sampling site of a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustlab.lazy import doors

if TYPE_CHECKING:
    from robustlab.pooling.geometry import PADDINGS, Geometry
    from robustlab.pooling.pool import Pooling

__all__ = ["PADDINGS", "Geometry", "Pooling"]

_HOMES = {
    "PADDINGS": "geometry",
    "Geometry": "geometry",
    "Pooling": "pool",
}

__getattr__, __dir__ = doors(__name__, _HOMES)
