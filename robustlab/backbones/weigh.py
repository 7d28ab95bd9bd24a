"""The fingerprint of a network: what decides its logits, and nothing else.

In it: names, shapes, dtypes and bytes of parameters and buffers; the module's `repr` (layers and
their settings); of classes that are not torch's own, the source and the plain attributes; mean,
std, input shape, number of classes. Not in it: device, name, class names, comments and layout of
the source, and functions that a `forward` calls from elsewhere. A class whose source cannot be
read (typed into a shell) counts by its name and attributes.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from robustlab.identity import canonical, fingerprint

__all__ = ["weigh"]


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
    own = [(name, part) for name, part in module.named_modules() if not _is_torch(type(part))]
    sources = {(type(part).__qualname__, _source(type(part))) for _, part in own}
    # What a user's forward reads from self need not show in the repr: self.slope = 0.1.
    return sorted([*map(list, sources), *([name, _attributes(part)] for name, part in own)])


def _attributes(part: nn.Module) -> str:
    plain = (bool, int, float, str, tuple, list)
    named = sorted(vars(part).items())
    return repr([(k, v) for k, v in named if k[0] != "_" and isinstance(v, plain)])


def _is_torch(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "torch"


def _source(kind: type) -> str:
    """The class as code alone: what `ast` writes back has neither comments nor layout."""
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    except (OSError, TypeError, SyntaxError):
        return ""
