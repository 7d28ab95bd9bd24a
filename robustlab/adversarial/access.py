"""What an attack sees of a network: logits and gradients, counted an image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Access", "Referee", "Trace"]

# Given rows, x_adv (and poses) -> which of them the lab has verified, also as 8-bit pixels.
Referee = Callable[..., Tensor]


TRACED = 128  # steps of a search whose losses are kept
VANISHED = 1e-30  # a gradient this small is a few steps away from float32's zero


class Trace:
    """What the gradient steps of one search saw of each image.

    Attributes:
        loss: float32 [n, steps] of one walk; NaN where the image had left.
        kept: losses kept, [n].
        steps: gradients taken, [n]; zero, broken: how many of them were zero or vanishing where the
            goal was not reached, or held a NaN or an infinity.
    """

    def __init__(self, n: int) -> None:
        self.loss: NDArray[Any] = np.full((n, 0), np.nan, np.float32)
        self.kept, self.steps, self.zero, self.broken = (np.zeros(n, np.int64) for _ in range(4))

    def add(self, rows: NDArray[Any], loss: Tensor | None, gradient: Tensor, won: Tensor) -> None:
        """One step of the images ``rows``; each image counts its own steps."""
        largest = gradient.detach().flatten(1).abs().amax(dim=1)  # NaN and infinity pass through
        self.steps[rows] += 1
        self.zero[rows] += ((largest < VANISHED) & ~won).cpu().numpy()
        self.broken[rows] += (~largest.isfinite()).cpu().numpy()
        if loss is None:
            return
        column = self.kept[rows]
        wide = min(TRACED, int(column.max(initial=-1)) + 1)
        if wide > self.loss.shape[1]:
            grown = np.full((len(self.loss), wide - self.loss.shape[1]), np.nan, np.float32)
            self.loss = np.concatenate([self.loss, grown], axis=1)
        new = column < TRACED
        self.loss[rows[new], column[new]] = loss.detach().float().cpu().numpy()[new]
        self.kept[rows] += 1


class Access(nn.Module):
    """A frozen network as an attack may use it.

    Calling it gives logits. Every image's forward and backward passes are counted; a call with a
    multiple of the batch (candidates an image) is counted as that many passes of each image.

    Args:
        network: module from [0, 1] images [m, C, H, W] to logits [m, K].
        n: number of images in the batch.
        referee: the lab's own check of a claimed success, used to let images leave the search;
            without one nothing leaves.
        dtype: precision the network wants its images in, if not theirs.
        draws: passes averaged at every call, for a network that answers at random.
    """

    def __init__(
        self,
        network: nn.Module,
        n: int,
        referee: Referee | None = None,
        dtype: torch.dtype | None = None,
        draws: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.draws = draws
        self.dtype = dtype
        self.referee = referee
        self.rows = torch.arange(n)
        self.forward_passes: NDArray[Any] = np.zeros(n)
        self.backward_passes: NDArray[Any] = np.zeros(n)
        self.trace = Trace(n)
        self.traced = True
        self.eval()

    def narrow(self, rows: Tensor) -> Access:
        """The same access for some of the images; counts go to the same place."""
        part = Access.__new__(Access)
        nn.Module.__init__(part)
        part.network, part.referee, part.dtype = self.network, self.referee, self.dtype
        part.forward_passes, part.backward_passes = self.forward_passes, self.backward_passes
        part.trace, part.draws, part.traced = self.trace, self.draws, self.traced
        part.rows = self.rows[rows.cpu()]
        part.eval()
        return part

    def trusting(self) -> Access:
        """The same access, where an image leaves a search when the search says that it is fooled:
        for a search inside another, which looks again itself.
        """
        part = self.narrow(torch.arange(len(self.rows)))
        part.referee = lambda rows, x_adv: torch.ones_like(rows, dtype=torch.bool)
        return part

    def untraced(self) -> Access:
        """The same access, whose losses are not kept: for a walk that is not the search's first, or
        in another ball.
        """
        part = self.narrow(torch.arange(len(self.rows)))
        part.traced = False
        return part

    def forward(self, x: Tensor) -> Tensor:
        """Logits [m, K] of x [m, C, H, W], the mean of ``draws`` passes."""
        seen = self.once(x)
        for _ in range(self.draws - 1):
            seen = seen + self.once(x)
        return seen / self.draws if self.draws > 1 else seen

    def once(self, x: Tensor) -> Tensor:
        """Logits [m, K] of one pass."""
        rows = self.rows.numpy()
        share = x.shape[0] / max(1, len(rows))
        self.forward_passes[rows] += share
        logits = self.logits(x)
        if logits.requires_grad:
            count: Any = logits.register_hook  # untyped in torch
            count(lambda _: self._count_backward(rows, share))
        return logits

    def logits(self, x: Tensor) -> Tensor:
        """Logits that no attack asked for, and that are not counted."""
        answer: Tensor = self.network(x.to(self.dtype or x.dtype)).to(x.dtype)
        return answer

    def watch(self, loss: Tensor, gradient: Tensor, won: Tensor) -> None:
        """Keep what one step saw: the loss [m], and whether the gradient can be followed, where the
        goal was not reached already (bool [m]).
        """
        self.trace.add(self.rows.numpy(), loss if self.traced else None, gradient, won)

    def _count_backward(self, rows: NDArray[Any], share: float) -> None:
        self.backward_passes[rows] += share

    def settled(self, x_adv: Tensor, claimed: Tensor, pose: Tensor | None = None) -> Tensor:
        """Which claimed successes survive the lab's check and may leave the batch; bool [n].

        ``pose`` [n, 3] says how the images were turned and moved, in a spatial threat.
        """
        verdict = torch.zeros_like(claimed)
        if self.referee is None or not bool(claimed.any()):
            return verdict
        rows = claimed.nonzero().squeeze(1)
        said = () if pose is None else (pose[rows],)
        verdict[rows] = self.referee(self.rows[rows.cpu()].to(x_adv.device), x_adv[rows], *said)
        return verdict
