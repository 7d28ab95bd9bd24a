"""One call of one of torch's operators, what it was found to do, and where its rule is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from robustlab.arithmetic.fields import Lost
from robustlab.arithmetic.geometry import Geometry, Pair
from robustlab.arithmetic.seen import Seen

__all__ = ["RULES", "But", "Found", "Operation", "Rule", "many", "over_all", "pair", "rule"]


@dataclass
class Operation:
    """One call of an operator.

    Attributes:
        name: of the operator, without a trailing underscore (in place or not is the same).
        given: its arguments by name.
        out: its results.
        seen: looks up what a tensor sees; None where it does not depend on the image.
    """

    name: str
    given: dict[str, Any]
    out: list[Tensor]
    seen: Callable[[Tensor], Seen | None]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        flat: list[Tensor] = []
        for value in self.given.values():
            several = value if isinstance(value, list | tuple) else [value]
            flat += [one for one in several if isinstance(one, Tensor)]
        return flat

    @property
    def following(self) -> list[Tensor]:
        """Those that depend on the image."""
        return [one for one in self.tensors if self.seen(one) is not None]

    def source(self, name: str) -> tuple[Tensor, Seen]:
        """An argument that depends on the image, and what it sees."""
        tensor = self.given[name]
        seen = self.seen(tensor)
        if seen is None:
            raise Lost("weights are computed from the image")
        return tensor, seen


@dataclass
class Found:
    """What an operation was found to do.

    Attributes:
        seen: of its results; a text says why it is not known.
        multiply_adds: None: not known.
        other: operations beside multiply-adds, by the lab's convention.
        connections: inputs that all units look at, biases counted as one each.
        weights: values that inputs are multiplied by.
        quiet: whether it only moves values about.
    """

    kind: str
    seen: list[Seen] = field(default_factory=list)
    multiply_adds: int | None = 0
    other: int = 0
    connections: int = 0
    weights: int = 0
    geometry: Geometry | None = None
    quiet: bool = False
    note: str = ""


Rule = Callable[[Operation], Found]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    def add(made: Rule) -> Rule:
        for name in names:
            RULES[name] = made
        return made

    return add


def many(value: int | Sequence[int], length: int) -> list[int]:
    """One number for every axis, or those given."""
    numbers = [value] if isinstance(value, int) else [int(one) for one in value]
    return numbers * length if len(numbers) == 1 else numbers


def pair(values: Sequence[int]) -> Pair:
    return (1, values[0]) if len(values) == 1 else (values[-2], values[-1])


class But(Lost):
    """Fields are lost, but the rest was found."""

    def __init__(self, found: Found, reason: str) -> None:
        super().__init__(reason)
        self.found = found


def over_all(seen: Seen, dims: Sequence[int]) -> Seen:
    """Statistics over whole dimensions; places stay, but each of them now sees them all."""
    found = seen
    for dim in dims:
        for length, axis in seen.layout[dim]:
            if axis is not None:
                found = found._with(axis, found.fields[axis].whole(length))
    return found
