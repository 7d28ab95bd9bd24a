"""AutoAttack: the parameter-free ensemble that robustness figures are published with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from robustlab import Attack, probe


@probe("autoattack")
class AutoAttack(Attack):
    """The ensemble of Croce and Hein, whole: 100 steps, 9 target classes, 5,000 queries.

    ``standard``: APGD on cross-entropy, targeted APGD on the difference of logits ratio, targeted
    FAB, Square. In L1 (Croce and Hein 2021) APGD has 5 restarts, targeted APGD 5 targets. ``plus``:
    5 restarts of APGD with either loss and of FAB, Square, both targeted attacks. ``rand``, for
    networks that answer at random: APGD with either loss, gradients averaged over 20 passes
    unless ``eot`` says otherwise.
    """

    paper: ClassVar[str] = "Croce and Hein 2020, arXiv:2003.01690; L1: 2021, arXiv:2103.01208"
    cost: ClassVar[str] = (
        "(targets + 1) * (2 * steps + 1) + 3 * targets * steps + queries + 10; "
        "plus, rand and L1: the sum of their attacks"
    )

    version: str = "standard"
    """standard, plus or rand"""
    steps: int = 100
    """gradient steps of each search; 100 as published"""
    targets: int = 9
    """classes that the targeted attacks aim at, the likeliest first; 9 as published"""
    queries: int = 5000
    """queries of Square; 5,000 as published"""

    def check(self) -> None:
        self.one_of("version", ("standard", "plus", "rand"))
        self.at_least("steps", 1)
        self.at_least("targets", 1)
        self.at_least("queries", 1)
        if self.target is not None:
            self.refuse("autoattack looks for any mistake; use apgd or fab for one target")
        if self.version == "rand" and self.eot == 1:
            object.__setattr__(self, "eot", 20)  # as published
        if self.restarts > 1:
            self.refuse("its restarts are part of the version; use version = 'plus'")

    def is_random(self) -> bool:
        return True

    def notes(self) -> Sequence[str]:
        published = (self.steps, self.targets, self.queries) == (100, 9, 5000)
        return () if published else ("Not AutoAttack as published: fewer or more tries.",)

    def members(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        steps = {"steps": self.steps}
        if self.version == "rand":
            return [("apgd", {"loss": loss, **steps}) for loss in ("ce", "dlr")]
        sparse = self.norm == "l1" and self.version == "standard"
        many = {"restarts": 5} if self.version == "plus" or sparse else {}
        targets = {"targets": min(self.targets, 5) if sparse else self.targets}
        ce = ("apgd", {"loss": "ce", **steps, **many})
        dlr = ("apgd", {"loss": "dlr", **steps, **many})
        apgdt = ("apgdt", {**steps, **targets})
        fabt = ("fabt", {**steps, "targets": self.targets})
        square = ("square", {"queries": self.queries, "polish": 0.0})
        if self.version == "plus":
            return [ce, dlr, ("fab", {**steps, "starts": 5}), square, apgdt, fabt]
        return [ce, apgdt, fabt, square]

    def passes(self) -> int:
        return sum(stage.restarts * stage.passes() for _, stage in self.stages())
