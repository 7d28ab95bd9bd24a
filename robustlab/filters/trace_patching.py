"""Activation patching: channels of one layer set back to what they are on the clean image.

A correlation (this layer differs much) becomes a cause (setting these channels back restores the
label). The idea is that of causal tracing and activation patching (Vig et al. 2020, Meng et al.
2022), here on channels, ordered by how much they have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustlab.hooks import Layer, observe

__all__ = ["Lanes", "changes", "patched", "ranks"]

FAR = 2**30  # rank of a channel that has not changed: never among the first k


def changes(clean: Tensor, changed: Tensor) -> Tensor:
    """How much each channel has changed: L2 norm over its map, float64 [n, C]; of a vector the
    size of each value's change.
    """
    apart = (changed.double() - clean.double()).abs()
    return apart if apart.ndim == 2 else apart.flatten(2).norm(dim=2)


def ranks(score: Tensor, counted: Tensor) -> Tensor:
    """Place of every channel among those that are ``counted``, the highest score first.

    Args:
        score: [n, C]; of equal ones the first channel goes first.
        counted: bool [n, C]; the others get a rank beyond any count.
    """
    order = score.masked_fill(~counted, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).masked_fill(~counted, FAR)


def patched(network: nn.Module, x: Tensor, layer: Layer, clean: Tensor, keep: Tensor) -> Tensor:
    """Logits on ``x`` with some channels of one layer set to given values.

    Args:
        x: images [m, C, H, W].
        clean: the values, in the layer's standard form [m, channels, h, w] or [m, d].
        keep: bool [m, channels]; channels that are set.

    Raises:
        RuntimeError: the pass did not come by the layer.
    """
    met: list[str] = []

    def see(name: str, module: nn.Module, output: Tensor) -> Tensor | None:
        if name != layer.name:
            return None
        met.append(name)
        mask, values = keep, clean
        if output.ndim == 4:
            shape = (-1, 1, 1, keep.shape[1]) if layer.channels_last else (*keep.shape, 1, 1)
            mask = keep.reshape(shape)
            if layer.kind == "map" and layer.channels_last:
                values = clean.permute(0, 2, 3, 1)
        return torch.where(mask, values.reshape(output.shape), output)

    logits = observe(network, x, see)
    if not met:
        raise RuntimeError(f"the pass did not come by the layer {layer.name!r}")
    return logits


@dataclass
class Lanes:
    """Many searches at one layer: lane i sets back channels of image ``image[i]`` by ``rank[i]``.

    Attributes:
        x: changed images [n, C, H, W]; clean: the layer's clean values; goal: classes int [n].
        image: rows of ``x``, one a lane; rank: [lanes, channels].
        batch: passes at a time.
    """

    network: nn.Module
    layer: Layer
    x: Tensor
    clean: Tensor
    goal: Tensor
    image: Tensor
    rank: Tensor
    batch: int

    def restored(self, lanes: Sequence[int], counts: Sequence[int]) -> list[bool]:
        """Whether the label is back with the first ``counts[j]`` channels of ``lanes[j]`` set."""
        said: list[bool] = []
        for first in range(0, len(lanes), self.batch):
            lane = torch.tensor(lanes[first : first + self.batch], device=self.x.device)
            count = torch.tensor(counts[first : first + self.batch], device=self.x.device)
            row = self.image[lane]
            keep = self.rank[lane] < count[:, None]
            logits = patched(self.network, self.x[row], self.layer, self.clean[row], keep)
            said += (logits.argmax(dim=1) == self.goal[row]).tolist()
        return said
