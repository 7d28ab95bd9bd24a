"""robustlab: attack trained CNNs, verify every success, tell it in one page.

Names load on first use, so that ``import robustlab`` costs milliseconds; this list is golden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustlab.lazy import doors as _doors

if TYPE_CHECKING:
    from robustlab import testing as testing
    from robustlab.adversarial import Attack as Attack
    from robustlab.adversarial import Threat as Threat
    from robustlab.arithmetic import anatomy as anatomy
    from robustlab.backbones import Backbone as Backbone
    from robustlab.backbones import load_backbone as load_backbone
    from robustlab.data import Data as Data
    from robustlab.data import load_data as load_data
    from robustlab.doors import attack as attack
    from robustlab.doors import fool as fool
    from robustlab.doors import list_attacks as list_attacks
    from robustlab.doors import list_backbones as list_backbones
    from robustlab.doors import list_probes as list_probes
    from robustlab.doors import report as report
    from robustlab.doors import run as run
    from robustlab.outcome import Outcome as Outcome
    from robustlab.pooling import swap_pooling as swap_pooling
    from robustlab.registry import probe as probe
    from robustlab.runs import Run as Run
    from robustlab.runs import open_run as open_run
    from robustlab.suite import Suite as Suite
    from robustlab.suite import load_suite as load_suite

__version__ = "0.1.0"

_HOMES = {
    "Attack": "adversarial",
    "Backbone": "backbones",
    "Data": "data",
    "Outcome": "outcome",
    "Run": "runs",
    "Suite": "suite",
    "Threat": "adversarial",
    "anatomy": "arithmetic",
    "attack": "doors",
    "fool": "doors",
    "list_attacks": "doors",
    "list_backbones": "doors",
    "list_probes": "doors",
    "load_backbone": "backbones",
    "load_data": "data",
    "load_suite": "suite",
    "open_run": "runs",
    "probe": "registry",
    "report": "doors",
    "run": "doors",
    "swap_pooling": "pooling",
    "testing": "testing",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

__getattr__, __dir__ = _doors(__name__, _HOMES)
