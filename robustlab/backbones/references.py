"""References: the text that names a network, taken apart. Needs no torch and touches no file.

lenet5-max@digits                      a shipped network
lenet5?pool=avg@digits                 the shipped network of that builder and those options
mlp?hidden=128,64                      a builder, untrained
torchvision:resnet50?weights=DEFAULT   any classifier of torchvision; also ?weights=NAME, none
timm:convnext_tiny?weights=default     any classifier of timm; also ?weights=none
file:m.safetensors#lenet5?pool=max     weights from a file, poured into any builder
file:m.pth#torchvision:resnet18?classes=10
file:out/mlp@digits.safetensors        the same, the builder told by the card beside the file
python:./mine.py:build                 the user's own function, returning a Backbone

Where a builder or a shipped network is named, ``mean=0.5,0.5,0.5&std=0.2,0.2,0.2`` (``mean=none``:
the network takes [0, 1] as it is) and ``dtype=float16`` may stand among its options; a card beside
a file tells its own. A path may hold a ``#``: only the last, no folder behind it, opens a builder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robustlab.data.query import split_query
from robustlab.errors import BadRequest, choices

__all__ = ["LIBRARIES", "Reference", "parse_reference"]

LIBRARIES = ("torchvision", "timm")
_DTYPES = ("float16", "bfloat16", "float32", "float64")

Statistics = tuple[float, ...] | None


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
        statistics: (mean, std) in place of what the builder knows; None where none are written,
            (None, None) for ``mean=none``.
        dtype: name of the floating dtype asked for; may be empty.
    """

    text: str
    kind: str
    builder: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    path: str = ""
    function: str = ""
    statistics: tuple[Statistics, Statistics] | None = None
    dtype: str = ""


@dataclass(frozen=True)
class _Named:
    """What stands behind the path or alone: ``BUILDER?option=value@DATA``."""

    builder: str
    options: dict[str, str]
    data: str
    statistics: tuple[Statistics, Statistics] | None
    dtype: str


def parse_reference(text: str) -> Reference:
    """Take one reference apart.

    Raises:
        BadRequest: a part is missing, or mean, std or dtype cannot be read.
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
    return Reference(text, "named", **vars(_named(text, text)))


def _file(text: str, rest: str) -> Reference:
    path, mark, named = rest.rpartition("#")
    if not mark or "/" in named.partition("?")[0]:
        path, mark, named = rest, "", ""
    if not path or (mark and not named):
        raise BadRequest(
            f"network {text!r}: write 'file:PATH#BUILDER', as file:my.pt#lenet5?pool=avg"
        )
    if not named:
        return Reference(text, "file", path=path)
    parts = _named(text, named)
    if parts.data:
        raise BadRequest(
            f"network {text!r}: the weights come from the file; leave out '@{parts.data}'"
        )
    return Reference(text, "file", path=path, **vars(parts))


def _named(text: str, named: str) -> _Named:
    name, at, data = named.rpartition("@")
    if not at:
        name, data = named, ""
    builder, options = split_query(name)
    if not builder or (at and not data):
        raise BadRequest(f"network {text!r}: write 'NAME@DATA' or 'BUILDER?option=value@DATA'")
    library, colon, model = builder.partition(":")
    if colon and library in LIBRARIES:
        if not model:
            raise BadRequest(f"network {text!r}: write '{library}:NAME', as {library}:resnet18")
        if data:
            raise BadRequest(
                f"network {text!r}: the option 'weights' says which; leave out '@{data}'"
            )
    try:
        statistics, dtype = _statistics(options), _dtype(options)
    except BadRequest as error:
        raise error.inside(f"network {text!r}") from None
    return _Named(builder, options, data, statistics, dtype)


def _statistics(options: dict[str, str]) -> tuple[Statistics, Statistics] | None:
    """mean and std, taken out of the options."""
    given = {key: options.pop(key) for key in ("mean", "std") if key in options}
    if not given:
        return None
    if set(given.values()) == {"none"}:
        return None, None
    if len(given) < 2:
        raise BadRequest("give mean and std both, or mean=none")
    return _numbers("mean", given["mean"]), _numbers("std", given["std"])


def _numbers(key: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise BadRequest(
            f"{key}={text!r} is no list of numbers, one a channel, as 0.485,0.456,0.406"
        ) from None


def _dtype(options: dict[str, str]) -> str:
    dtype = options.pop("dtype", "")
    if dtype and dtype not in _DTYPES:
        raise BadRequest(f"unknown dtype {dtype!r}{choices(dtype, _DTYPES)}")
    return dtype
