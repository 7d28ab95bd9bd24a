"""Which builder a file's weights belong to, told by the names and shapes of its tensors.

Networks are laid out on the meta device, without numbers; the options that shape tensors (width,
channels, classes, norm, ...) are recovered from the file. What leaves no trace in weights (pooling,
padding, activation) stays at its default, and the advice says so. RegNets cannot be laid out and
are not found; timm, with over a thousand networks, is not searched.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from shlex import quote
from typing import Any

from torch import Tensor

from robustlab.backbones.lectures import Builder, builders
from robustlab.backbones.unfilled import Unfilled
from robustlab.errors import BadRequest

__all__ = ["nearest_builder"]

Shapes = dict[str, tuple[int, ...]]

_TRIED = 12  # torchvision's networks laid out, those nearest in number of parameters
_REFINED = 3  # networks whose other options are tried
_NEAR = 0.5  # share of tensors that must fit for a network to be called near
_NORMS = ("batch", "off")
_HEADS = ("flatten", "gap")
# Options that decide shapes but cannot be read off them.
_ALTERNATIVES: dict[str, tuple[Any, ...]] = {
    "shortcut": ("A", "B"),
    "towers": (1, 2),
    "branch5": (3, 5),
    "module": ("bottleneck", "naive"),
    "auxiliary": (False, True),
}
_SIZES = (28, 32, 64, 96, 128, 224)  # tried before any other size that fits
_SOLVED = range(8, 1025)
# What may leave no trace: a value each, held against the layout that was found.
_TRACELESS = {
    "pool": "avg",
    "padding": "reflect",
    "activation": "tanh",
    "norm=lrn": "lrn",
    "norm=off": "off",
    "shortcut=none": "none",
}


@dataclass(frozen=True)
class _Candidate:
    """A network laid out: how its reference is written, how many tensors fit, of how many, and
    which options are a guess.
    """

    text: str
    fitting: int
    tensors: int
    untold: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.fitting / max(1, self.tensors)


def nearest_builder(weights: Mapping[str, Tensor], path: Path) -> str:
    """``"; they fit 'file:m.pt#resnet20?width=8'"`` and what of it is a guess, or the nearest
    network and how far it fits.

    Args:
        weights: what the file holds.
        path: the file, as the reference shall name it.
    """
    found = [
        max(kind, key=lambda one: one.share)
        for kind in (_of_lectures(weights), _of_torchvision(weights))
        if kind
    ]
    exact = [one for one in found if one.share == 1]
    if exact:
        references = " and ".join(quote(f"file:{path}#{one.text}") for one in exact)
        untold = ", ".join(dict.fromkeys(key for one in exact for key in one.untold))
        return (
            f"; they fit {references}; {f'{untold}, ' if untold else ''}mean and std leave no "
            "trace in weights: give yours where they are not the defaults"
        )
    best = max(found, key=lambda one: one.share, default=None)
    if best is not None and best.share >= _NEAR:
        return f"; the nearest is '{best.text}': {best.fitting} of {best.tensors} tensors fit"
    return (
        "; no builder of the lab or of torchvision is near; wrap your own network in a "
        "robustlab.Backbone and name the function, as python:./mine.py:build"
    )


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """Counters of batch normalisation left out: old checkpoints lack them."""
    kept = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    return {key: tuple(value.shape) for key, value in kept.items()}


def _candidate(text: str, own: Shapes, file: Shapes) -> _Candidate:
    return _Candidate(text, len(own.items() & file.items()), len(own.keys() | file.keys()))


def _of_lectures(weights: Mapping[str, Tensor]) -> list[_Candidate]:
    file, tried = _shapes(weights), []
    for builder in builders.values():
        options = _recovered(builder, file)
        if options is not None:
            tried.append((_fit(builder, options, file), builder, options))
    tried.sort(key=lambda one: -one[0].share)
    if not tried or tried[0][0].share < 1:
        tried = [_refined(*one, file) for one in tried[:_REFINED]]
    return [
        replace(one, untold=_untold(builder, options)) if one.share == 1 else one
        for one, builder, options in tried
    ]


@cache
def _published(builder: Builder) -> Shapes:
    return _laid_out(builder, {})


def _laid_out(builder: Builder, options: Mapping[str, Any]) -> Shapes:
    """Nothing for options that the builder refuses."""
    try:
        with Unfilled():
            return _shapes(builder(**builder.bind(options)).state_dict())
    except BadRequest:
        return {}


def _fit(builder: Builder, options: Mapping[str, Any], file: Shapes) -> _Candidate:
    changed = {k: v for k, v in options.items() if v != builder.defaults[k]}
    query = "&".join(f"{key}={value}" for key, value in changed.items())
    if not changed:
        return _candidate(builder.name, _published(builder), file)
    return _candidate(f"{builder.name}?{query}", _laid_out(builder, changed), file)


def _recovered(builder: Builder, file: Shapes) -> dict[str, Any] | None:
    """Options that the first and the last layer tell; None where the file has neither."""
    defaults, own = builder.defaults, _published(builder)
    first, last = next(iter(own)), next(reversed(own))
    if first not in file and last not in file:
        return None
    told: dict[str, Any] = {}
    shape = file.get(first, ())
    if len(shape) == 4:
        told = {"width": shape[0], "channels": shape[1]}
    if len(shape) == 6:  # locally connected: rows, columns, out, in, kernel, kernel
        told = {"width": shape[2], "channels": shape[3], "size": shape[0] + shape[4] - 1}
    if file.get(last):
        told["classes"] = file[last][0]
    norm = any(key.endswith("running_mean") for key in file)
    if defaults.get("norm") in _NORMS or norm:
        told["norm"] = "batch" if norm else "off"
    if "hidden" in defaults and len(shape) == 2:
        *hidden, classes = (file[key][0] for key in _linear(file))
        told |= {"hidden": ",".join(map(str, hidden)), "classes": classes} | _square(shape[1])
    return {key: value for key, value in told.items() if key in defaults}


def _linear(file: Shapes) -> list[str]:
    """Names of weight matrices, fc10 behind fc9."""
    names = [key for key, shape in file.items() if len(shape) == 2]
    return sorted(names, key=lambda key: [int(d) for d in re.findall(r"\d+", key)])


def _square(values: int) -> dict[str, int]:
    """Channels and size of images of so many values: grey ones, else colour ones."""
    for channels in (1, 3):
        size = math.isqrt(values // channels)
        if size * size * channels == values:
            return {"channels": channels, "size": size}
    return {}


def _refined(
    best: _Candidate, builder: Builder, options: dict[str, Any], file: Shapes
) -> tuple[_Candidate, Builder, dict[str, Any]]:
    """The better of each option's alternatives, one option after the other."""
    for key, values in _ALTERNATIVES.items():
        if key not in builder.defaults or best.share == 1:
            continue
        for value in values:
            other = _fit(builder, options | {key: value}, file)
            if other.share > best.share:
                best, options = other, options | {key: value}
    if best.tensors - best.fitting == 1 and "head" in builder.defaults:
        for changed in _geometries(builder, options, file):
            other = _fit(builder, changed, file)
            if other.share == 1:
                return other, builder, changed
    return best, builder, options


def _geometries(
    builder: Builder, options: dict[str, Any], file: Shapes
) -> Iterator[dict[str, Any]]:
    """Heads and sizes that may give the matrix behind the last maps the shape it has in the file:
    usual sizes, the published head before the other, then the smallest size that does.
    """
    heads = sorted(_HEADS, key=lambda head: head != builder.defaults["head"])
    for head in heads:
        yield options | {"head": head}
        yield from (options | {"head": head, "size": size} for size in _SIZES)
    own = _laid_out(builder, options)
    odd = next((key for key in _linear(own) if file.get(key, own[key]) != own[key]), "")
    for head in heads if len(file.get(odd, ())) == 2 else ():
        given = options | {"head": head}
        columns = partial(_columns, builder, given, odd)
        yield given | {"size": 8 + bisect_left(_SOLVED, file[odd][1], key=columns)}


def _columns(builder: Builder, options: dict[str, Any], key: str, size: int) -> int:
    return _laid_out(builder, options | {"size": size}).get(key, (0, 0))[1]


def _untold(builder: Builder, options: dict[str, Any]) -> tuple[str, ...]:
    """Which options could have another value without another shape anywhere."""
    own, found = _laid_out(builder, options), []
    for text, value in _TRACELESS.items():
        key = text.partition("=")[0]
        known = key in builder.defaults and options.get(key, builder.defaults[key]) != value
        if known and _laid_out(builder, options | {key: value}) == own:
            found.append(text)
    return tuple(found)


def _of_torchvision(weights: Mapping[str, Tensor]) -> list[_Candidate]:
    from robustlab.backbones import torchvision_source as source

    file = _shapes(source.adapted(dict(weights)))
    numbers = max(1, sum(math.prod(s) for k, s in file.items() if "running_" not in k))
    known = source.parameters_of()
    near = sorted(known, key=lambda name: abs(math.log(known[name] / numbers)))[:_TRIED]
    return [one for name in near for one in _of_library(name, file)]


def _of_library(name: str, file: Shapes) -> Iterator[_Candidate]:
    from robustlab.backbones import torchvision_source as source

    try:
        own = _shapes(source.laid_out(name, source.CLASSES).state_dict())
        classes = (file.get(next(reversed(own))) or (source.CLASSES,))[0]
        own = _shapes(source.laid_out(name, classes).state_dict())
    except (NotImplementedError, BadRequest):  # a RegNet; no classes
        return
    query = f"?classes={classes}" if classes != source.CLASSES else ""
    yield _candidate(f"torchvision:{name}{query}", own, file)
