"""Weights from a file into a module: safetensors, or a torch checkpoint read without pickle.

torch.load runs with ``weights_only=True``: a checkpoint that holds anything besides tensors and
plain containers is refused before any of its code could run.

Weights in half precision are raised to float32, which holds every value of theirs: files are
halved to be small, while a network that computes in halves rounds its logits to three digits and
an attack's gradients to nothing. Who wants to probe just that network asks for ``dtype=float16``.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from robustlab.errors import BadRequest, choices

__all__ = ["OtherNetwork", "pour", "read_weights"]

_TORCH = (".pt", ".pth", ".ckpt", ".bin")
_SHOWN = 3  # how many wrong keys an error names
# Where training scripts keep the weights.
_INSIDE = ("state_dict", "model_state_dict", "model", "net", "weights")
_WRAPPERS = ("module.", "model.", "net.", "_orig_mod.")  # DataParallel, Lightning, torch.compile
_ADVICE = "save model.state_dict() with torch.save or safetensors.torch.save_file"


class OtherNetwork(BadRequest):
    """Weights whose names or shapes are those of another network."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Parameter name -> tensor on the CPU.

    Raises:
        BadRequest: unknown extension, damaged, holds code, or no tensors at all.
    """
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _unwrapped(_read_safetensors(path))
    if suffix in _TORCH:
        return _unwrapped(_tensors(_read_torch(path), path))
    known = (".safetensors", *_TORCH)
    raise BadRequest(f"{path}: weights of an unknown kind {suffix!r}{choices(suffix, known)}")


def _head(path: Path) -> bytes:
    """The first bytes of a file that is not empty."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}") from None
    if not head:
        raise BadRequest(f"{path} is empty, a damaged copy; copy it again")
    return head


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if _head(path).startswith(b"PK\3\4"):
        raise BadRequest(f"{path}: by its content a torch checkpoint; call it {path.stem}.pt")
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}") from None
    except (SafetensorError, ValueError) as error:
        raise BadRequest(
            f"{path}: a damaged or cut-off safetensors file ({error}); copy it again"
        ) from None


def _read_torch(path: Path) -> object:
    if _head(path)[8:] == b"{":  # behind the length of its header
        raise BadRequest(f"{path}: by its content safetensors; call it {path.stem}.safetensors")
    try:
        found: object = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}") from None
    except pickle.UnpicklingError:
        raise BadRequest(
            f"{path}: this checkpoint holds Python objects besides tensors, or is damaged; "
            f"it was refused and nothing in it was executed; {_ADVICE}"
        ) from None
    except Exception as error:  # torch tells damage in many types: RuntimeError, EOFError, KeyError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(
            f"{path}: a damaged or cut-off checkpoint ({reason}); copy it again, or {_ADVICE}"
        ) from None
    return found


def _tensors(found: object, path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, or of what lies in it under one of the usual names; an epoch or
    an optimiser's state beside them is left out."""
    inner = found
    while isinstance(inner, Mapping):
        found = inner
        inner = next((found[k] for k in _INSIDE if isinstance(found.get(k), Mapping)), None)
    if not isinstance(found, Mapping):
        raise BadRequest(
            f"{path}: there are no weights in it but a {type(found).__name__}; {_ADVICE}"
        )
    tensors = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise BadRequest(
            f"{path}: there are no weights in it; it holds "
            f"{', '.join(map(repr, list(found)[:_SHOWN])) or 'nothing'}, weights are looked for "
            f"directly in it or under {', '.join(map(repr, _INSIDE))}; {_ADVICE}"
        )
    return tensors


def _unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that wrappers leave on every name."""
    while weights:
        prefix = next((w for w in _WRAPPERS if all(key.startswith(w) for key in weights)), None)
        if prefix is None:
            break
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def pour(weights: Mapping[str, Tensor], module: nn.Module, path: Path) -> nn.Module:
    """The module with the weights in it, in the file's widest floating dtype, at least float32.

    Raises:
        OtherNetwork: names or shapes that differ; the first few are named.
        BadRequest: integers (of a quantised network), or complex numbers, as weights.
    """
    floating = [value.dtype for value in weights.values() if value.is_floating_point()]
    widest = max(floating, key=lambda dtype: dtype.itemsize, default=torch.float32)
    module = module.to(widest if widest.itemsize > torch.float32.itemsize else torch.float32)
    own = module.state_dict()
    odd = {
        name: f"{name} has shape {list(weights[name].shape)} instead of {list(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    }
    for name, value in own.items():
        if value.is_floating_point() and not weights.get(name, value).is_floating_point():
            raise BadRequest(
                f"{path}: {name} holds {weights[name].dtype}, not floating-point numbers, as of a "
                "quantised network; save the weights from before it was quantised"
            )
    fitting = OrderedDict((name, value) for name, value in weights.items() if name not in odd)
    # torch renames what older versions saved where a part tells no version; some roots insist on
    # one, and no file but a torch checkpoint could tell it.
    root = getattr(own, "_metadata", {}).get("", {})
    fitting._metadata = {"": root}  # type: ignore[attr-defined]
    try:
        left = module.load_state_dict(fitting, strict=False)
    except RuntimeError as error:  # the shapes of renamed tensors
        raise OtherNetwork(f"{path}: these are not weights of that network: {error}") from None
    problems = [f"{name} is missing" for name in left.missing_keys if name not in odd]
    problems += [f"{name} is not expected" for name in left.unexpected_keys]
    problems += odd.values()
    if problems:
        raise OtherNetwork(f"{path}: these are not weights of that network: {_listed(problems)}")
    return module


def _listed(problems: list[str]) -> str:
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return f"{', '.join(problems[:_SHOWN])}{more}"
