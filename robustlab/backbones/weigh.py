"""The fingerprint of a network: what decides its logits, and nothing else.

In it: names, shapes, dtypes and bytes of parameters and buffers; the names and classes of all parts
in their order (not their `repr`, which changes from one torch to the next); attributes of any kind,
modules in plain lists among them, and hooks; the source of classes, inherited ones and those of
attributes included, that are not of torch or of Python; mean, std, input shape, number of classes.
Not in it: device, name, class names, comments, docstrings and layout of the source, and what
functions do that a `forward` calls from elsewhere. A class whose source cannot be read (typed into
a shell) counts by its name and attributes.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustlab.identity import canonical, fingerprint

__all__ = ["weigh"]

# Text of what was met already, and the thing itself: an id is good for as long as its thing lives.
Seen = dict[int, tuple[object, str]]

_BOOKKEEPING = frozenset(vars(nn.Module())) | {"training"}  # what every module has
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_LIBRARIES = frozenset(sys.stdlib_module_names) | {"torch", "torchvision"}
_PLAIN = (bool, int, float, complex, str, bytes, range, type(None))


def weigh(
    module: nn.Module,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    input_shape: Sequence[int],
    classes: int,
) -> str:
    """SHA-256 of the network, 64 hex digits."""
    seen: Seen = {id(part): (part, f"module {name}") for name, part in module.named_modules()}
    head = {
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "input_shape": list(input_shape),
        "classes": classes,
        "structure": _structure(module),
        "code": _code(module, seen),
    }
    return fingerprint([canonical(head).encode(), *_weights(module)])


def _structure(module: nn.Module) -> list[list[str]]:
    parts = module.named_modules(remove_duplicate=False)  # a layer may stand at two places
    return [[name, type(part).__name__] for name, part in parts]


def _weights(module: nn.Module) -> Iterator[bytes]:
    # Buffers that are not saved (persistent=False) decide logits as well.
    tensors = {**dict(module.named_buffers()), **module.state_dict()}
    for name, value in sorted(tensors.items()):
        if not isinstance(value, Tensor):  # what a module returns from get_extra_state
            yield f"{name} {value!r}".encode()
            continue
        yield f"{name} {value.dtype} {list(value.shape)}".encode()
        yield _bytes(value)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _code(module: nn.Module, seen: Seen) -> list[list[str]]:
    parts = list(module.named_modules())
    sources = {one for _, part in parts for one in _sources(type(part))}
    texts = ([name, *_attributes(part, seen)] for name, part in parts)
    return sorted([*map(list, sources), *texts])


def _attributes(part: nn.Module, seen: Seen) -> list[str]:
    """Attributes and hooks; of torch's own classes the public ones, as their private ones change
    from one version of torch to the next.
    """
    own = not _is_library(type(part))
    named = sorted(vars(part).items())
    kept = [(k, v) for k, v in named if k not in _BOOKKEEPING and (own or k[0] != "_")]
    hooks = [h for k in _HOOKS for h in vars(part).get(k, {}).values()]
    return [f"{k}={_text(v, seen)}" for k, v in kept] + [f"hook {_text(h, seen)}" for h in hooks]


def _text(value: Any, seen: Seen) -> str:
    """What decides a value, the same in every process."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, torch.device):
        return "device"
    if id(value) not in seen:
        seen[id(value)] = value, "a thing around this one"
        seen[id(value)] = value, _compound(value, seen)
    return seen[id(value)][1]


def _compound(value: Any, seen: Seen) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype}{list(value.shape)}{fingerprint([_bytes(value)])}"
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return f"{value.dtype}{list(value.shape)}{fingerprint([value.tobytes()])}"
    if isinstance(value, nn.Module):  # in a plain list, where no state dict finds it
        inner = canonical([_structure(value), _code(value, seen)])
        return fingerprint([inner.encode(), *_weights(value)])
    if isinstance(value, list | tuple):
        return f"({','.join(_text(v, seen) for v in value)})"
    if isinstance(value, set | frozenset):
        return f"{{{','.join(sorted(_text(v, seen) for v in value))}}}"
    if isinstance(value, dict):
        items = (f"{_text(k, seen)}:{_text(v, seen)}" for k, v in value.items())
        return f"{{{','.join(sorted(items))}}}"
    if isinstance(value, type):
        return f"{_name(value)}{_sources(value)}"
    if callable(value) and hasattr(value, "__qualname__") and not isinstance(value, MethodType):
        return _function(value, seen)
    return _object(value, seen)


def _function(function: Any, seen: Seen) -> str:
    bound = [getattr(function, key, None) for key in ("__defaults__", "__kwdefaults__")]
    bound += [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    source = "" if _is_library(function) else _source(function)
    return f"{_name(function)}{_text(bound, seen)}{source}"


def _object(value: Any, seen: Seen) -> str:
    """By what pickle and `copy.deepcopy` would make it anew from: its class and state, or the
    function and arguments that give it. What refuses (a lock, an open file) counts by its class.
    """
    try:
        made = value.__reduce_ex__(2)
    except Exception:  # whatever a user's class raises
        return type(value).__qualname__
    if isinstance(made, str):  # the name of a global
        return f"{type(value).__qualname__} {made}"
    # The last ones are iterators over what lists and dicts hold besides their state.
    parts = [*made[:3], *(list(one) for one in made[3:5] if one is not None)]
    return fingerprint([_text(parts, seen).encode()])


def _name(thing: Any) -> str:
    """Where a user's file lies does not count, which of two libraries a thing is of does."""
    return f"{thing.__module__ if _is_library(thing) else ''}.{thing.__qualname__}"


def _is_library(thing: Any) -> bool:
    """Of torch, torchvision or Python itself, as what is written in C and names no module."""
    return (getattr(thing, "__module__", None) or "torch").split(".")[0] in _LIBRARIES


def _sources(kind: type) -> list[tuple[str, str]]:
    """Names and sources of a class and those it inherits from, the libraries' left out."""
    own = (one for one in kind.__mro__ if not _is_library(one))
    return [(one.__qualname__, _source(one)) for one in own]


def _source(thing: Any) -> str:
    """Code alone: what `ast` writes back has neither comments nor layout."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
