"""Cards: what is known of a network, as JSON beside its weights. Needs no torch.

The card lands after the weights, so weights without a card do not count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from robustlab import shelf
from robustlab.errors import BadRequest, choices

__all__ = ["list_backbones", "read_card", "shipped", "tried"]

_NEEDED = {
    "name": str,
    "builder": str,
    "options": dict,
    "input_shape": list,
    "classes": list,
    "fingerprint": str,
}
_KINDS = {str: "text", dict: "a table of options", list: "a list"}


def shipped() -> dict[str, Path]:
    """``NAME@DATA`` -> its card, for every network that comes with the lab."""
    return {path.stem: path for path in sorted(shelf.weights().glob("*.json"))}


def tried() -> dict[str, Path]:
    """``NAME@DATA`` -> its card, for recipes that were tried here but come without weights."""
    return {path.stem: path for path in sorted(shelf.recipes().glob("*.json"))}


def list_backbones() -> list[dict[str, Any]]:
    """The cards of the shipped networks, in the order of their names."""
    return [read_card(path) for path in shipped().values()]


def read_card(card: str | Path) -> dict[str, Any]:
    """One card, by the name of a shipped network or tried recipe, or by the path of a file.

    Raises:
        BadRequest: no such network, a file that is no card, or a value of the wrong kind in it.
    """
    if isinstance(card, str):
        cards = shipped() | tried()
        if card not in cards:
            raise BadRequest(f"unknown network {card!r}{choices(card, cards)}")
        card = cards[card]
    try:
        found = json.loads(card.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"the card {card} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            f"the card {card} is not JSON ({error}); train the network again"
        ) from None
    missing = [key for key in _NEEDED if not isinstance(found, dict) or key not in found]
    if missing:
        raise BadRequest(f"the card {card} lacks {', '.join(missing)}; train the network again")
    for key, kind in _NEEDED.items():
        if not isinstance(found[key], kind):
            _refuse(card, key, found[key], _KINDS[kind])
    if not all(isinstance(one, str) for one in found["classes"]):
        _refuse(card, "classes", found["classes"], "a list of names")
    return dict(found)


def _refuse(card: Path, key: str, value: Any, wanted: str) -> NoReturn:
    raise BadRequest(
        f"the card {card}: {key} {json.dumps(value)} is not {wanted}; train the network again"
    )
