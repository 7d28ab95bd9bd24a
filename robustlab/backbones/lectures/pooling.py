"""Pooling sites: what each word puts there, with equal output sizes."""

from __future__ import annotations

from torch import Tensor, nn

from robustlab.pooling.blur import Blur
from robustlab.pooling.geometry import Geometry, pair
from robustlab.pooling.maximum import Max
from robustlab.pooling.polyphase import Polyphase, shared
from robustlab.pooling.pool import Pooling

__all__ = ["POOLS", "Subsample", "pooling", "settled"]

POOLS = ("max", "avg", "strided", "blur", "polyphase")


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
    """The layer of a pooling site; [n, C, H, W] to [n, C, H', W'], the same for all words.

    "blur" and "polyphase" are max pooling with one thing changed: a filter of [1, 2, 1] each way
    between the dense maximum and the stride (its edges mirrored, as published, until `settled`
    says otherwise), or a grid that begins where the map is strongest.
    """
    if pool == "max":
        return nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    if pool == "avg":
        # Padding must not count as black pixels: max pooling does not see it either.
        return nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil, count_include_pad=padding == 0)
    if pool == "strided":
        return Subsample(kernel, stride, padding, ceil)
    geometry = Geometry(pair(kernel), pair(stride), pair(padding), ceil=ceil)
    sampler = Blur(3) if pool == "blur" else Polyphase()
    return Pooling(Max(), sampler, geometry, edge="reflect")


def settled(network: nn.Module, mode: str) -> nn.Module:
    """The network, its poolings told what they must know of it: what they see past the edge, and in
    a residual block, whose branches are added, one choice of components.
    """
    for block in network.modules():
        sites = [one for one in block.modules() if isinstance(one, Pooling)]
        for one in sites:
            if mode != "valid":
                one.edged(mode)
        if hasattr(block, "downsample"):
            shared(sites)
    return network
