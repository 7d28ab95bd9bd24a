"""The lessons of an attack that learns: one a budget and part of the images, before any search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from robustlab.adversarial.borrowed import Borrowed
from robustlab.adversarial.found import Found
from robustlab.adversarial.learning import Course, Learned, Lessons, apart, halves
from robustlab.adversarial.threats import Threat
from robustlab.data import Data
from robustlab.units import Budget

__all__ = ["Learner", "learn_all"]


class Learner(Protocol):
    """What is asked of an attack here."""

    @property
    def norm(self) -> str: ...
    def learns_from(self) -> tuple[str, int | None] | None: ...
    def learn(self, lessons: Lessons, threat: Threat) -> Tensor: ...


def learn_all(
    attack: Learner,
    budgets: Sequence[Budget],
    course: Course,
    data: Data,
    borrowed: Borrowed,
    found: Found,
) -> list[Learned]:
    """What the attack learns at each budget, and for which images; counts its passes."""
    asked = attack.learns_from()
    if asked is None:
        source, parts = data, halves(data)
    else:
        source = borrowed.data[asked]
        course.backbone.accepts(source)
        rows = apart(source, data)
        if len(rows) < len(source):
            found.notes.append(
                f"{len(source) - len(rows)} images of {source.name} are among those attacked and "
                "were not learned from."
            )
        parts = [(rows, np.arange(len(data)))]
    learned = []
    for index, budget in enumerate(budgets):
        taught, whose = [], np.zeros(len(data), np.int64)
        for number, (rows, learners) in enumerate(parts):
            begun, lessons = time.perf_counter(), Lessons(course, source, rows)
            with torch.no_grad():
                taught.append(attack.learn(lessons, Threat(attack.norm, budget.value)).detach())
            whose[learners] = number
            found.stage_seconds[0] += time.perf_counter() - begun
            if source is data:
                found.count(index, 0, lessons.rows, lessons.access)
            else:
                found.spread(index, lessons.access)
        learned.append(Learned(torch.stack(taught), whose))
    return learned
