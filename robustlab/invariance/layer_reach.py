"""Which values of a layer depend on which pixels: measured, not computed from a table.

The pixels are set to NaN, in double precision and without cuDNN: so no kernel mixes neighbours (as
Winograd and FFT do). What comes out as NaN depends on one of them. That is the receptive field as
the network has it, branches, padding and dilation included, and weights of zero count. A value
chosen by an index (polyphase sampling) depends on the choice as well, which NaN does not show:
values that changed in fact are added by whoever measures changes.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustlab.hooks import Layer, observe

__all__ = ["Reach"]


class _Enough(Exception):
    """All layers that were wanted have been seen."""


class Reach:
    """A private copy of a network in float64 that pixels are followed through.

    Attributes:
        passes: images sent through it so far.
    """

    def __init__(self, network: nn.Module, layers: Sequence[Layer]) -> None:
        self.network = copy.deepcopy(network).double()
        self.layers = {layer.name: layer for layer in layers}
        self.passes = 0

    def __call__(
        self, images: Tensor, pixels: Tensor, until: str | None = None
    ) -> dict[str, Tensor]:
        """Bool [n, C, h, w] or [n, d] a layer: which values depend on a pixel of the set.

        Args:
            images: [n, C, H, W]; what the other pixels hold.
            pixels: bool [n, H, W], the set of each image.
            until: the last layer wanted; what comes behind it is not computed.
        """
        marked = images.double().masked_fill(pixels[:, None], torch.nan)
        found: dict[str, Tensor] = {}

        def see(name: str, module: nn.Module, output: Tensor) -> None:
            if name in self.layers:
                found[name] = self.layers[name].standard(output).isnan()
            if name == until:
                raise _Enough

        with torch.backends.cudnn.flags(enabled=False), contextlib.suppress(_Enough):
            observe(self.network, marked, see)
        self.passes += len(images)
        return found
