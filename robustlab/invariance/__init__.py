"""What a network does not care about: shifts and other changes of its images, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustlab.lazy import doors

if TYPE_CHECKING:
    from robustlab.invariance.mce import ALEXNET, mean_corruption_error

__all__ = ["ALEXNET", "mean_corruption_error"]

_HOMES = {"ALEXNET": "mce", "mean_corruption_error": "mce"}

__getattr__, __dir__ = doors(__name__, _HOMES)
