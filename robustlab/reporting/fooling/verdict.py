"""The finding in one sentence, computed from the readings; success is claimed only where proven."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from robustlab.fooled import Check, Fooled
from robustlab.reporting.fooling.recount import recounted
from robustlab.reporting.fooling.words import (
    NOTHING,
    a,
    budget,
    chance,
    count,
    network_name,
    number,
    quoted,
)
from robustlab.verdict import code

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """What the readings of one `Fooled` amount to."""

    fooled: Fooled

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Those of the search and those of the page."""
        return (*self.fooled.checks, *recounted(self.fooled))

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(one for one in self.checks if not one.passed)

    @property
    def left(self) -> bool:
        """The changed picture is not taken for what the original was."""
        return self.fooled.after.index != self.fooled.before.index

    @property
    def at_target(self) -> bool:
        """It is taken for the class asked for; two classes may share a name, so its probability
        must be the target's too.
        """
        after = self.fooled.after
        _, name, likeliest = after.top[0]
        alike = math.isclose(likeliest, after.target, rel_tol=1e-6)
        return self.left and name == self.fooled.target and alike

    @property
    def reached(self) -> bool:
        """What was asked for: the target, or without one any other class."""
        return self.left if self.fooled.target is None else self.at_target

    @property
    def proven(self) -> bool:
        """Reached, the search checked it, and no check fails: its own or the page's."""
        return self.reached and self.fooled.succeeded and not self.failed

    @property
    def nothing(self) -> str:
        """``noise``, ``a black picture``; empty for a picture of something."""
        return NOTHING.get(self.fooled.picture, "")

    @property
    def title(self) -> str:
        """The finding."""
        fooled = self.fooled
        network = code(network_name(fooled.network))
        _, after, likeliest = fooled.after.top[0]
        if not self.reached:
            return self._missed(network, after, likeliest)
        if self.nothing:
            said = f"{network} sees {a(after)} in {self.nothing}"
        else:
            said = f"{network} takes this {quoted(fooled.label)} for {a(after)}"
        if self.proven:
            return f"At {budget(fooled)} {said}: {chance(likeliest)}"
        if not fooled.checks:
            return f"Not proven: {said} ({chance(likeliest)}), but nothing was checked"
        wrong = f"{len(self.failed)} of {count(len(self.checks), 'check')}"
        return f"Not proven: {said} ({chance(likeliest)}), but {wrong} failed"

    def _missed(self, network: str, after: str, likeliest: float) -> str:
        fooled, eps = self.fooled, budget(self.fooled)
        if not self.left:
            what = f"of {self.nothing}" if self.nothing else "of this picture"
            kept = f"{network} still says {quoted(after)} {what}"
            return f"Not fooled: at {eps} {kept}, {chance(likeliest)}"
        what = f"calls {self.nothing}" if self.nothing else f"takes this {quoted(fooled.label)} for"
        other = f"at {eps} {network} {what} {a(after)} ({chance(likeliest)})"
        return f"Not the {quoted(fooled.target or '')} asked for: {other}"

    @property
    def lead(self) -> list[str]:
        """The sentences that carry the title."""
        return [*filter(None, (self._before(), self._change(), self._smallest(), self._doubt()))]

    def _before(self) -> str:
        fooled = self.fooled
        first, sure = fooled.before.top[0][1:]
        if self.nothing:
            return (
                f"Untouched, {self.nothing} is called {quoted(first)} ({chance(sure)}): a network "
                "that must name something names something. That is no label, only the class that "
                "it had to leave."
            )
        said = f"Of the original it says {quoted(first)} with {chance(sure)}."
        if fooled.target is not None and math.isfinite(fooled.before.target):
            said += (
                f" {quoted(fooled.target)} had {chance(fooled.before.target)} there, and has "
                f"{chance(fooled.after.target)} in the changed picture."
            )
        return said

    def _change(self) -> str:
        size = self.fooled.size
        if not size.linf:
            return "The picture was not changed at all."
        where = f"{number(size.l0)} of {count(size.pixels, 'pixel')} are changed"
        return (
            f"{where}, none of their values by more than {number(size.linf)} of 255 grey levels; "
            f"the mean over all values is {number(size.mean)}."
        )

    def _smallest(self) -> str:
        fooled = self.fooled
        found = fooled.smallest
        if found is None or not self.reached or fooled.norm != "linf":
            return ""
        if found.linf == 1:
            return "An 8-bit picture cannot change by less than one grey level: this is the least."
        return (
            "The smallest that this search found to do it at 8 bits changes no value by more than "
            f"{count(found.linf, 'grey level')}; a better search may find a smaller."
        )

    def _doubt(self) -> str:
        if self.reached and self.fooled.checks and self.failed:
            return f"What failed: {' '.join(plain(one) for one in self.failed)}"
        return ""


def plain(check: Check) -> str:
    """A failed check in one line of prose."""
    return f"{check.question} {check.found}.".replace("`", "'")
