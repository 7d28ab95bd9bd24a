"""Which builder a file's weights belong to, told by the names and shapes of its tensors.

Networks are laid out on the meta device, without numbers; the options that shape tensors (width,
channels, classes, norm, ...) are recovered from the file. What leaves no trace in weights (pooling,
padding, activation) stays at its default. RegNets cannot be laid out and are not found; timm, with
over a thousand networks, is not searched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from robustlab.backbones.lectures import Builder, builders
from robustlab.errors import BadRequest

__all__ = ["nearest_builder"]

Shapes = dict[str, tuple[int, ...]]

_TRIED = 12  # torchvision's networks laid out, those nearest in number of parameters
_REFINED = 3  # networks whose other options are tried
_NEAR = 0.5  # share of tensors that must fit for a network to be called near
_NORMS = ("batch", "off")
# Options that decide shapes but cannot be read off them, in the order in which they are tried.
_ALTERNATIVES: dict[str, tuple[Any, ...]] = {
    "shortcut": ("A", "B"),
    "head": ("flatten", "gap"),
    "size": (28, 32, 64, 96, 128, 224),
}


@dataclass(frozen=True)
class _Candidate:
    """A network laid out: how its reference is written, and how many tensors fit, of how many."""

    text: str
    fitting: int
    tensors: int

    @property
    def share(self) -> float:
        return self.fitting / self.tensors


class _Unfilled(TorchFunctionMode):
    """Every tensor on the meta device, whatever device is named, and no number drawn."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is not None:
            return args[0] if args else kwargs["tensor"]
        if func is functional.batch_norm:  # keeps the shape, and is slow to say so
            return args[0]
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")
        return func(*args, **kwargs)


def nearest_builder(weights: Mapping[str, Tensor], path: Path) -> str:
    """``"; they fit 'file:m.pt#resnet20?width=8'"``, or the nearest network and how far it fits.

    Args:
        weights: what the file holds.
        path: the file, as the reference shall name it.
    """
    found = [
        max(kind, key=lambda one: one.share)
        for kind in (_of_lectures(weights), _of_torchvision(weights))
        if kind
    ]
    exact = [f"'file:{path}#{one.text}'" for one in found if one.share == 1]
    if exact:
        return f"; they fit {' and '.join(exact)}"
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
    found = [one for one, _, _ in tried]
    if found and found[0].share == 1:
        return found
    return [_refined(*one, file) for one in tried[:_REFINED]]


@cache
def _published(builder: Builder) -> Shapes:
    return _laid_out(builder, {})


def _laid_out(builder: Builder, options: Mapping[str, Any]) -> Shapes:
    """Nothing for options that the builder refuses."""
    try:
        with _Unfilled():
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
    if len(file.get(first, ())) == 4:
        told = {"width": file[first][0], "channels": file[first][1]}
    if last in file:
        told["classes"] = file[last][0]
    norm = any(key.endswith("running_mean") for key in file)
    if defaults.get("norm") in _NORMS or norm:
        told["norm"] = "batch" if norm else "off"
    if "hidden" in defaults:
        told["hidden"] = ",".join(str(file[key][0]) for key in _linear(file)[:-1])
    return {key: value for key, value in told.items() if key in defaults}


def _linear(file: Shapes) -> list[str]:
    """Names of weight matrices, fc10 behind fc9."""
    names = [key for key, shape in file.items() if len(shape) == 2]
    return sorted(names, key=lambda key: [int(d) for d in re.findall(r"\d+", key)])


def _refined(
    best: _Candidate, builder: Builder, options: dict[str, Any], file: Shapes
) -> _Candidate:
    """The better of each option's alternatives, one option after the other."""
    for key, values in _ALTERNATIVES.items():
        if key not in builder.defaults or best.share == 1:
            continue
        for value in values:
            other = _fit(builder, options | {key: value}, file)
            if other.share > best.share:
                best, options = other, options | {key: value}
    return best


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
    except NotImplementedError:  # a RegNet
        return
    query = f"?classes={classes}" if classes != source.CLASSES else ""
    yield _candidate(f"torchvision:{name}{query}", own, file)
