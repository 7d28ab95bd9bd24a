"""The base of every attack: a subclass writes `search`, the base owns everything around it.

A subclass is a frozen dataclass: annotated attributes are parameters (the string below each is its
line in `robustlab show`), ``ClassVar`` attributes are facts. Defaults are literals, so that the
catalogue can be read without importing torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from torch import Tensor

from robustlab.adversarial.access import Access
from robustlab.adversarial.evaluate import BATCH, evaluate
from robustlab.adversarial.found import Found
from robustlab.adversarial.search import gradient_search
from robustlab.adversarial.threats import Threat
from robustlab.errors import BadRequest, choices
from robustlab.randomness import SampleRandom
from robustlab.units import Budget, parse_budgets, parse_norm

if TYPE_CHECKING:
    from robustlab.backbones import Backbone
    from robustlab.data import Data

__all__ = ["Attack"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclass(frozen=True, kw_only=True)
class Attack:
    """Base of the attacks; see `attacks/` for how one is written."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    knowledge: ClassVar[str] = "gradient"  # or "score", "decision", "none" (a control)
    paper: ClassVar[str] = ""
    minimum_norm: ClassVar[bool] = False

    eps: list[str]
    """budget or list of budgets on the [0, 1] scale, as "0.1" or "8/255" """
    norm: str = "linf"
    """norm of the budget"""
    target: str | int | None = None
    """class to reach: "least-likely", "next", "random", a class name or index; none: any mistake"""
    restarts: int = 1
    """independent random starts; an image leaves once it is fooled"""
    early_exit: bool = True
    """images leave the search as soon as they are verified as fooled"""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", parse_norm(self.norm))
        if self.norm not in self.norms:
            raise BadRequest(f"norm {self.norm!r} is not one of its norms: {', '.join(self.norms)}")
        texts = [budget.text for budget in parse_budgets(self.eps, self.norm)]
        object.__setattr__(self, "eps", texts)
        self.at_least("restarts", 1)
        if self.restarts > 1 and not self.is_random():
            raise BadRequest("restarts repeat the same search where the start is not random; use 1")
        self.check()

    # What a subclass writes -----------------------------------------------------------------

    def search(
        self, model: Access, x: Tensor, y: Tensor, start: Tensor, threat: Threat, rng: SampleRandom
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Look for adversarial images inside ``threat``.

        Args:
            model: the network: call it for logits, differentiate through it; passes are counted.
            x: clean images [n, C, H, W] in [0, 1]; y: true labels [n].
            start: where to begin, inside the ball.
            rng: random numbers of each image's own stream.

        Returns:
            x_adv [n, C, H, W], or ``(x_adv, claimed)`` with the attack's own opinion, bool [n].
        """
        raise TypeError(f"{type(self).__name__} is an Attack without a search method")

    def start(self, x: Tensor, threat: Threat, rng: SampleRandom) -> Tensor:
        """First iterate; the clean image unless a subclass draws one."""
        return x

    def is_random(self) -> bool:
        """Whether a restart differs from the first try."""
        return False

    def check(self) -> None:
        """Raise BadRequest for parameters out of range."""

    def passes(self) -> int:
        """Forward and backward passes an image at most, for one eps and one restart."""
        return 1

    def notes(self) -> Sequence[str]:
        """Sentences that belong beside this attack's numbers."""
        return ()

    # What the base offers -------------------------------------------------------------------

    def gradient_search(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Projected steepest ascent with the base's early exit; see `search.gradient_search`."""
        return gradient_search(*args, early_exit=self.early_exit, **kwargs)

    def at_least(self, name: str, smallest: float) -> None:
        """Refuse a parameter below its smallest sensible value."""
        if getattr(self, name) < smallest:
            raise BadRequest(f"{name} must be at least {smallest}, not {getattr(self, name)}")

    def one_of(self, name: str, allowed: Sequence[str]) -> None:
        """Refuse a parameter that is not one of the ``allowed`` words."""
        value = getattr(self, name)
        if value not in allowed:
            raise BadRequest(f"unknown {name} {value!r}{choices(value, allowed)}")

    def budgets(self, shape: Sequence[int]) -> tuple[Budget, ...]:
        """The eps list for images of ``shape`` [C, H, W]."""
        size = 1
        for extent in shape:
            size *= extent
        return parse_budgets(self.eps, self.norm, size)

    def __call__(
        self,
        backbone: Backbone,
        data: Data,
        *,
        seed: int = 0,
        batch: int = BATCH,
        fast: bool = True,
    ) -> Found:
        """Attack every image at every eps and verify what is found."""
        return evaluate(self, backbone, data, seed=seed, batch=batch, fast=fast)
