"""Where numbers were made: versions, machine, device. Versions are read without importing."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

__all__ = ["PACKAGES", "environment", "versions"]

PACKAGES = (
    "robustlab",
    "torch",
    "torchvision",
    "foolbox",
    "scikit-learn",
    "seaborn",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
)


def versions() -> dict[str, str]:
    """Installed version of each package the lab stands on, ``"missing"`` where there is none."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def environment() -> dict[str, Any]:
    """Versions and machine, flat; no host or user name, no path."""
    return {
        "python": platform.python_version(),
        **versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
    }
