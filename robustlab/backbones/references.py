"""References: the text that names a network, taken apart. Needs no torch and touches no file.

lenet5-max@digits                      a shipped network
lenet5?pool=avg@digits                 the shipped network of that builder and those options
mlp?hidden=128,64                      a builder, untrained
file:m.safetensors#lenet5?pool=max     weights from a file, poured into a builder
file:out/mlp@digits.safetensors        the same, the builder told by the card beside the file
python:./mine.py:build                 the user's own function, returning a Backbone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robustlab.data.query import split_query
from robustlab.errors import BadRequest

__all__ = ["Reference", "parse_reference"]

_LATER = ("torchvision", "timm")


@dataclass(frozen=True)
class Reference:
    """One reference.

    Attributes:
        text: as it was written.
        kind: ``"named"`` (a shipped network or a builder), ``"file"`` or ``"python"``.
        builder: name of the builder, or of the shipped network; empty if the card shall tell.
        options: the builder's options as text.
        data: what stands behind the ``@``, the data the network was trained on; may be empty.
        path: the file of ``file:`` and ``python:``.
        function: the function of ``python:``.
    """

    text: str
    kind: str
    builder: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    path: str = ""
    function: str = ""


def parse_reference(text: str) -> Reference:
    """Take one reference apart.

    Raises:
        BadRequest: a part is missing, or the kind is not built yet.
    """
    text = str(text).strip()
    kind, colon, rest = text.partition(":")
    if colon and kind == "file":
        return _file(text, rest)
    if colon and kind == "python":
        path, _, function = rest.rpartition(":")
        if not (path and function):
            raise BadRequest(
                f"network {text!r}: write 'python:FILE:FUNCTION', as python:./my.py:build"
            )
        return Reference(text, "python", path=path, function=function)
    if colon and kind in _LATER:
        raise BadRequest(
            f"network {text!r}: {kind} networks are not built yet; until then wrap yours in a "
            "robustlab.Backbone and name the function, as python:./mine.py:build"
        )
    builder, options, data = _builder(text, text)
    return Reference(text, "named", builder, options, data)


def _file(text: str, rest: str) -> Reference:
    path, mark, named = rest.partition("#")
    if not path or (mark and not named):
        raise BadRequest(
            f"network {text!r}: write 'file:PATH#BUILDER', as file:my.pt#lenet5?pool=avg"
        )
    builder, options, data = _builder(text, named) if named else ("", {}, "")
    if data:
        raise BadRequest(f"network {text!r}: the weights come from the file; leave out '@{data}'")
    return Reference(text, "file", builder, options, path=path)


def _builder(text: str, named: str) -> tuple[str, dict[str, str], str]:
    name, at, data = named.rpartition("@")
    if not at:
        name, data = named, ""
    builder, options = split_query(name)
    if not builder or (at and not data):
        raise BadRequest(f"network {text!r}: write 'NAME@DATA' or 'BUILDER?option=value@DATA'")
    return builder, options, data
