"""Several attacks as one: each works on what those before it left standing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from robustlab import Attack, probe


@probe("ensemble")
class Ensemble(Attack):
    """Any list of attacks, cheapest first; an image counts as broken when one of them breaks it.

    The worst case an image, not the best attack on average. An attack is its name, or a table of
    its name under ``use`` and its parameters; eps, norm, target and eot are the ensemble's own.
    """

    paper: ClassVar[str] = "Croce and Hein 2020, arXiv:2003.01690, section 5"
    cost: ClassVar[str] = "their sum"

    attacks: list[Any]
    """names, or tables such as {use = "pgd", steps = 100, restarts = 5}"""
    cheapest_first: bool = True
    """order by passes an image; false: run them as they are listed"""

    def check(self) -> None:
        if not self.attacks:
            self.refuse("attacks is empty; list at least one, as ['pgd', 'square']")
        for name, stage in self.stages():
            if stage.members():
                self.refuse(f"{name!r} is itself made of others; list its attacks one by one")
            if stage.learns:
                self.refuse(f"{name!r} learns from all images at once; run it beside the ensemble")

    def members(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        named = []
        for one in self.attacks:
            given = {"use": one} if isinstance(one, str) else dict(one)
            if not isinstance(given.get("use"), str):
                self.refuse(f"attack {one!r} has no name; write it as {{use = 'pgd', steps = 40}}")
            named.append((given.pop("use"), given))
        return sorted(named, key=self.cost_of) if self.cheapest_first else named

    def passes(self) -> int:
        return sum(stage.restarts * stage.passes() for _, stage in self.stages())
