"""Receptive fields measured: which pixels have a gradient at a place of a layer?

Oracle of the recursion, and independent of it: nothing here knows of kernels or strides. So that no
path is closed by chance (a ReLU that is off, a maximum elsewhere, two paths that cancel), the
gradient is taken of a copy in which all weights are positive, activations are the identity,
maxima are means and statistics are added; a path is then open or it is not there.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from robustlab.arithmetic.recorder import record
from robustlab.arithmetic.seen import Seen

__all__ = ["Measured", "dimensions", "measured_fields", "opened"]

Span = tuple[int, int] | None


@dataclass(frozen=True)
class Measured:
    """What one module's result sees at one place, by the recursion and by the gradient.

    Attributes:
        path, call: the module, and which call of it.
        place: (row, column) in its map.
        size: (rows, columns) of the image.
        predicted: first and last row, first and last column, also where they lie past the edge.
        found: the same of pixels whose gradient is not zero.
    """

    path: str
    call: int
    place: tuple[int, int]
    size: tuple[int, int]
    predicted: tuple[Span, Span]
    found: tuple[Span, Span]

    @property
    def agrees(self) -> bool:
        """Whether both end at the same pixels; where an edge cuts the field, the last pixels may be
        some that no window reaches.
        """
        spans = zip(self.predicted, self.found, self.size, strict=True)
        if None in self.found or None in self.predicted:
            outside = any(p is None or p[1] < 0 or p[0] >= n for p, _, n in spans)
            return self.found == (None, None) and outside
        return all(_same(p, f, n) for p, f, n in spans)


_IDENTITY: set[Any] = {
    *(functional.relu, functional.relu_, functional.relu6, functional.hardtanh, functional.gelu),
    *(functional.silu, functional.elu, functional.leaky_relu, functional.hardswish),
    *(functional.sigmoid, functional.hardsigmoid, functional.tanh, functional.mish),
    *(functional.selu, functional.celu, functional.softplus, functional.local_response_norm),
    *(torch.relu, torch.relu_, torch.sigmoid, torch.tanh, Tensor.relu, Tensor.relu_),
    *(Tensor.sigmoid, Tensor.tanh),
}


def _levelled(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x + x.mean(tuple(range(2, x.ndim)), keepdim=True)


def _levelled_last(x: Tensor, shape: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
    return x + x.mean(tuple(range(x.ndim - len(shape), x.ndim)), keepdim=True)


# A normalisation divides by what it sees: the gradients of a place and of its statistics cancel.
_MEANS: dict[Any, Callable[..., Tensor]] = {
    functional.instance_norm: _levelled,
    functional.group_norm: lambda x, groups, *args, **kwargs: _levelled(x),
    functional.layer_norm: _levelled_last,
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
    """A copy in double precision in which every weight is positive and every statistic neutral.

    Weights differ, by a generator of their own: standardised ones (as in networks without batch
    normalisation) would all be zero if they were equal.
    """
    made = copy.deepcopy(module).double().eval()
    drawn = torch.Generator().manual_seed(0)
    for name, one in made.named_parameters():
        with torch.no_grad():
            inputs = one.shape[1] if one.ndim > 1 else 1
            even = torch.rand(one.shape, generator=drawn, dtype=one.dtype) + 0.5
            one.copy_(0.0 * even if name.endswith("bias") else even / inputs)
        one.requires_grad_(False)
    for name, statistic in made.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            statistic.fill_(float(name.endswith("running_var")))
    return made


def measured_fields(
    module: nn.Module, input_shape: Sequence[int], most: int | None = None
) -> list[Measured]:
    """Compare recursion and gradient at the middle of every module's map.

    Costs one forward pass, and one backward pass a module.

    Args:
        module: from images [n, C, H, W]; left as it was.
        input_shape: (C, H, W); wide images leave nothing of a field beyond the edges.
        most: measure at most so many modules, evenly over the depth.
    """
    calls = [
        call
        for call in record(module, input_shape).calls
        if call.seen is not None and not call.seen.lost and None not in dimensions(call.seen)
    ]
    if most is not None:
        calls = calls[:: max(1, math.ceil(len(calls) / most))]
    device = next((one.device for one in module.parameters()), torch.device("cpu"))
    x = torch.ones(1, *input_shape, dtype=torch.float64, device=device, requires_grad=True)
    size = (int(input_shape[1]), int(input_shape[2]))
    maps = _maps(opened(module), x, {(call.path, call.number) for call in calls})
    found = []
    for call in calls:
        if call.seen is None or (call.path, call.number) not in maps:
            continue
        result, dims = maps[call.path, call.number], dimensions(call.seen)
        if not result.requires_grad:
            continue
        place = (result.shape[dims[0] or 0] // 2, result.shape[dims[1] or 0] // 2)
        at: list[Any] = [slice(None)] * result.ndim
        at[dims[0] or 0], at[dims[1] or 0] = place
        total = result[tuple(at)].sum()
        (gradient,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)
        rows, columns = (f.at(where) for f, where in zip(call.seen.fields, place, strict=True))
        touched = torch.zeros(size, dtype=torch.bool)
        if gradient is not None:
            touched = (gradient[0] != 0).any(0).cpu()
        spans = (_ends(touched.any(1)), _ends(touched.any(0)))
        found.append(Measured(call.path, call.number, place, size, (rows, columns), spans))
    return found


def dimensions(seen: Seen) -> tuple[int | None, int | None]:
    """Dimensions of rows and columns; None where they do not stand alone."""
    places = (seen.where(0), seen.where(1))
    rows, columns = (
        place[0] if place is not None and len(seen.layout[place[0]]) == 1 else None
        for place in places
    )
    return rows, columns


def _maps(
    module: nn.Module, x: Tensor, wanted: Collection[tuple[str, int]]
) -> dict[tuple[str, int], Tensor]:
    """Module's name and call -> its result, of one forward pass."""
    kept: dict[tuple[str, int], Tensor] = {}
    counts: dict[str, int] = {}

    def keep(path: str) -> Any:
        def hook(one: nn.Module, args: Any, out: Any) -> None:
            counts[path] = counts.get(path, 0) + 1
            if isinstance(out, Tensor) and (path, counts[path]) in wanted:
                kept[path, counts[path]] = out.clone()  # others may go on in place

        return hook

    for path, one in module.named_modules():
        one.register_forward_hook(keep(path))
    with _Open():
        module(x)
    return kept


def _same(predicted: Span, found: Span, size: int) -> bool:
    assert predicted is not None
    assert found is not None
    first = found[0] == predicted[0] if predicted[0] >= 0 else found[0] >= 0
    last = found[1] == predicted[1] if predicted[1] < size else found[1] < size
    return first and last and predicted[0] <= found[0] and found[1] <= predicted[1]


def _ends(touched: Tensor) -> Span:
    places = touched.nonzero().flatten()
    return (int(places[0]), int(places[-1])) if len(places) else None
