"""A first convolution that goes round its window: what shifted windows share of it all the same.

A window that is padded with its own other side is no part of the picture around it. But windows
that stand above each other, at one column, go round in the same way from left to right. So each
column's strip of the picture is wrapped and convolved once, for all windows in it, and of each
window alone the rows remain that go round from top to bottom: the last and the first, which lie
together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from robustlab.invariance.shift_layers import LeafTracer, is_convolution
from robustlab.invariance.shift_pools import along, plain_pool
from robustlab.invariance.shift_shared import Shared, Step, rest_of, step_of

__all__ = ["Wrapped", "wrap"]

_LARGEST = 1 << 20  # values that are kept of one image, at most


@dataclass
class Wrapped(Shared):
    """A network cut behind its first convolution; see `Shared`.

    Attributes:
        conv: circular, of stride 1, its maps as large as its image.
        before, after: what is done pixel by pixel on either side of it.
        pool: a pooling behind that, without padding: across it is done in the strips, which windows
            share, down in the windows.
    """

    conv: nn.Conv2d = field(default_factory=lambda: nn.Conv2d(1, 1, 1))
    before: list[Step] = field(default_factory=list)
    after: list[Step] = field(default_factory=list)
    pool: nn.Module | None = None

    def features(self, picture: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The wrapped strips [n, S, C, H + 2r, W + 2p], and what the convolution makes of them, [n,
        S, c, H + 2r - 2p, W], of a picture [n, C, H + 2r, W + 2r].
        """
        for step in self.before:
            picture = step(picture)
        strips = picture.unfold(3, self.size[1], 1).permute(0, 3, 1, 2, 4)
        n, shifts = strips.shape[:2]
        reach = self._reach
        around = (reach[1], reach[1], 0, 0)
        wide = functional.pad(strips.flatten(0, 1), around, mode="circular")
        made = self._convolved(wide)
        return wide.view(n, shifts, *wide.shape[1:]), made.view(n, shifts, *made.shape[1:])

    def cut(  # type: ignore[override]
        self, features: tuple[Tensor, Tensor], image: Tensor, top: Tensor, left: Tensor
    ) -> Tensor:
        """Maps [m, c, H, W] of windows, as those of `Shared.cut`."""
        strips, made = features
        height, reach = self.size[0], self._reach[0]
        inside = _rows(made, height - 2 * reach)[image, left, top]
        if reach == 0:
            return self._pooled(inside, down=True)
        rows = _rows(strips, 2 * reach)
        ends = [rows[image, left, top + at] for at in (height - 2 * reach, 0)]
        seam = self._convolved(torch.cat(ends, dim=2))
        whole = torch.cat([seam[:, :, reach:], inside, seam[:, :, :reach]], dim=2)
        return self._pooled(whole, down=True)

    @property
    def _reach(self) -> tuple[int, int]:
        rows, columns = self.conv.kernel_size
        return rows // 2, columns // 2

    def _convolved(self, maps: Tensor) -> Tensor:
        made = functional.conv2d(maps, self.conv.weight, self.conv.bias, groups=self.conv.groups)
        for step in self.after:
            made = step(made)
        return self._pooled(made, down=False)

    def _pooled(self, maps: Tensor, *, down: bool) -> Tensor:
        return maps if self.pool is None else along(self.pool, maps, 2 if down else 3)


def _rows(strips: Tensor, many: int) -> Tensor:
    """So many rows from each on, [n, S, first row, c, rows, W], as a view of [n, S, c, h, W]."""
    return strips.unfold(3, many, 1).permute(0, 1, 3, 2, 5, 4)


def wrap(network: nn.Module, size: tuple[int, int], radius: int) -> Wrapped | None:
    """Cut a network behind a circular first convolution; None where it has none, or where what is
    shared would be too much to keep.

    Args:
        network, size, radius: as of `share`.
    """
    try:
        traced = fx.GraphModule(network, LeafTracer().trace(network))
    except Exception:  # tracing runs the user's own forward: anything may be raised there
        return None
    found: Wrapped | None = None
    before: list[Step] = []
    nodes = [n for n in traced.graph.nodes if n.op != "get_attr"]
    cut = nodes[0]
    for node in nodes[1:]:
        if len(cut.users) != 1 or node not in cut.users:
            break
        conv = _circular(traced, node, size) if found is None else None
        step = step_of(traced, node, cut, size)
        if conv is not None:
            found = Wrapped(nn.Identity(), size, conv=conv, before=before)
        elif found is not None and (pool := _pool(traced, node)) is not None:
            found.pool, cut = pool, node
            break
        elif step is not None and step[0] == 1 and step[2] == size:
            (before if found is None else found.after).append(step[1])
        else:
            break
        cut = node
    if found is None or _kept(found, radius) > _LARGEST:
        return None
    found.rest = rest_of(traced, cut)
    return found


def _circular(traced: fx.GraphModule, node: fx.Node, size: tuple[int, int]) -> nn.Conv2d | None:
    if node.op != "call_module":
        return None
    conv: Any = traced.get_submodule(str(node.target))
    if not is_convolution(conv) or conv.padding_mode != "circular" or isinstance(conv.padding, str):
        return None
    kernel, plain = conv.kernel_size, {*conv.stride, *conv.dilation} == {1}
    same = all(k % 2 == 1 and p == k // 2 for k, p in zip(kernel, conv.padding, strict=True))
    room = all(side >= 2 * k for side, k in zip(size, kernel, strict=True))
    return conv if plain and same and room else None


def _pool(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    if node.op != "call_module":
        return None
    module = traced.get_submodule(str(node.target))
    return module if plain_pool(module)[0] else None


def _kept(found: Wrapped, radius: int) -> int:
    """Values of one image that `features` gives."""
    height, width = found.size
    channels = found.conv.out_channels + 2 * found.conv.in_channels
    return (2 * radius + 1) * (height + 2 * radius) * width * channels
