"""A strided convolution as a dense one and a sampler, under the same parameters."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from robustlab.pooling.geometry import Geometry, Pair, check_padding, extended, pair
from robustlab.pooling.pool import Pooling, dense_edges, refuse_rest
from robustlab.pooling.strided import Sampler, Strided
from robustlab.pooling.window import Window

__all__ = ["DownConv", "Extend", "Thin", "Windowed", "conv_geometry"]


class DownConv(nn.Conv2d):
    """A convolution at every place, then a sampler; parameters and their names are the old ones.

    [n, C, H, W] to [n, C', H', W'], H' as the strided convolution has it.

    Args:
        conv: what it takes the place of; its parameters are shared with it.
        sampler: what thins the dense map out.
        padding: one of `PADDINGS`: what the windows see past the edge.
        edge: what the sampler sees there.
        spread: see `Geometry`.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        sampler: Sampler | nn.Module,
        padding: str,
        edge: str,
        spread: Pair = (1, 1),
    ) -> None:
        nn.Module.__init__(self)
        for name, value in vars(conv).items():  # numbers, names and the tables of parameters
            setattr(self, name, dict(value) if name == "_parameters" else value)
        self._modules: dict[str, Any] = {}
        check_padding(padding)
        check_padding(edge)
        self.geometry = conv_geometry(conv, spread)
        self.sees = padding
        self.edge = edge
        self.sampler: Any = sampler

    def forward(self, x: Tensor) -> Tensor:
        geometry = self.geometry
        refuse_rest(geometry, x, self.sampler)
        rows, columns, _ = dense_edges(geometry, x)
        wide = extended(x, rows, columns, self.sees)
        dense = functional.conv2d(
            wide, self.weight, self.bias, dilation=geometry.steps, groups=self.groups
        )
        thin: Tensor = self.sampler(dense, geometry.stride, self.edge)
        return thin

    def extra_repr(self) -> str:
        plain = nn.Conv2d.extra_repr(self)  # type: ignore[no-untyped-call]
        return f"{plain}, {self.sampler}, sees {self.sees}, edge={self.edge}"


def conv_geometry(conv: nn.Conv2d, spread: Pair = (1, 1)) -> Geometry:
    """The windows of a convolution; ``padding="same"`` counted out."""
    dilation = pair(conv.dilation)
    if conv.padding == "same":  # torch allows it at stride 1 alone
        total = [dilation[axis] * (conv.kernel_size[axis] - 1) for axis in (0, 1)]
        padding = (total[0] // 2, total[1] // 2)
    else:
        padding = (0, 0) if isinstance(conv.padding, str) else pair(conv.padding)
    return Geometry(pair(conv.kernel_size), pair(conv.stride), padding, dilation, spread=spread)


class Windowed(nn.Module):
    """A pooling as the sampler of a dense convolution: windows of the stride's size.

    Args:
        window: what is made of each window.
        stride: (rows, columns).
    """

    def __init__(self, window: Window, stride: tuple[int, int], padding: str) -> None:
        super().__init__()
        self.name = window.name
        self.pool = Pooling(window, Strided(), Geometry(stride, stride, ceil=True), padding)

    def forward(self, x: Tensor, stride: tuple[int, int], padding: str) -> Tensor:
        pooled: Tensor = self.pool(x)
        return pooled


class Extend(nn.Module):
    """The edges that a dense convolution written as a function needs: [n, C, H, W] to a larger."""

    def __init__(self, geometry: Geometry, sampler: object, padding: str) -> None:
        super().__init__()
        check_padding(padding)
        self.geometry = geometry
        self.exact = bool(getattr(sampler, "exact", False))
        self.name = str(getattr(sampler, "name", "this"))
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        refuse_rest(self.geometry, x, self)
        rows, columns, _ = dense_edges(self.geometry, x)
        return extended(x, rows, columns, self.padding)


class Thin(nn.Module):
    """A sampler behind a dense convolution written as a function."""

    def __init__(self, geometry: Geometry, sampler: Sampler | nn.Module, edge: str) -> None:
        super().__init__()
        self.geometry = geometry
        self.sampler: Any = sampler
        self.edge = edge

    def forward(self, x: Tensor) -> Tensor:
        thin: Tensor = self.sampler(x, self.geometry.stride, self.edge)
        return thin
