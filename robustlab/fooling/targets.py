"""The class to reach, as people write it: a name, an index, a WordNet id, or a rule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from robustlab.data.imagenet import class_names
from robustlab.data.wordnet import synsets
from robustlab.errors import BadRequest
from robustlab.randomness import SampleRandom

__all__ = ["RULES", "SeenAlready", "choose", "class_index"]

RULES = ("least-likely", "second", "random")
_WORDNET = re.compile(r"n\d{8}")


class SeenAlready(BadRequest):
    """The class to reach is the one that the network sees in the clean picture."""


def choose(
    target: str | int | None,
    classes: Sequence[str],
    logits: NDArray[np.float64],
    key: str,
    seed: int,
) -> int | None:
    """The index of the class to reach; None where any other class will do.

    Args:
        target: one of `RULES`, or a class as `class_index` takes it; None: untargeted.
        logits: of the clean picture, [K]; ``second`` is the likeliest but one (the smaller index
            of equals), ``least-likely`` the last (Kurakin et al. 2017, arXiv:1607.02533, 2.3).
        key: with the seed it decides ``random``, one of all classes but the one seen.

    Raises:
        BadRequest: no such class; `SeenAlready` where the network sees it in the picture now.
    """
    if target is None:
        return None
    order = np.argsort(-logits, kind="stable")
    seen = int(order[0])
    if len(classes) < 2:
        raise BadRequest("the network knows one class alone: there is nothing to reach")
    if target == "least-likely":
        return int(order[-1])
    if target == "second":
        return int(order[1])
    if target == "random":
        step = 1 + int(SampleRandom(seed, [key], "target").integers(len(classes) - 1)[0])
        return (seen + step) % len(classes)
    index = class_index(target, classes)
    if index == seen:
        raise SeenAlready(
            f"target {str(target)!r}: the network takes the picture for {classes[seen]!r} already; "
            f"name another class, or give none for any mistake; the second likeliest is "
            f"{classes[int(order[1])]!r}"
        )
    return index


def class_index(target: str | int, classes: Sequence[str]) -> int:
    """A class by its name (case and underscores do not matter), else by its index from 0, else, of
    ImageNet's 1,000, by its WordNet id.

    Raises:
        BadRequest: no such class, or a name that several begin with; near ones are told.
    """
    asked = _plain(str(target))
    plain = [_plain(name) for name in classes]
    if asked in plain:
        return plain.index(asked)
    if re.fullmatch(r"\d+", asked):
        if int(asked) < len(classes):
            return int(asked)
        raise BadRequest(f"target {target}: there are classes 0 to {len(classes) - 1}")
    if _WORDNET.fullmatch(asked):
        if tuple(classes) == class_names() and asked in synsets():
            return synsets().index(asked)
        known = "this network's classes are not ImageNet's"
        if tuple(classes) == class_names():
            known = "none of the 1,000 classes of ILSVRC 2012"
        raise BadRequest(f"target {str(target)!r}: a WordNet id, {known}")
    raise BadRequest(f"unknown target {str(target)!r}{_near(asked, classes)}")


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


def _near(asked: str, classes: Sequence[str]) -> str:
    """The nearest class or rule, or those that hold the word; a way on where there is none."""
    holding = [name for name in classes if asked and asked in _plain(name)]
    names = {_plain(name): name for name in (*RULES, *classes)}
    close = get_close_matches(asked, names, n=1, cutoff=0.5)
    if len(holding) > 1:
        return f"; classes with that word: {', '.join(map(repr, holding[:8]))}"
    if close or holding:
        return f"; did you mean {[*holding, *(names[one] for one in close)][0]!r}?"
    if len(classes) <= 20:
        return f"; there is {', '.join([*RULES, *classes])}"
    return (
        f"; give one of the {len(classes)} class names, an index, a WordNet id, or "
        f"{', '.join(RULES)}"
    )
