"""Weights from a file into a module: safetensors, or a torch checkpoint read without pickle.

torch.load runs with ``weights_only=True``: a checkpoint that holds anything besides tensors and
plain containers is refused before any of its code could run.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from robustlab.errors import BadRequest, choices

__all__ = ["pour", "read_weights"]

_TORCH = (".pt", ".pth", ".ckpt", ".bin")
_SHOWN = 3  # how many wrong keys an error names


def read_weights(path: Path) -> dict[str, Tensor]:
    """Parameter name -> tensor on the CPU.

    Raises:
        BadRequest: unknown extension, damaged, holds more than tensors, or no tensors at all.
    """
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if suffix in _TORCH:
        return _state_dict(_read_torch(path), path)
    known = (".safetensors", *_TORCH)
    raise BadRequest(f"{path}: weights of an unknown kind {suffix!r}{choices(suffix, known)}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}") from None
    except (SafetensorError, ValueError) as error:
        raise BadRequest(
            f"{path}: a damaged or cut-off safetensors file ({error}); copy it again"
        ) from None


def _read_torch(path: Path) -> object:
    advice = "save model.state_dict() with torch.save or safetensors.torch.save_file"
    try:
        found: object = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}") from None
    except pickle.UnpicklingError:
        raise BadRequest(
            f"{path}: this checkpoint holds Python objects besides tensors, or is damaged; "
            f"it was refused and nothing in it was executed; {advice}"
        ) from None
    except Exception as error:  # torch tells damage in many types: RuntimeError, EOFError, KeyError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(
            f"{path}: a damaged or cut-off checkpoint ({reason}); copy it again, or {advice}"
        ) from None
    return found


def _state_dict(found: object, path: Path) -> dict[str, Tensor]:
    """The weights inside a checkpoint: itself, or under ``state_dict`` or ``model``; the prefix
    ``module.`` that DataParallel leaves is taken off."""
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found:
        raise BadRequest(f"{path}: there are no weights in it; save model.state_dict()")
    wrong = [key for key, value in found.items() if not isinstance(value, Tensor)]
    if wrong:
        raise BadRequest(
            f"{path}: {wrong[0]!r} is no tensor but a {type(found[wrong[0]]).__name__}; "
            "save model.state_dict() alone"
        )
    prefix = "module." if all(str(key).startswith("module.") for key in found) else ""
    return {str(key).removeprefix(prefix): value for key, value in found.items()}


def pour(weights: Mapping[str, Tensor], module: nn.Module, path: Path) -> nn.Module:
    """The module with the weights in it, in the widest floating dtype of the file.

    Raises:
        BadRequest: names or shapes that differ; the first few are named.
    """
    own = module.state_dict()
    problems = [f"{name} is missing" for name in own if name not in weights]
    problems += [f"{name} is not expected" for name in weights if name not in own]
    problems += [
        f"{name} has shape {list(weights[name].shape)} instead of {list(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise BadRequest(
            f"{path}: these are not weights of that network: "
            f"{', '.join(problems[:_SHOWN])}{more}; check the builder and its options"
        )
    floating = [value.dtype for value in weights.values() if value.is_floating_point()]
    if floating:
        module = module.to(max(floating, key=lambda dtype: dtype.itemsize))
    module.load_state_dict(weights)
    return module
