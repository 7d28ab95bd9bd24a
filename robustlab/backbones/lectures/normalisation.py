"""Local response normalisation (Krizhevsky et al. 2012, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ResponseNorm"]


class ResponseNorm(nn.LocalResponseNorm):
    """Divides a value by (2 + 1e-4 * the sum of squares of 5 neighbouring maps) ** 0.75.

    torch divides its alpha by the number of maps, the paper does not: 5e-4 here is 1e-4 there.

    Args:
        towers: groups of maps that are normalised each by itself, [n, C, H, W] with C a multiple.
    """

    def __init__(self, towers: int = 1) -> None:
        super().__init__(5, alpha=5e-4, beta=0.75, k=2.0)
        self.towers = towers

    def forward(self, input: Tensor) -> Tensor:
        if self.towers == 1:
            return super().forward(input)
        images, maps, height, width = input.shape
        apart = input.reshape(images * self.towers, maps // self.towers, height, width)
        return super().forward(apart).reshape(input.shape)

    def extra_repr(self) -> str:
        return (
            f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, towers={self.towers}"
        )
