"""`LocallyConnected2d`: a convolution's connections without its weight sharing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LocallyConnected2d"]


class LocallyConnected2d(nn.Module):
    """Every output pixel looks at its own window with weights (and a bias) of its own.

    [n, in_channels, size, size] to [n, out_channels, H, H] with H = size - kernel_size + 1.
    ``weight[i, j]`` [out, in, kernel, kernel] and ``bias[i, j]`` [out] are what a
    `torch.nn.Conv2d` has, for the output pixel (i, j). As the weights belong to places, the input's
    size is fixed; another is a RuntimeError.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, size: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.size = size
        side = size - kernel_size + 1
        self.weight = nn.Parameter(
            torch.empty(side, side, out_channels, in_channels, kernel_size, kernel_size)
        )
        self.bias = nn.Parameter(torch.empty(side, side, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != (self.in_channels, self.size, self.size):
            raise RuntimeError(
                f"{self} takes [n, {self.in_channels}, {self.size}, {self.size}], "
                f"not {list(x.shape)}"
            )
        side, kernel = self.weight.shape[0], self.kernel_size
        # One small matrix product a place: [places, n, window] times [places, window, out].
        # Unfolding by views copies each window once, and straight to where the product reads it.
        windows = x.unfold(2, kernel, 1).unfold(3, kernel, 1).permute(2, 3, 0, 1, 4, 5)
        windows = windows.reshape(side * side, len(x), -1)
        weights = self.weight.flatten(3).flatten(0, 1).transpose(1, 2)
        out = torch.baddbmm(self.bias.flatten(0, 1).unsqueeze(1), windows, weights)
        return out.permute(1, 2, 0).reshape(len(x), self.out_channels, side, side)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, "
            f"kernel_size={self.kernel_size}, size={self.size}"
        )
