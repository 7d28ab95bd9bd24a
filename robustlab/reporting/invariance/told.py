"""A part of the section: a function from the groups of one probe to a sentence and a body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustlab.reporting.section import Story
from robustlab.results import Group
from robustlab.verdict import code

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["Part", "Told", "leading"]


@dataclass(frozen=True)
class Told:
    """The finding of one part, in plain words with its numbers, and its figures.

    ``lead`` are the sentences that carry it, for the head of a page that opens with this part.
    """

    title: str
    body: Markup
    lead: tuple[str, ...] = ()


Part = Callable[[Story, Sequence[Group]], Told | None]


def leading(title: str, sentences: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The sentences that carry a title: of the networks it names, else the first of all.

    ``sentences[i]`` is about ``names[i]``, where there are as many; else the first alone is taken.
    """
    if len(sentences) != len(names):
        return tuple(sentences[:1])
    named = [s for s, n in zip(sentences, names, strict=True) if code(n) in title]
    return tuple(named or sentences[:1])
