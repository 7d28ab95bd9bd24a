"""The network as the search runs it: a frozen copy, so that backward computes the input's gradient
alone; batch norm folded into convolutions where the graph can be traced; channels-last weights, on
which convolutions with few channels run several times faster on a CPU.

Verification never uses this copy. What it changes is rounding: logits agree to float32's last bits.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["search_copy"]


def search_copy(network: nn.Module, input_shape: Sequence[int], *, fast: bool = True) -> nn.Module:
    """A frozen copy in evaluation mode; ``fast`` folds batch norm and lays weights channels-last.

    A network that `torch.fx` cannot trace is not folded.
    """
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    if not fast:
        return frozen
    if any(isinstance(m, nn.BatchNorm2d) for m in frozen.modules()):
        frozen = _folded(frozen, input_shape).requires_grad_(False)
    return frozen.to(memory_format=torch.channels_last)


def _folded(network: nn.Module, input_shape: Sequence[int]) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch 2.11 warns of itself on this import
            from torch.fx.experimental.optimization import fuse

            folded: nn.Module = fuse(network)
    except Exception:  # tracing runs the user's own forward: anything may be raised there
        return network
    return folded.eval() if _agrees(network, folded, input_shape) else network


def _agrees(network: nn.Module, folded: nn.Module, input_shape: Sequence[int]) -> bool:
    """Whether a traced copy still computes the same: tracing freezes data-dependent branches."""
    weight = next(network.parameters())
    ramp = torch.linspace(0, 1, 2 * math.prod(input_shape), dtype=weight.dtype)
    images = ramp.view(2, *input_shape).to(weight.device)
    with torch.no_grad():
        before, after = network(images), folded(images)
    return torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
