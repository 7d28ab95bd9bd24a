"""Backward passes of a deconvnet, on any network whose path from a unit to the image allows it.

A deconvnet (Zeiler and Fergus 2014) runs a network backwards: filters transposed, max pooling
undone by the switches of the forward pass, and what arrives at a rectifier rectified itself. All of
it is the gradient, but for the rectifiers: so these are exchanged while the network runs, whoever
calls them (modules, functions, methods, in place or used twice), and autograd does the rest.

    gradient    what arrives, where the rectifier let its input through
    deconvnet   what arrives, where it is positive
    guided      both (Springenberg et al. 2015)

and, for activation maximisation alone, which descends a loss:

    redirected  the gradient, and what would switch a closed rectifier on (lucid, 2018)

The gradient of overlapping max pooling adds what two windows send to one switch. Response
normalisation divides by the size that it found in the forward pass, held as a switch is.

That every non-linear step was exchanged is not believed here but read from the graph that autograd
kept, in `steps`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["RULES", "Exchanged", "Held", "Rectify", "Rule"]

Rule = Literal["gradient", "deconvnet", "guided"]
RULES: tuple[Rule, ...] = ("gradient", "deconvnet", "guided")


class Rectify(torch.autograd.Function):
    """min(max(x, 0), top) with another backward rule than the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float | None, in_place: bool, rule: str) -> Tensor:
        if in_place:
            ctx.mark_dirty(x)
            y = x.clamp_(0, top)
        else:
            y = x.clamp(0, top)
        ctx.rule = rule
        if rule != "deconvnet":
            ctx.save_for_backward((y > 0) if top is None else (y > 0) & (y < top))
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.rule == "deconvnet":
            return grads[0].clamp(min=0), None, None, None
        (open_,) = ctx.saved_tensors
        if ctx.rule == "guided":
            return grads[0].clamp(min=0).masked_fill(~open_, 0), None, None, None
        return grads[0].masked_fill(~open_ & (grads[0] >= 0), 0), None, None, None


class Held(torch.autograd.Function):
    """x * factor, where the factor depends on x and is taken as a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.saved_tensors[0], None, None


def _relu(x: Any, inplace: bool = False) -> Any:
    return x, None, inplace


def _relu6(x: Any, inplace: bool = False) -> Any:
    return x, 6.0, inplace


def _hardtanh(x: Any, min_val: Any = -1.0, max_val: Any = 1.0, inplace: bool = False) -> Any:
    return _clamp(x, min_val, max_val, inplace)


def _clamp(x: Any, min: Any = None, max: Any = None, inplace: bool = False) -> Any:
    if not isinstance(min, int | float) or min != 0 or isinstance(max, Tensor):
        return None
    return x, max, inplace


def _threshold(x: Any, threshold: Any, value: Any, inplace: bool = False) -> Any:
    return (x, None, inplace) if threshold == 0 and value == 0 else None


_Reading = Callable[..., Any]
# Name of torch's function -> how its arguments are read: input, upper end, in place; None where the
# arguments make it no rectifier. A trailing underscore means in place.
_READ: dict[str, _Reading] = {
    "relu": _relu,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "threshold": _threshold,
}


class Exchanged(TorchFunctionMode):
    """While it is entered, rectifiers follow ``rule`` in the backward direction.

    Attributes:
        rectifiers: how many were exchanged so far.
    """

    def __init__(self, rule: Rule | Literal["redirected"]) -> None:
        super().__init__()
        self.rule, self.rectifiers = rule, 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.rule != "gradient" and torch.is_grad_enabled():
            read = _read(name, args, kwargs)
            if read is not None and read[0].requires_grad:
                self.rectifiers += 1
                return Rectify.apply(*read, self.rule)
            if name == "local_response_norm":
                return _response(func, *args, **kwargs)
            if name == "pad":
                return _pad(func, *args, **kwargs)
        return func(*args, **kwargs)


def _read(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[Tensor, float | None, bool] | None:
    reading = _READ.get(name.strip("_"))
    if reading is None or "out" in kwargs:
        return None
    given = {"x" if k in ("input", "self") else k: v for k, v in kwargs.items()}
    found = reading(*args, **given)
    if found is None or not isinstance(found[0], Tensor):
        return None
    x, top, in_place = found
    return x, None if top is None else float(top), bool(in_place) or name.endswith("_")


def _pad(func: Any, input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """Circular padding by indices: torch copies into slices, behind which any step could hide."""
    if mode != "circular" or min(pad) < 0:
        return func(input, pad, mode, value)
    for place, axis in enumerate(range(-1, -1 - len(pad) // 2, -1)):
        before, behind = pad[2 * place : 2 * place + 2]
        size = input.shape[axis]
        index = torch.arange(-before, size + behind, device=input.device) % size
        input = input.index_select(axis, index)
    return input


def _response(
    func: Any, x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """Local response normalisation (Krizhevsky et al. 2012) with its divisor held."""
    with torch.no_grad():
        y = func(x, size, alpha, beta, k)
        squares = functional.pad(x.square()[:, None].flatten(3), (0, 0, size // 2, (size - 1) // 2))
        mean = functional.avg_pool2d(squares, (size, 1), stride=1).view_as(x)
        factor = (k + alpha * mean) ** -beta
    return Held.apply(x, y, factor)
