"""What was asked for: an attack by name with its parameters, and a budget; checked at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustlab.adversarial import Attack
from robustlab.binding import bind
from robustlab.data.query import split_query
from robustlab.errors import BadRequest
from robustlab.registry import Registered, resolve
from robustlab.units import SPATIAL, Budget

__all__ = ["Asked", "ask"]

_OWN = ("eps", "target")  # these have options of their own


@dataclass(frozen=True)
class Asked:
    """An attack with its parameters, and the budget it was given.

    Attributes:
        name: the attack's; params: what was said of it, without eps and target.
        budget: eps; norm: of it.
    """

    name: str
    params: Mapping[str, Any]
    budget: Budget
    norm: str
    registered: Registered

    def made(self, eps: str, target: int | None) -> Attack:
        """The attack at one eps.

        Raises:
            BadRequest: a target where it knows none.
        """
        settings = {**self.params, "eps": [eps], "target": target}
        found: Attack = self.registered.obj(**bind(self.registered, settings))
        return found

    @property
    def levels(self) -> int:
        """Whole grey levels of the budget, in Linf."""
        return int(self.budget.value * 255 * (1 + 1e-6) + 1e-9)


def ask(attack: str, eps: str | float, shape: tuple[int, int, int]) -> Asked:
    """Bind an attack for pictures of ``shape`` [C, H, W].

    Args:
        attack: a name, with parameters behind a question mark: ``pgd?steps=100&norm=l2``. Unless
            they say otherwise the search goes on after the first success, for the surest picture.

    Raises:
        BadRequest: no gradient attack, an unknown parameter, or a budget that no 8-bit picture can
            use: below one grey level of one pixel.
    """
    name, texts = split_query(attack)
    registered = resolve(name)
    if registered.kind != "attack":
        raise BadRequest(f"{name!r} is a probe, no attack; take a gradient attack, as pgd or apgd")
    for own in _OWN:
        if own in texts:
            raise BadRequest(f"--attack {attack!r}: {own} has an option of its own, --{own}")
    params = {"early_exit": False, **{key: _typed(text) for key, text in texts.items()}}
    made: Attack = registered.obj(**bind(registered, {**params, "eps": [str(eps)]}))
    _check_kind(name, made)
    budget = made.budgets(shape)[0]
    least = 1.0 if made.norm == "l0" else 1 / 255
    if budget.value < least * (1 - 1e-6):
        unit = "one pixel" if made.norm == "l0" else "one grey level, 1/255"
        raise BadRequest(
            f"--eps {budget.text} is less than {unit}: no 8-bit picture can hold it; "
            f"the least is {'1px' if made.norm == 'l0' else '1/255'}"
        )
    return Asked(name, params, budget, made.norm, registered)


def _check_kind(name: str, made: Attack) -> None:
    kinds = [stage.knowledge for _, stage in made.stages()]
    if "gradient" not in kinds or made.learns:
        why = "learns from a set of images" if made.learns else f"knows {kinds[0]!r}, no gradient"
        raise BadRequest(f"{name!r} {why}; take a gradient attack, as pgd, fgsm or apgd")
    if made.norm == SPATIAL:
        raise BadRequest(
            f"{name!r} turns and moves the picture; take pgd, or another in grey levels"
        )


def _typed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
