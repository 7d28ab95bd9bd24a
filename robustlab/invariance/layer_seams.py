"""Which layers make no circle of their map: those whose windows see something else past its edge.

Read off the layers as they run: what each is padded with, and whether its windows go round its map
in whole strides. What a forward writes as function calls is seen where the lab rewrote it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustlab.pooling.convolution import DownConv, Extend, Thin
from robustlab.pooling.geometry import Geometry
from robustlab.pooling.pool import Pooling
from robustlab.pooling.reading import Unreadable, read_module
from robustlab.pooling.strided import Strided

__all__ = ["seams"]


def seams(network: nn.Module, shape: Sequence[int], like: Tensor) -> tuple[list[str], bool]:
    """Names of the layers that see a seam in a circular image, and whether any layer looks at
    neighbours at all.

    Args:
        network: sent one black image [1, *shape].
        shape: (C, H, W); like: a tensor of its device and dtype.
    """
    found: list[str] = []
    looked: list[str] = []
    wrapped: list[tuple[Tensor, tuple[int, int]]] = []  # maps that a layer has wrapped around

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            given = inputs[0] if inputs else None
            if not (isinstance(given, Tensor) and isinstance(output, Tensor) and given.ndim == 4):
                return
            if isinstance(module, nn.CircularPad2d):
                left, right, above, below = module.padding
                wrapped.append((output, (above + below, left + right)))
                return
            added = next((by for one, by in wrapped if one is given), (0, 0))
            circle = _circle(module, tuple(given.shape), tuple(output.shape), added)
            if circle is not None:
                looked.append(name)
            if circle is False:
                found.append(name)

        return hook

    handles = [one.register_forward_hook(look(name)) for name, one in network.named_modules()]
    try:
        with torch.no_grad():
            network(like.new_zeros(1, *shape))
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(found)), bool(looked)


def _circle(
    module: nn.Module, given: tuple[int, ...], made: tuple[int, ...], added: tuple[int, int]
) -> bool | None:
    """Whether a layer goes round its map; None: it looks at no neighbours and leaves nothing out.

    Args:
        added: values (rows, columns) of the map that were wrapped around already.
    """
    own = isinstance(module, DownConv | Pooling | Extend | Thin)
    if not own and any(True for _ in module.children()):
        return None  # its layers are looked at themselves
    if isinstance(module, Thin):  # the sampler behind a convolution that `Extend` stands before
        return module.edge == "circular" if _filters(module.sampler) else None
    try:
        geometry = module.geometry if isinstance(module, Extend) else _geometry(module, given, made)
    except Unreadable:
        return False
    if geometry is None or max(*geometry.kernel, *geometry.stride) == 1:
        return None
    whole = all(_fits(geometry, given[2 + axis], added[axis], axis) for axis in (0, 1))
    return whole and _padded(module, geometry) in (None, "circular")


def _geometry(module: nn.Module, given: tuple[int, ...], made: tuple[int, ...]) -> Geometry | None:
    read = read_module(module, given, made)
    return None if read is None else read.geometry


def _fits(geometry: Geometry, size: int, added: int, axis: int) -> bool:
    """Whether the windows go round in whole strides: as many as the map has of them."""
    size //= geometry.spread[axis]
    return geometry.out(size, axis) * geometry.stride[axis] == size - added


def _padded(module: nn.Module, geometry: Geometry) -> str | None:
    """What the layer sees past the edge; None where it does not look there."""
    if isinstance(module, DownConv | Pooling | Extend):
        sees = module.sees if isinstance(module, DownConv) else module.padding
        sampler = getattr(module, "sampler", None)
        # A window at every place looks past the edge though the strided ones may not.
        dense = not isinstance(sampler, Strided) and max(geometry.kernel) > 1
        if (max(geometry.padding) > 0 or dense) and sees != "circular":
            return sees
        return str(module.edge) if sampler is not None and _filters(sampler) else None
    if max(geometry.padding) == 0:
        return None
    return str(getattr(module, "padding_mode", "zeros"))


def _filters(sampler: Any) -> bool:
    """Whether a sampler looks past the edge itself: a blur."""
    return int(getattr(sampler, "taps", 1)) > 1
