"""`Fooled`: one picture, one network, and what it took to make it see something else.

The noun that the search fills in (`robustlab.fooling`) and the page retells. Plain arrays and
numbers: nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Budgeted", "Check", "Curve", "Fooled", "Reading", "Size", "Way"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What a network says of an image.

    Attributes:
        network: its name.
        top: the five likeliest classes, (index, class, probability), the likeliest first.
        label, target: probabilities of the class seen in the clean picture, and of the class asked
            for (NaN where none was).
    """

    network: str
    top: tuple[tuple[int, str, float], ...]
    label: float
    target: float

    @property
    def index(self) -> int:
        """The class that it takes the image for."""
        return self.top[0][0]


@dataclass(frozen=True)
class Check:
    """One thing a sceptic would ask, and what was found: ``passed`` or not."""

    question: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Answer:
    """What another image of the same size does: a control, or the same image to another network.

    Attributes:
        name: what was shown, or which network looked.
        before, after: readings of the clean picture and of the changed one.
        fooled: the changed one is not taken for the class that was seen in the clean picture.
        at_target: it is taken for the class asked for; False where none was.
        tries, fooling, hitting: of how many draws (controls), how many fooled, how many at target.
        lost: share of a control's absolute changes that the ends 0 and 255 cut off, over all draws.
    """

    name: str
    before: Reading
    after: Reading
    fooled: bool
    at_target: bool
    tries: int = 1
    fooling: int = 0
    hitting: int = 0
    lost: float = 0.0


@dataclass(frozen=True)
class Size:
    """How large a perturbation is, in grey levels of 255: measured on the 8-bit pixels.

    Attributes:
        linf: the largest change of a value; l2: root of the sum of squares; l1: sum of absolute
            changes; l0: pixels changed, of ``pixels``.
        mean: mean absolute change of a value.
    """

    linf: int
    l2: float
    l1: float
    l0: int
    pixels: int
    mean: float


@dataclass(frozen=True)
class Budgeted:
    """What attacks reach at a list of budgets: one attack's row of the single step against many.

    Attributes:
        attack: its name; eps: budgets in grey levels [k].
        label, target: probabilities [k] of the 8-bit image.
        fooled, at_target: as of `Answer`, bool [k].
        prediction: class names [k].
    """

    attack: str
    eps: Floats
    label: Floats
    target: Floats
    fooled: NDArray[np.bool_]
    at_target: NDArray[np.bool_]
    prediction: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """What is left of it when the saved picture is changed as pictures are: over severities.

    Attributes:
        name: the change, as "JPEG quality"; unit: of ``values``, or "".
        values: severities [k], the mildest first.
        fooled, at_target: of the changed adversarial picture, bool [k].
        label, target: its probabilities [k].
        clean: whether the clean picture, changed alike, is still seen as it was, bool [k].
        unchanged: the first so many values leave every pixel as it was: they test nothing.
    """

    name: str
    unit: str
    values: Floats
    fooled: NDArray[np.bool_]
    at_target: NDArray[np.bool_]
    label: Floats
    target: Floats
    clean: NDArray[np.bool_]
    unchanged: int = 0


@dataclass(frozen=True)
class Way:
    """Probabilities along a way from the clean picture: the straight line, or the attack's steps.

    Attributes:
        name: "straight line" or "steps of the search"; at: share of the line or number of the step.
        label, target: probabilities [k]; prediction: class names [k].
    """

    name: str
    at: Floats
    label: Floats
    target: Floats
    prediction: tuple[str, ...]


@dataclass(frozen=True)
class Fooled:
    """The whole tale of one picture.

    Attributes:
        picture: how the picture was asked for; source: a sentence on where it comes from.
        network, sight: the network, and how it looks at a picture ("shorter side to 256, ...").
        on: "picture" or "crop": what was perturbed.
        attack, params, norm, eps, seed: how; eps as it was given.
        label, target: class names: what was seen in the clean picture, what was asked for or None.
        original, changed: uint8 [C, H, W]; ``changed`` is what was read back from the file.
        before, after: readings of ``original`` and of ``changed``.
        succeeded: every check passed.
        checks: what was checked of the file.
        size: of the perturbation; smallest: of the smallest that still does it at 8 bits, None
            where none was looked for or found.
        smallest_changed: that picture, uint8 [C, H, W], or None.
        ways, steps, controls, transfer, survival: the evidence; empty where it was not asked for.
        trace, maps: arrays of the depth trace and of the attribution, by name; empty likewise.
        facts: seconds, passes, versions, the command.
        notes: sentences that belong beside the numbers.
    """

    picture: str
    source: str
    network: str
    sight: str
    on: str
    attack: str
    params: Mapping[str, Any]
    norm: str
    eps: str
    seed: int
    label: str
    target: str | None
    original: Pixels
    changed: Pixels
    before: Reading
    after: Reading
    checks: tuple[Check, ...]
    size: Size
    smallest: Size | None = None
    smallest_changed: Pixels | None = None
    ways: tuple[Way, ...] = ()
    steps: tuple[Budgeted, ...] = ()
    controls: tuple[Answer, ...] = ()
    transfer: tuple[Answer, ...] = ()
    survival: tuple[Curve, ...] = ()
    trace: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether every check of the file passed; without checks nothing is believed."""
        return bool(self.checks) and all(one.passed for one in self.checks)
