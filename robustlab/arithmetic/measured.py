"""Receptive fields measured: which pixels have a gradient at a place of a layer?

Oracle of the recursion, and independent of it: nothing here knows of kernels or strides. So that no
path is closed by chance (a ReLU that is off, a maximum elsewhere, two paths that cancel), the
gradient is taken of a copy in which all weights are positive, activations are the identity and
maxima are means; a path is then open or it is not there. The pixels are those of the real network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from robustlab.arithmetic.recorder import record

__all__ = ["Measured", "measured_fields", "opened"]

Span = tuple[int, int] | None


@dataclass(frozen=True)
class Measured:
    """What one module's result sees at one place, by the recursion and by the gradient.

    Attributes:
        path, call: the module, and which call of it.
        place: (row, column) in its map.
        predicted: first and last row, first and last column, cut at the image's edges.
        found: the same of pixels whose gradient is not zero.
    """

    path: str
    call: int
    place: tuple[int, int]
    predicted: tuple[Span, Span]
    found: tuple[Span, Span]


_IDENTITY: set[Any] = {
    *(functional.relu, functional.relu_, functional.relu6, functional.hardtanh, functional.gelu),
    *(functional.silu, functional.elu, functional.leaky_relu, functional.hardswish),
    *(functional.sigmoid, functional.hardsigmoid, functional.tanh, functional.mish),
    *(functional.selu, functional.celu, functional.softplus, functional.local_response_norm),
    *(torch.relu, torch.relu_, torch.sigmoid, torch.tanh, Tensor.relu, Tensor.relu_),
    *(Tensor.sigmoid, Tensor.tanh),
}
_MEANS: dict[Any, Callable[..., Tensor]] = {
    functional.adaptive_max_pool2d: functional.adaptive_avg_pool2d,
    Tensor.amax: Tensor.mean,
}


class _Open(TorchFunctionMode):
    """Activations are the identity, maxima are means."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _IDENTITY:
            return args[0] if args else kwargs["input"]
        if func is functional.max_pool2d:
            return _mean_pool(*args, **kwargs)
        if func is functional.pad:
            kwargs["value"] = 0.0  # of a maximum's padding: minus infinity
            args = args[:3]
        return _MEANS.get(func, func)(*args, **kwargs)


def _mean_pool(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if return_indices or (max(dilation) if isinstance(dilation, tuple) else dilation) != 1:
        raise NotImplementedError("a dilated maximum cannot be opened for measuring")
    return functional.avg_pool2d(input, kernel_size, stride, padding, ceil_mode)


def opened(module: nn.Module) -> nn.Module:
    """A copy in double precision in which every weight is positive and every statistic neutral."""
    made = copy.deepcopy(module).double().eval()
    for name, one in made.named_parameters():
        with torch.no_grad():
            inputs = one.shape[1] if one.ndim > 1 else 1
            one.fill_(0.0 if name.endswith("bias") else 1.0 / inputs)
        one.requires_grad_(False)
    for name, statistic in made.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            statistic.fill_(float(name.endswith("running_var")))
    return made


def measured_fields(
    module: nn.Module, input_shape: Sequence[int], every: int = 1
) -> list[Measured]:
    """Compare recursion and gradient at the middle of every module's map.

    Costs one forward pass, and one backward pass a module.

    Args:
        module: from images [n, C, H, W]; left as it was.
        input_shape: (C, H, W); where it is smaller than a field, both are cut at its edges.
        every: measure only each so-many-th module.
    """
    calls = [
        call
        for call in record(module, input_shape).calls
        if call.seen is not None and not call.seen.lost and len(call.made) == 4
    ][::every]
    device = next((one.device for one in module.parameters()), torch.device("cpu"))
    x = torch.zeros(1, *input_shape, dtype=torch.float64, device=device, requires_grad=True)
    maps = _maps(opened(module), x)
    found = []
    for call in calls:
        if call.seen is None or (call.path, call.number) not in maps:
            continue
        result = maps[call.path, call.number]
        place = (result.shape[2] // 2, result.shape[3] // 2)
        if not result.requires_grad:
            continue
        at = result[0, :, place[0], place[1]].sum()
        (gradient,) = torch.autograd.grad(at, x, retain_graph=True, allow_unused=True)
        fields = call.seen.fields
        predicted = tuple(
            _cut(field.at(where), size)
            for field, where, size in zip(fields, place, input_shape[1:], strict=True)
        )
        touched = torch.zeros(tuple(input_shape[1:]), dtype=torch.bool)
        if gradient is not None:
            touched = (gradient[0] != 0).any(0).cpu()
        spans = (_ends(touched.any(1)), _ends(touched.any(0)))
        found.append(Measured(call.path, call.number, place, (predicted[0], predicted[1]), spans))
    return found


def _maps(module: nn.Module, x: Tensor) -> dict[tuple[str, int], Tensor]:
    """Module's name and call -> its result, of one forward pass."""
    kept: dict[tuple[str, int], Tensor] = {}
    counts: dict[str, int] = {}

    def keep(path: str) -> Any:
        def hook(one: nn.Module, args: Any, out: Any) -> None:
            counts[path] = counts.get(path, 0) + 1
            if isinstance(out, Tensor):
                kept[path, counts[path]] = out

        return hook

    for path, one in module.named_modules():
        one.register_forward_hook(keep(path))
    with _Open():
        module(x)
    return kept


def _cut(span: Span, size: int) -> Span:
    if span is None or span[1] < 0 or span[0] >= size:
        return None
    return max(0, span[0]), min(size - 1, span[1])


def _ends(touched: Tensor) -> Span:
    places = touched.nonzero().flatten()
    return (int(places[0]), int(places[-1])) if len(places) else None
