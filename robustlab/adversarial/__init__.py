"""Attacks: threats, the base, the gradient search, verification and the foolbox bridge."""

from robustlab.adversarial.access import Access
from robustlab.adversarial.base import Attack
from robustlab.adversarial.found import Found
from robustlab.adversarial.search import gradient_search
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.verification import Judge, Verdict, to_8bit

__all__ = [
    "Access",
    "Attack",
    "Found",
    "Judge",
    "Threat",
    "Verdict",
    "gradient_search",
    "to_8bit",
]
