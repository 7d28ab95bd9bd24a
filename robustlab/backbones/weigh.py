"""The fingerprint of a network: what decides its logits, and nothing else.

In it: names, shapes, dtypes and bytes of parameters and buffers; the module's `repr` (layers and
their settings); attributes, tensors among them, and hooks; the source of classes that are not
torch's own; mean, std, input shape, number of classes. Not in it: device, name, class names,
comments and layout of the source, and what functions do that a `forward` calls from elsewhere. A
class whose source cannot be read (typed into a shell) counts by its name and attributes.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustlab.identity import canonical, fingerprint

__all__ = ["weigh"]

_BOOKKEEPING = frozenset(vars(nn.Module())) | {"training"}  # what every module has
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def weigh(
    module: nn.Module,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    input_shape: Sequence[int],
    classes: int,
) -> str:
    """SHA-256 of the network, 64 hex digits."""
    head = {
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "input_shape": list(input_shape),
        "classes": classes,
        "structure": repr(module),
        "code": _code(module),
    }
    return fingerprint([canonical(head).encode(), *_weights(module)])


def _weights(module: nn.Module) -> Iterator[bytes]:
    # Buffers that are not saved (persistent=False) decide logits as well.
    tensors = {**dict(module.named_buffers()), **module.state_dict()}
    for name, value in sorted(tensors.items()):
        if not isinstance(value, Tensor):  # what a module returns from get_extra_state
            yield f"{name} {value!r}".encode()
            continue
        flat = value.detach().cpu().contiguous().reshape(-1)
        yield f"{name} {value.dtype} {list(value.shape)}".encode()
        yield flat.view(torch.uint8).numpy().tobytes()


def _code(module: nn.Module) -> list[list[str]]:
    parts = list(module.named_modules())
    sources = {(type(p).__qualname__, _source(type(p))) for _, p in parts if not _is_torch(type(p))}
    # What a forward reads from self need not show in the repr: self.slope = 0.1.
    return sorted([*map(list, sources), *([name, *_attributes(part)] for name, part in parts)])


def _attributes(part: nn.Module) -> list[str]:
    """Attributes and hooks; of torch's own classes the public ones, as their private ones change
    from one version of torch to the next.
    """
    own = not _is_torch(type(part))
    named = sorted(vars(part).items())
    kept = [(k, v) for k, v in named if k not in _BOOKKEEPING and (own or k[0] != "_")]
    hooks = [h for k in _HOOKS for h in vars(part).get(k, {}).values()]
    return [f"{k}={_text(v)}" for k, v in kept] + [f"hook {_text(h)}" for h in hooks]


def _text(value: Any) -> str:
    """What decides a value, the same in every process."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}{fingerprint([value.tobytes()])}"
    if isinstance(value, list | tuple):
        return f"({','.join(map(_text, value))})"
    if isinstance(value, dict):
        return f"{{{','.join(sorted(f'{_text(k)}:{_text(v)}' for k, v in value.items()))}}}"
    if isinstance(value, bool | int | float | str | None):
        return repr(value)
    if callable(value):
        name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value))}"
        closed = [_text(c.cell_contents) for c in getattr(value, "__closure__", None) or ()]
        return f"{name}{closed}{_source(value) if '<lambda>' in name else ''}"
    return type(value).__qualname__  # an object of no known kind counts by its class


def _is_torch(kind: type) -> bool:
    return kind.__module__.split(".")[0] in ("torch", "torchvision")


def _source(thing: Any) -> str:
    """Code alone: what `ast` writes back has neither comments nor layout."""
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(thing))))
    except (OSError, TypeError, SyntaxError):
        return ""
