"""After how many pixels a network's answers to circular shifts repeat.

With circular padding in every layer, a global head and sizes that the strides divide, the logits at
s and at s + N are equal, N the product of the strides. Nothing of that is assumed: N is read off
the sizes of the network's maps, and then the network itself is asked.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from robustlab.adversarial.images import working_dtype
from robustlab.backbones import Backbone

__all__ = ["agreement", "find_period", "spread", "total_stride"]

# How far logits that are equal in theory may lie apart, in units of how far they spread.
_TOLERANCE = {torch.float64: 1e-9}
_FLOAT32_TOLERANCE = 5e-5


def agreement(dtype: torch.dtype) -> float:
    """The tolerance for logits that are equal in exact arithmetic, a share of their `spread`."""
    return _TOLERANCE.get(dtype, _FLOAT32_TOLERANCE)


def spread(logits: Tensor) -> Tensor:
    """The largest distance of a logit from the mean of its image's, [n] of [n, K]."""
    return (logits - logits.mean(dim=1, keepdim=True)).abs().amax(dim=1)


def total_stride(backbone: Backbone) -> int:
    """Pixels of the input from one value of the coarsest map to the next; 1 where no module
    down-samples. Maps of one value are no grid and not counted.
    """
    height = backbone.input_shape[1]
    jump, handles = {height: 1}, []

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if not (inputs and _is_map(inputs[0]) and _is_map(output)):
            return
        before, after = inputs[0].shape[2], output.shape[2]
        step = _stride(module, before, after) if after < before else 1
        known = jump.get(before, max(1, round(height / before)))
        if after > 1:
            jump.setdefault(after, known * step)

    try:
        for module in backbone.network.modules():
            if not any(True for _ in module.children()):
                handles.append(module.register_forward_hook(look))
        backbone(torch.zeros(1, *backbone.input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return max(jump.values())


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4


def _stride(module: nn.Module, before: int, after: int) -> int:
    stated = getattr(module, "stride", None)
    if isinstance(stated, tuple | list) and stated:
        stated = stated[0]
    return stated if isinstance(stated, int) and stated > 0 else max(1, round(before / after))


def find_period(backbone: Backbone, stride: int) -> int:
    """The least multiple of ``stride`` by which circular shifts leave all logits as they are; 0
    where there is none below the image's sides.

    At least 2: a network that claims to answer one-pixel shifts alike is measured, not believed.
    Asked are images that spread the logits (stripes, blocks, noise), moved by that many pixels
    down, right and both, and by several of it.
    """
    height, width = backbone.input_shape[1:]
    common = math.gcd(height, width)
    images = _examples(backbone)
    still = _logits(backbone, images)
    scale = float((still - still.mean(dim=0)).abs().max())
    for period in range(max(2, stride), common):
        if common % period or period % stride:
            continue
        moves = [(1, 0), (0, 1), (1, 1), (common // period - 1, 2)]
        moved = (torch.roll(images, (a * period, b * period), (2, 3)) for a, b in moves)
        apart = max(float((_logits(backbone, one) - still).abs().max()) for one in moved)
        if apart <= agreement(backbone.dtype) * scale:
            return period
    return 0


def _logits(backbone: Backbone, images: Tensor) -> Tensor:
    return backbone(images).double().cpu()


def _examples(backbone: Backbone) -> Tensor:
    """Six images [6, C, H, W]: noise twice, upright and level stripes, a block, a ramp."""
    shape = backbone.input_shape
    own = torch.Generator().manual_seed(0)
    images = torch.rand(6, *shape, generator=own, dtype=torch.float64)
    rows = torch.arange(shape[1], dtype=torch.float64)[:, None].expand(shape[1:])
    columns = torch.arange(shape[2], dtype=torch.float64).expand(shape[1:])
    images[1] = (images[1] > 0.7).double()
    images[2] = ((columns // 3) % 2).expand(shape)
    images[3] = ((rows // 5) % 2).expand(shape)
    images[4] = ((rows < shape[1] / 3) & (columns > shape[2] / 2)).double().expand(shape)
    images[5] = ((rows + columns) / (rows + columns).max()).expand(shape)
    return images.to(backbone.device, working_dtype(backbone))
