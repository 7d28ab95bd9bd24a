"""What foolbox does not say of its attacks: paper, knowledge, passes, randomness, goals.

Read from the attacks of foolbox 3.3.4 and counted in the tests. Attacks that share a module share a
family. A count is of one image worked on alone, and the last pass of each is foolbox's own check.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["BLENDED_START", "Family", "family"]

# Tries and blends with which Boundary and HopSkipJump look for a start, and foolbox's check of it.
BLENDED_START = 1000 + 51 + 1
_PIXELS = 20  # binary digits of an image's pixel values, up to a million: HopSkipJump's precision
_HALVINGS = 150  # of a float32 step, until it is zero


@dataclass(frozen=True)
class Family:
    """Facts of one foolbox module.

    Attributes:
        passes: given the attack's parameters, passes an image at most; a guess if not ``bounded``.
        random: whether a second try can differ; ``None``: the parameter ``random_start`` says it.
        goal: ``"any"``, ``"untargeted"`` or ``"targeted"`` alone.
        refused: why the lab cannot run it; empty where it can.
        also: norms against which its answer may be held besides its own, as its search does not
            depend on them. Foolbox counts values in L0, the lab counts pixels.
        extra: the lab's optional extra with what foolbox needs for it.
    """

    paper: str
    passes: Callable[[Any], int]
    knowledge: str = "gradient"
    random: bool | None = False
    goal: str = "any"
    bounded: bool = True
    refused: str = ""
    also: tuple[str, ...] = ()
    extra: str = ""


def _steps(each: int, more: int = 1) -> Callable[[Any], int]:
    """``each`` passes a step and ``more`` at the ends; one step where there is no such number."""
    return lambda attack: each * int(getattr(attack, "steps", 1)) + more


def _deepfool(attack: Any) -> int:
    """A gradient for each class but the label's; a network of fewer classes takes fewer."""
    others = (attack.candidates or 1000) - 1  # none: all classes; ImageNet's, if nobody says
    return 2 * int(attack.steps) * others + 2


def _rounds(each: int) -> Callable[[Any], int]:
    """Searches of ``each`` passes a step, repeated for other weights of the distance."""
    return lambda attack: each * int(attack.steps) * int(attack.binary_search_steps) + 1


def _boundary(attack: Any) -> int:
    steps = int(attack.steps)
    return BLENDED_START + steps + steps // int(attack.update_stats_every_k) + 1


def _hop_skip_jump(attack: Any) -> int:
    """A start, then each step: draws around the boundary, a step beyond it, bisection back."""
    power = 2.0 if attack.constraint == "linf" else 1.5
    bisection = max(0, math.ceil(power * _PIXELS - math.log2(attack.gamma))) + 1
    geometric = attack.stepsize_search == "geometric_progression"
    walk = _HALVINGS + 3 + bisection if geometric else 20 * (1 + bisection)
    total = BLENDED_START + bisection + 1
    for step in range(1, int(attack.steps) + 1):
        draws = attack.initial_gradient_eval_steps * math.sqrt(step)
        total += int(min(draws, attack.max_gradient_eval_steps)) + walk
    return total + 1


def _pointwise(attack: Any) -> int:
    """Salt and pepper, then a guess: it goes over the pixels until none can be put back. On digits
    of 1,024 pixels that took 190 passes at most, or 900 with the search for the smaller L2."""
    return 1003 + (2_000 if attack.l2_binary_search else 500)


def _blended(attack: Any) -> int:
    return int(attack.directions) + int(attack.steps) + 2


def _repeated(attack: Any) -> int:
    return int(getattr(attack, "repeats", -1)) + 2  # a single draw is looked at once


def _brendel_bethge(attack: Any) -> int:
    start = 1000 + 1001 + 1
    return start + int(attack.binary_search_steps) + 2 * int(attack.steps) + 1


_KURAKIN = "Kurakin, Goodfellow, Bengio 2017, arXiv:1607.02533"
_RAUBER = "Rauber, Zimmermann, Bethge, Brendel 2020, JOSS 5(53) 2607"

FAMILIES: dict[str, Family] = {
    "additive_noise": Family(_RAUBER, _repeated, "none", True),
    "basic_iterative_method": Family(_KURAKIN, _steps(2), random=None),
    "binarization": Family(
        _RAUBER, _steps(1, 2), "decision", refused="refines the images of another attack"
    ),
    "blended_noise": Family(_RAUBER, _blended, "decision", True),
    "blur": Family(_RAUBER, _steps(1, 2), "decision"),
    "boundary_attack": Family(
        "Brendel, Rauber, Bethge 2018, arXiv:1712.04248", _boundary, "decision", True
    ),
    "brendel_bethge": Family(
        "Brendel, Rauber, Kümmerer, Ustyuzhaninov, Bethge 2019, arXiv:1907.01003",
        _brendel_bethge,
        random=True,
        extra="brendel-bethge",
    ),
    "carlini_wagner": Family("Carlini, Wagner 2017, arXiv:1608.04644", _rounds(2)),
    "contrast": Family(_RAUBER, lambda attack: 1, "none"),
    "contrast_min": Family(
        _RAUBER,
        lambda attack: 1 + int(getattr(attack, "binary_search_steps", getattr(attack, "steps", 1))),
        "decision",
    ),
    "dataset_attack": Family(
        _RAUBER, _steps(1), "decision", True, refused="must be fed with images of its own"
    ),
    "ddn": Family(
        "Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger 2019, arXiv:1811.09600", _steps(2)
    ),
    "deepfool": Family("Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599", _deepfool),
    "ead": Family("Chen, Sharma, Zhang, Yi, Hsieh 2018, arXiv:1709.04114", _rounds(3)),
    "fast_gradient_method": Family(
        "Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572",
        _steps(2),
        random=None,
        goal="untargeted",
    ),
    "fast_minimum_norm": Family("Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827", _steps(2)),
    "gen_attack": Family(
        "Alzantot et al. 2019, arXiv:1805.11090",
        lambda attack: int(attack.steps) * int(attack.population) + 1,
        "score",
        True,
        goal="targeted",
    ),
    "hop_skip_jump": Family(
        "Chen, Jordan, Wainwright 2020, arXiv:1904.02144", _hop_skip_jump, "decision", True
    ),
    "inversion": Family(
        "Hosseini, Xiao, Jaiswal, Poovendran 2017, arXiv:1703.06857", lambda attack: 1, "none"
    ),
    "mi_fgsm": Family("Dong et al. 2018, arXiv:1710.06081", _steps(2), random=None),
    "newtonfool": Family("Jang, Wu, Jha 2017, ACSAC", _steps(2), goal="untargeted"),
    "pointwise": Family(
        "Schott, Rauber, Bethge, Brendel 2019, arXiv:1805.09190",
        _pointwise,
        "decision",
        True,
        bounded=False,
        also=("l0",),
    ),
    "projected_gradient_descent": Family(
        "Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083", _steps(2), random=None
    ),
    "saltandpepper": Family(
        _RAUBER,
        _steps(1, 2),
        "decision",
        True,
        also=("l0", "l1", "linf"),  # every pixel that it moves goes to black or white
    ),
    "sparse_l1_descent_attack": Family(
        "Tramer, Boneh 2019, arXiv:1904.13000", _steps(2), random=None
    ),
    "virtual_adversarial_attack": Family(
        "Miyato, Maeda, Koyama, Nakae, Ishii 2016, arXiv:1507.00677",
        _steps(2, 2),
        random=True,
        goal="untargeted",
    ),
}

# A later foolbox may bring a module that is not known here.
_UNKNOWN = Family(_RAUBER, _steps(2), random=True, bounded=False)


def family(cls: Any) -> Family:
    """Facts of a foolbox attack class, by the module it stands in."""
    return FAMILIES.get(cls.__module__.rpartition(".")[2], _UNKNOWN)
