"""Space to depth: a map's components become channels, and nothing is lost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustlab.pooling.geometry import Pair, pair
from robustlab.pooling.polyphase import components

__all__ = ["Merge", "SpaceToDepth"]


class SpaceToDepth(nn.Module):
    """[n, C, H, W] to [n, C * rows * columns, H / rows, W / columns], as `torch.nn.PixelUnshuffle`
    for any stride (rows, columns).

    Raises:
        BadRequest: the map does not divide by the stride.
    """

    def __init__(self, stride: int | Pair) -> None:
        super().__init__()
        self.stride = pair(stride)

    def forward(self, x: Tensor) -> Tensor:
        return components(x, self.stride).transpose(1, 2).flatten(1, 2)


class Merge(nn.Module):
    """Space to depth, then one learnable weight a channel and component back to C channels.

    It starts as the plain stride, weight 1 for the first component, so that a network computes what
    it did before and may learn to use the rest.

    Args:
        channels: C; stride: (rows, columns).
    """

    name = "space2depth"
    exact = True

    def __init__(self, channels: int, stride: Pair) -> None:
        super().__init__()
        weight = torch.zeros(channels, stride[0] * stride[1])
        weight[:, 0] = 1
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, stride: Pair, padding: str) -> Tensor:
        parts = components(x, stride)
        return (parts * self.weight.T[None, :, :, None, None]).sum(1)
