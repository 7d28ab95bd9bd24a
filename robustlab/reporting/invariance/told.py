"""A part of the section: a function from the groups of one probe to a sentence and a body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustlab.reporting.section import Story
from robustlab.results import Group

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["Part", "Told"]


@dataclass(frozen=True)
class Told:
    """The finding of one part, in plain words with its numbers, and its figures.

    ``lead`` are the sentences that carry it, for the head of a page that opens with this part.
    """

    title: str
    body: Markup
    lead: tuple[str, ...] = ()


Part = Callable[[Story, Sequence[Group]], Told | None]
