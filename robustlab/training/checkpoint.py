"""``NAME.checkpoint.pt``: a training that was interrupted goes on from its last kept epoch.

Tensors and plain containers only, read with ``weights_only=True``, so that nothing in the file is
executed. It is written when an epoch has ended, unless writing would take more than a fiftieth of
the time: then an epoch or two later.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from robustlab import atomic
from robustlab.errors import BadRequest

__all__ = ["Checkpoint"]

_SHARE = 0.02  # of the time, at most, that goes into writing


class Checkpoint:
    """The checkpoint beside an output.

    Args:
        path: the file.
        identity: what decides the weights; a checkpoint of anything else is refused.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity
        self.cost, self.last = 0.0, -float("inf")

    def save(self, state: dict[str, Any]) -> None:
        """Write, if it is worth its time by now."""
        begun = time.monotonic()
        if begun - self.last < self.cost / _SHARE:
            return
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, **state}, buffer)
        atomic.write(self.path, buffer.getvalue())
        self.last = time.monotonic()
        self.cost = self.last - begun

    def load(self) -> dict[str, Any] | None:
        """The kept state, or None where there is none.

        Raises:
            BadRequest: the file is damaged, or belongs to another training.
        """
        atomic.sweep(self.path)
        if not self.path.exists():
            return None
        wayout = f"delete {self.path} to begin anew, or choose another folder with -o"
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            other = state["identity"]
        except OSError as error:
            raise BadRequest(f"{self.path} cannot be read: {error.strerror}; {wayout}") from None
        except Exception:  # torch tells damage in many types, and executes nothing
            raise BadRequest(f"{self.path} is no checkpoint that can be read; {wayout}") from None
        told = difference(other, self.identity)
        if told:
            raise BadRequest(f"{self.path} was left by another training: {told}; {wayout}")
        return dict(state)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def difference(there: Any, here: Any, place: str = "") -> str:
    """The first thing in which two nested tables differ, in words; empty where they are equal."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted({*there, *here}):
            inner = f"{place}.{key}" if place else str(key)
            found = difference(there.get(key, "not given"), here.get(key, "not given"), inner)
            if found:
                return found
        return ""
    return "" if there == here else f"{place} is {there} there and {here} here"
