"""What a module and its description must be before they become a `Backbone`."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustlab.backbones.memory import enough_memory
from robustlab.errors import BadRequest

__all__ = [
    "as_device",
    "as_input_shape",
    "as_statistics",
    "check_eval_mode",
    "check_forward",
    "private_copy",
]

Statistics = tuple[float, ...] | None


def as_device(device: str | torch.device) -> torch.device:
    """A device that is there; ``cuda`` means the current one."""
    try:
        found = torch.device(device)
        if found.type == "cuda" and found.index is None and torch.cuda.is_available():
            found = torch.device("cuda", torch.cuda.current_device())
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BadRequest(f"device {str(device)!r} cannot be used ({reason}); try 'cpu'") from None
    return found


def as_input_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, H, W), three whole numbers of at least 1."""
    try:
        channels, height, width = (int(one) for one in input_shape)
        whole = tuple(input_shape) == (channels, height, width)
    except (TypeError, ValueError):
        whole = False
    if not whole or min(channels, height, width) < 1:
        raise BadRequest(
            f"input_shape {input_shape!r} is not (channels, height, width), as (1, 32, 32)"
        )
    return channels, height, width


def as_statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[Statistics, Statistics]:
    """mean and std as tuples, one finite number a channel, or None both."""
    if mean is None and std is None:
        return None, None
    if mean is None or std is None:
        raise BadRequest("give mean and std both, or neither")
    found = []
    for name, given in (("mean", mean), ("std", std)):
        try:
            values = tuple(float(one) for one in given)
        except (TypeError, ValueError):
            raise BadRequest(f"{name} {given!r} is no list of numbers, one a channel") from None
        if len(values) != channels:
            raise BadRequest(
                f"{name} has {len(values)} numbers, the images have {channels} channels; "
                "give one a channel"
            )
        if not all(math.isfinite(one) for one in values):
            raise BadRequest(f"{name} {list(values)} is not finite")
        found.append(values)
    if min(found[1]) <= 0:
        raise BadRequest(f"std {list(found[1])} must be above 0 in every channel")
    return found[0], found[1]


def check_eval_mode(module: nn.Module, name: str) -> None:
    """Refuse a module of which any part still trains: dropout and batch norm would be noise."""
    if not isinstance(module, nn.Module):
        raise BadRequest(f"{name}: a {type(module).__name__} is no torch.nn.Module")
    for path, part in module.named_modules():
        if part.training:
            where = f"its part {path!r} ({type(part).__name__})" if path else "the network"
            raise BadRequest(f"{name}: {where} is in train mode; call .eval() on the network first")


def private_copy(module: nn.Module, name: str) -> nn.Module:
    """A deep copy, frozen and without gradients left over."""
    try:
        with enough_memory(name, lambda: sum(one.numel() for one in module.parameters())):
            copied = copy.deepcopy(module)
    except BadRequest:
        raise
    except Exception as error:  # a user's module may refuse in its own words
        raise BadRequest(
            f"{name}: the network cannot be copied ({error}); remove what holds it back, "
            "as tensors kept from a forward pass"
        ) from error
    copied.zero_grad(set_to_none=True)
    return copied.requires_grad_(False)


def check_forward(
    network: nn.Module,
    input_shape: tuple[int, int, int],
    classes: int,
    dtype: torch.dtype,
    device: torch.device,
    name: str,
) -> None:
    """Send one grey image through: the output must be finite logits [1, classes]."""
    grey = torch.full((1, *input_shape), 0.5, dtype=dtype, device=device)
    try:
        with torch.no_grad():
            logits = network(grey)
    except Exception as error:  # whatever a user's forward raises
        raise BadRequest(
            f"{name}: the network fails on an image of shape {list(input_shape)}: {error}; "
            "check input_shape"
        ) from error
    if not isinstance(logits, Tensor):
        raise BadRequest(
            f"{name}: the network returns a {type(logits).__name__}; wrap it so that it returns "
            "the tensor of logits"
        )
    if list(logits.shape) != [1, classes]:
        raise BadRequest(
            f"{name}: one image gives an output of shape {list(logits.shape)}, "
            f"but {classes} classes need [1, {classes}]; check classes"
        )
    if not bool(torch.isfinite(logits).all()):
        raise BadRequest(
            f"{name}: the logits of a grey image are not finite; check the weights, mean and std"
        )
