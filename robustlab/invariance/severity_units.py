"""In what the severity of each change is told; apart, because pages need it and import no torch."""

from __future__ import annotations

__all__ = ["UNITS"]

UNITS = {
    "rotation": "degrees",
    "scale": "octaves, 1 is twice the size",
    "contrast": "share taken away",
    "brightness": "added, of the range of pixels",
    "lighting": "strength of the gradient",
    "deformation": "% of the shorter side",
    "occlusion": "% of the shorter side",
    "clutter": "pieces",
    "blur": "% of the shorter side",
    "noise": "standard deviation",
}
