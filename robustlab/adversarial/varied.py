"""Inputs varied at random: each image shrunk to a random size and put at a random place on black.

Every image has random numbers of its own. Resizing and padding are one linear map of the rows and
one of the columns, so that a batch of different sizes is two products of matrices, whose gradients
do not depend on the order in which a machine adds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustlab.adversarial.gradients import Network
from robustlab.randomness import SampleRandom

__all__ = ["Varied", "placed"]


class Varied:
    """Input diversity (Xie et al. 2019, section 3.2), for networks of one input size.

    Xie et al. pad to a size beyond the image's own; here the image is shrunk instead, to a random
    number of pixels of at least ``smallest`` times its size, and padded to what it was.

    Args:
        random: each image's own stream.
        chance: probability in [0, 1] that an image is varied at a look.
        smallest: least size as a share of the image's own, in (0, 1].
    """

    def __init__(self, random: SampleRandom, chance: float, smallest: float) -> None:
        self.random, self.chance, self.smallest = random, chance, smallest

    def keep(self, index: Tensor) -> None:
        """Go on with these of the images; the others' random numbers are left alone."""
        self.random = self.random.narrow(index.tolist())

    def of(self, model: Network) -> Network:
        """``model`` as it sees varied inputs, drawn anew at each pass."""
        return _Seen(model, self)

    def __call__(self, x: Tensor) -> Tensor:
        """Images [n, C, H, W], varied."""
        drawn = self.random.uniform((4,))
        chosen, size, *places = drawn.T
        share = self.smallest + (1.0 - self.smallest) * size
        share[chosen >= self.chance] = 1.0
        down, across = (
            torch.stack(
                [placed(extent, s, p) for s, p in zip(share.tolist(), place.tolist(), strict=True)]
            ).to(x)
            for extent, place in zip(x.shape[2:], places, strict=True)
        )
        return down[:, None] @ x @ across[:, None].transpose(2, 3)


def placed(extent: int, share: float, place: float) -> Tensor:
    """Matrix [extent, extent] that shrinks a line of pixels and moves it, float64.

    The line becomes ``round(share * extent)`` pixels long by linear interpolation between the
    nearest two (centres aligned as areas are), and begins at ``place`` in [0, 1) of what is left.
    """
    length = max(1, min(extent, round(share * extent)))
    if length == extent:
        return torch.eye(extent, dtype=torch.float64)
    first = int(place * (extent - length + 1))
    centre = (torch.arange(length, dtype=torch.float64) + 0.5) * (extent / length) - 0.5
    centre = centre.clamp(0.0, extent - 1.0)
    low = centre.floor().clamp_max(extent - 2)
    weight = centre - low
    matrix = torch.zeros(extent, extent, dtype=torch.float64)
    rows, columns = torch.arange(first, first + length), low.long()
    matrix[rows, columns] = 1.0 - weight
    matrix[rows, columns + 1] = weight
    return matrix


class _Seen:
    """A network behind the varying of its inputs."""

    def __init__(self, model: Network, varied: Varied) -> None:
        self.model, self.varied = model, varied
        self.draws = model.draws

    def once(self, x: Tensor) -> Tensor:
        return self.model.once(self.varied(x))

    def watch(self, loss: Tensor, gradient: Tensor, won: Tensor) -> None:
        self.model.watch(loss, gradient, won)
