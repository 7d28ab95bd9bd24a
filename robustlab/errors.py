"""What the lab says when something is wrong: what, where, the nearest valid thing, what next.

Every error a user can cause is a `RobustlabError`; anything else that escapes is a bug of the lab.
The class carries the exit code of the command line, so that a script can tell a bad request (2)
from a run that ended without a verdict (3).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["BadRequest", "CellFailed", "NoVerdict", "RobustlabError", "choices", "nearest"]


class RobustlabError(Exception):
    """Base of the lab's own errors; `exit_code` is what the command line returns."""

    exit_code = 2

    def inside(self, where: str) -> RobustlabError:
        """The same error with its place in front: ``suite quick.toml, probe 2: ...``."""
        return type(self)(f"{where}: {self}")


class BadRequest(RobustlabError, ValueError):
    """The request cannot be carried out as written; nothing ran."""


class CellFailed(RobustlabError):
    """A cell broke off while it was computed; its numbers enter no table."""

    exit_code = 3


class NoVerdict(RobustlabError):
    """Cells are missing or lost, so the run has no verdict."""

    exit_code = 3


def nearest(word: str, words: Iterable[str]) -> str:
    """``"; did you mean 'steps'?"`` for the closest of ``words``, or nothing when none is close."""
    found = difflib.get_close_matches(str(word), [str(w) for w in words], n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def choices(word: str, words: Iterable[str]) -> str:
    """The closest of ``words``, or all of them when none is close: never a dead end."""
    listed = sorted(str(w) for w in words)
    return nearest(word, listed) or f"; there is {', '.join(listed) or 'none'}"
