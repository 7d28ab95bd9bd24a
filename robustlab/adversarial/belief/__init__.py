"""Reasons to doubt a figure, one detector a file.

A detector looks at a network, or at what an attack found, and yields findings: red, amber, or one
green where it looked and found nothing.
"""

from __future__ import annotations

from robustlab.adversarial.belief.astray import astray
from robustlab.adversarial.belief.case import Case, OfAttack
from robustlab.adversarial.belief.convergence import convergence
from robustlab.adversarial.belief.fragile import fragile
from robustlab.adversarial.belief.gradients import gradients
from robustlab.adversarial.belief.idle import idle
from robustlab.adversarial.belief.modes import modes
from robustlab.adversarial.belief.normalisation import normalisation
from robustlab.adversarial.belief.outputs import outputs
from robustlab.adversarial.belief.precision import precision
from robustlab.adversarial.belief.randomness import randomness
from robustlab.adversarial.belief.raw import raw
from robustlab.adversarial.belief.rivals import rivals
from robustlab.adversarial.belief.rounding import rounding
from robustlab.adversarial.belief.schedule import schedule
from robustlab.adversarial.belief.suspect import Detector, Suspect
from robustlab.adversarial.belief.targets import targets
from robustlab.adversarial.belief.vanishing import vanishing
from robustlab.adversarial.belief.violations import violations
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.outcome import Finding

__all__ = ["OF_ATTACKS", "OF_NETWORKS", "Case", "examine", "examine_attack"]

OF_NETWORKS: list[Detector] = [
    modes,
    outputs,
    randomness,
    normalisation,
    gradients,
    precision,
    raw,
    rivals,
]
OF_ATTACKS: list[OfAttack] = [
    violations,
    targets,
    idle,
    astray,
    schedule,
    convergence,
    vanishing,
    rounding,
    fragile,
]


def examine(backbone: Backbone, data: Data, sample: int = 16) -> list[Finding]:
    """All findings on a network, from the first ``sample`` images."""
    if not sample or not len(data):
        return []
    suspect = Suspect.of(backbone, data, sample)
    return [finding for detector in OF_NETWORKS for finding in detector(suspect)]


def examine_attack(case: Case) -> list[Finding]:
    """All findings on an attack and what it found."""
    if not len(case.data):
        return []
    return [finding for detector in OF_ATTACKS for finding in detector(case)]
