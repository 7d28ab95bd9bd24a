"""Pooling sites: what the words "max", "avg" and "strided" put there, with equal output sizes."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["POOLS", "Subsample", "pooling"]

POOLS = ("max", "avg", "strided")


class Subsample(nn.Module):
    """Keeps every ``stride``-th value and looks at no neighbour.

    Kept is the middle of each window that a pooling of the same geometry would look at (of an even
    window the value left of and above the middle), so that twins have maps of equal size.

    Args:
        kernel_size, stride, padding, ceil_mode: as those of `torch.nn.MaxPool2d`.

    Raises:
        ValueError: the middle of a window could lie outside of the values.
    """

    def __init__(
        self, kernel_size: int, stride: int, padding: int = 0, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        longest = kernel_size // 2 + 1 - padding
        if padding > (kernel_size - 1) // 2 or (ceil_mode and stride > longest):
            raise ValueError(f"windows of {kernel_size} hang over by more than their half")
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        first = (self.kernel_size - 1) // 2 - self.padding
        rows, columns = (self._kept(size) for size in x.shape[-2:])
        grid = x[..., first :: self.stride, first :: self.stride]
        return grid[..., :rows, :columns]

    def _kept(self, size: int) -> int:
        room = size + 2 * self.padding - self.kernel_size
        if room < 0 and not (self.ceil_mode and room > -self.stride):
            raise RuntimeError(f"no window of {self.kernel_size} fits into {size} values")
        return 1 + (-(-room // self.stride) if self.ceil_mode else room // self.stride)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, ceil_mode={self.ceil_mode}"
        )


def pooling(
    pool: str, kernel: int, stride: int, padding: int = 0, *, ceil: bool = False
) -> nn.Module:
    """The layer of a pooling site; [n, C, H, W] to [n, C, H', W'], the same for all words."""
    if pool == "max":
        return nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    if pool == "avg":
        # Padding must not count as black pixels: max pooling does not see it either.
        return nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=padding == 0)
    return Subsample(kernel, stride, padding, ceil)
