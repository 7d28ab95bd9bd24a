"""Does it transfer: the saved picture shown to other networks, each with its own way of looking.

A network that sees another class in the clean picture than the first one did is told as it is:
``before`` says what it sees there, and it is fooled where the saved picture changes its mind.
"""

from __future__ import annotations

from collections.abc import Sequence

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest, choices
from robustlab.fooled import Answer, Pixels
from robustlab.fooling.readings import Read, check_class, look, tell

__all__ = ["matching", "transfer"]


def transfer(
    others: Sequence[tuple[Backbone, Read]],
    original: Pixels,
    changed: Pixels,
    label: int,
    target: int | None,
    classes: Sequence[str],
) -> tuple[Answer, ...]:
    """What other networks say of the clean picture and of the changed one: one `Answer` each.

    Args:
        others: networks, each with how it reads 8-bit pixels [C, H, W].
        original, changed: uint8 [C, H, W], as they were read back from their files.
        label, target: indices, in ``classes``, of what the first network sees in the clean picture
            and of what was asked for.
        classes: the first network's class names.

    Returns:
        `Answer`s; fooled: it takes the changed picture for another class than the clean one;
        at_target: and for the class that was asked for. One try each.

    Raises:
        BadRequest: a network without these classes.
    """
    found = []
    for backbone, read in others:
        own = matching(backbone, label, classes)
        goal = None if target is None else matching(backbone, target, classes)
        both = look(backbone, [read(original), read(changed)])
        before, after = (tell(backbone.name, backbone.classes, row, own, goal) for row in both)
        moved = after.index != before.index
        hit = moved and after.index == goal
        counts = {"tries": 1, "fooling": int(moved), "hitting": int(hit)}
        found.append(Answer(backbone.name, before, after, moved, hit, **counts))
    return tuple(found)


def matching(backbone: Backbone, index: int, classes: Sequence[str]) -> int:
    """Which class of ``backbone`` is class ``index`` of ``classes``: by name, or by number where
    one of the two has numbers for names and both have as many.

    Raises:
        BadRequest: no such class, or a name that it has more than once.
    """
    theirs, name = list(backbone.classes), classes[index]
    numbers = [str(number) for number in range(len(theirs))]
    if theirs == list(classes) or (
        len(theirs) == len(classes) and numbers in (theirs, list(classes))
    ):
        check_class(backbone, index)
        return index
    if theirs.count(name) != 1:
        many = f"{theirs.count(name)} classes" if name in theirs else "no class"
        hint = "" if name in theirs else choices(name, theirs[:50])
        raise BadRequest(
            f"{backbone.name} has {many} {name!r}{hint}; transfer asks networks of the same classes"
        )
    return theirs.index(name)
