"""Networks and attacks with a known fault, for detectors to find: what a suspicion has never been
shown to catch is not yet a check.
"""

from __future__ import annotations

from robustlab.planted.attacks import PLANTED_ATTACKS, planted_attack
from robustlab.planted.networks import PLANTED, planted

__all__ = ["PLANTED", "PLANTED_ATTACKS", "planted", "planted_attack"]
