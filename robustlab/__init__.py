"""robustlab: attack trained CNNs, verify every success, tell it in one page.

Names load on first use, so that ``import robustlab`` costs milliseconds; this list is golden.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "Attack": "robustlab.adversarial",
    "Backbone": "robustlab.backbones",
    "Data": "robustlab.data",
    "Outcome": "robustlab.outcome",
    "Run": "robustlab.runs",
    "Suite": "robustlab.suite",
    "Threat": "robustlab.adversarial",
    "attack": "robustlab.doors",
    "list_attacks": "robustlab.doors",
    "list_backbones": "robustlab.doors",
    "list_probes": "robustlab.doors",
    "load_backbone": "robustlab.backbones",
    "load_data": "robustlab.data",
    "load_suite": "robustlab.suite",
    "open_run": "robustlab.runs",
    "probe": "robustlab.registry",
    "report": "robustlab.doors",
    "run": "robustlab.doors",
    "testing": "robustlab.testing",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'robustlab' has no attribute {name!r}")
    module = importlib.import_module(_NAMES[name])
    value = module if name == "testing" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
