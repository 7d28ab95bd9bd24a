"""The 1,000 classes of ImageNet (ILSVRC 2012), as torchvision names and numbers them.

Nothing is downloaded: the names are part of torchvision's own metadata.
"""

from __future__ import annotations

from collections.abc import Callable

from robustlab.data.checks import unique_names
from robustlab.data.wordnet import synsets
from robustlab.errors import BadRequest, nearest

__all__ = ["KNOWN", "class_finder", "class_names"]

KNOWN = ("imagenet",)  # sets of classes that an option ``classes=`` names


def class_names() -> tuple[str, ...]:
    """The 1,000 classes in the order of their index, as torchvision names them."""
    from torchvision.models import ResNet18_Weights

    return unique_names(ResNet18_Weights.DEFAULT.meta["categories"])


def class_finder(where: str) -> Callable[[str], int]:
    """A function from what somebody calls a class to its index.

    A class is known by its name (``giant panda``; case does not matter, and an underscore is a
    space), by its index (``388``) or by its WordNet id (``n02510455``).

    Args:
        where: stands in front of the function's errors.

    Raises:
        BadRequest: by the function; no such class, with near misses, or a name that several share.
    """
    names = class_names()
    exact = {name: index for index, name in enumerate([*names, *synsets()])}
    by_form: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        # Where two share a name it is followed by the index: "crane (134)" is a crane too.
        for form in {_plain(name), _plain(name.removesuffix(f" ({index})"))}:
            by_form.setdefault(form, []).append(index)

    def find(text: str) -> int:
        if text.isascii() and text.isdecimal():
            if int(text) >= len(names):
                raise BadRequest(
                    f"{where}: class {text} is none of ImageNet's; they run from 0 to "
                    f"{len(names) - 1}"
                )
            return int(text)
        found = [exact[text] % len(names)] if text in exact else by_form.get(_plain(text), [])
        if len(found) > 1:
            told = " and ".join(f"{names[index]!r} ({index})" for index in found)
            raise BadRequest(f"{where}: {text!r} is two of ImageNet's classes, {told}; say which")
        if not found:
            close = nearest(_plain(text), by_form) or "; write a name as 'giant panda'"
            raise BadRequest(
                f"{where}: {text!r} is none of ImageNet's classes{close}, an index from 0 to "
                f"{len(names) - 1} or a WordNet id"
            )
        return found[0]

    return find


def _plain(text: str) -> str:
    return " ".join(text.replace("_", " ").split()).casefold()
