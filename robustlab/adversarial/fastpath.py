"""The network as the search runs it: a frozen copy, so that backward computes the input's gradient
alone; half precision raised to float32, in which gradients do not underflow; batch norm folded into
convolutions where the graph can be traced; channels-last weights, on which convolutions with few
channels run several times faster on a CPU; the gradient of the first layer by a shorter way.

Verification never uses this copy. What it changes is rounding; where a changed copy does not give
the same logits, the change is left out.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustlab.adversarial.firstlayer import with_image_gradients

__all__ = ["Way", "half_copy", "search_copy"]

_HALF = (torch.float16, torch.bfloat16)
_TURNED = 0.01  # length of a change of the gradient that rounding may make, as a share of its own


@dataclass(frozen=True)
class Way:
    """A network that a search runs on.

    Attributes:
        dtype: the precision it wants its images in, if not theirs.
        first: a quicker, rounder one: its claims are not the attack's, and what it leaves standing
            is searched again.
    """

    network: nn.Module
    dtype: torch.dtype | None = None
    first: bool = False


def search_copy(
    network: nn.Module, input_shape: Sequence[int], *, fast: bool = True
) -> tuple[nn.Module, torch.dtype | None]:
    """A frozen copy in evaluation mode, and the precision it wants its images in (None: theirs).

    ``fast`` folds batch norm and lays weights channels-last.
    """
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    dtype = _dtype(frozen)
    if dtype in _HALF:
        raised = copy.deepcopy(frozen).float()
        if _agree(frozen, raised, input_shape, tolerance=0.05):
            frozen, dtype = raised, torch.float32
    if fast and any(isinstance(m, nn.BatchNorm2d) for m in frozen.modules()):
        folded = _folded(frozen)
        if folded is not None and _agree(frozen, folded, input_shape, tolerance=1e-3):
            frozen = folded.eval().requires_grad_(False)
    if fast:
        frozen = frozen.to(memory_format=torch.channels_last)
        shorter = copy.deepcopy(frozen)
        if with_image_gradients(shorter) and _descend_alike(frozen, shorter, input_shape):
            frozen = shorter
    return frozen, dtype if dtype in _HALF else None


def half_copy(network: nn.Module, input_shape: Sequence[int]) -> nn.Module | None:
    """A `search_copy` in bfloat16; None where it does not compute about the same, or answers at
    random, so that the same search in float32 afterwards would not be the same.

    The gradient's signs agree with float32 on most pixels only, which is enough to find an
    adversarial image and not enough to say that there is none.
    """
    lowered = copy.deepcopy(network).to(torch.bfloat16)
    agreed = _agree(network, lowered, input_shape, tolerance=0.1, dtype=torch.bfloat16)
    return lowered if agreed and _agree(network, network, input_shape, tolerance=0.0) else None


def _dtype(network: nn.Module) -> torch.dtype:
    weights = [*network.parameters(), *network.buffers()]
    return next((w.dtype for w in weights if w.is_floating_point()), torch.float32)


def _folded(network: nn.Module) -> nn.Module | None:
    """Convolutions with batch norm inside, None where `torch.fx` cannot trace the network."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch 2.11 warns of itself on this import
            from torch.fx.experimental.optimization import fuse

            folded: nn.Module = fuse(network)
    except Exception:  # tracing runs the user's own forward: anything may be raised there
        return None
    return folded


def _descend_alike(network: nn.Module, changed: nn.Module, input_shape: Sequence[int]) -> bool:
    """Whether a changed copy still has the same gradients by its images."""
    try:
        one, other = (_gradient(module, input_shape) for module in (network, changed))
    except Exception:  # a network without gradients, or a build of torch without that kernel
        return False
    if not torch.equal(one.isfinite(), other.isfinite()):
        return False
    # By length, not value by value: rounding turns a unit on or off here and there.
    one, other = (gradient.nan_to_num(0.0, 0.0, 0.0).double() for gradient in (one, other))
    return float((one - other).norm()) <= _TURNED * float(one.norm())


def _gradient(network: nn.Module, input_shape: Sequence[int]) -> Tensor:
    images = _ramp(network, input_shape).to(_dtype(network)).requires_grad_(True)
    logits = network(images)
    weights = torch.arange(1.0, 1.0 + logits[0].numel(), device=logits.device, dtype=logits.dtype)
    return torch.autograd.grad((logits.flatten(1) * weights).sum(), images)[0]


def _ramp(network: nn.Module, input_shape: Sequence[int]) -> Tensor:
    """Two images that hold every grey, float64 [2, C, H, W], where the network is."""
    ramp = torch.linspace(0, 1, 2 * math.prod(input_shape), dtype=torch.float64)
    weights = [*network.parameters(), *network.buffers()]
    return ramp.view(2, *input_shape).to(weights[0].device if weights else "cpu")


def _agree(
    network: nn.Module,
    changed: nn.Module,
    input_shape: Sequence[int],
    *,
    tolerance: float,
    dtype: torch.dtype | None = None,
) -> bool:
    """Whether a changed copy still computes the same: tracing freezes data-dependent branches."""
    images = _ramp(network, input_shape)
    try:
        with torch.no_grad():
            before = network(images.to(_dtype(network))).double()
            after = changed(images.to(dtype or _dtype(changed))).double()
    except Exception:  # a forward with a fixed precision inside: keep the copy as it was
        return False
    return torch.allclose(before, after, rtol=tolerance, atol=tolerance * float(before.abs().max()))
