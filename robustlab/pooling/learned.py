"""Learnable polyphase sampling (Rojas-Gomez et al. 2022): a small network chooses the component."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustlab.pooling.blur import blurred
from robustlab.pooling.geometry import Pair
from robustlab.pooling.polyphase import Choice, chosen, components

__all__ = ["Learned"]


class Learned(nn.Module):
    """Keeps the polyphase component of highest score; the score is learned.

    One small network scores every component: two 3x3 convolutions, circular whatever the padding,
    and the mean over the map, so that a shifted component scores the same. In eval mode the highest
    is kept (of equals the first); in train mode components are mixed by Gumbel-softmax weights.

    Args:
        channels: of the maps.
        taps: of a binomial filter before the choice, 2 to 7; 1: none.
        seed: decides the weights of the scoring network, which is untrained.
        temperature: of the Gumbel softmax.
    """

    name = "learned"
    exact = True
    hidden = 8

    def __init__(
        self, channels: int, taps: int = 1, seed: int = 0, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.taps = taps
        self.temperature = temperature
        self.leads: Choice | None = None
        self.follows: Choice | None = None
        self.first = nn.Conv2d(channels, self.hidden, 3, padding=1, padding_mode="circular")
        self.second = nn.Conv2d(self.hidden, 1, 3, padding=1, padding_mode="circular")
        generator = torch.Generator().manual_seed(seed)
        for layer in (self.first, self.second):
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, 0, (2 / fan_in) ** 0.5, generator=generator)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, stride: Pair, padding: str) -> Tensor:
        for axis in (-2, -1) if self.taps > 1 else ():
            x = blurred(x, self.taps, padding, axis)
        parts = components(x, stride)
        choice = self.choice(parts) if self.follows is None else self.follows.take()
        if self.leads is not None:
            self.leads.leave(choice)
        if choice.dtype == torch.long:
            return chosen(parts, choice)
        return (parts * choice[:, :, None, None, None]).sum(1)

    def choice(self, parts: Tensor) -> Tensor:
        """The index [n] of a component of [n, k, C, h, w], or in train mode weights [n, k]."""
        hidden = functional.relu(self.first(parts.flatten(0, 1)))
        scores: Tensor = self.second(hidden).mean((1, 2, 3)).reshape(parts.shape[:2])
        if self.training:
            return functional.gumbel_softmax(scores, self.temperature)
        return scores.argmax(1)
