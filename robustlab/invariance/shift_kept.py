"""What a map keeps of a network's answers, and the eye that looks through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.invariance.shift_measures import AXES

__all__ = ["Embedded", "Eye", "Maps"]

Array = NDArray[Any]


@dataclass
class Embedded:
    """Inputs of the last linear layer: those of the unshifted images [n, D], and how far (Euclidean
    distance) those of windows lie from them, [m] or [n, S * S].
    """

    still: Tensor
    change: Tensor


@dataclass
class Maps:
    """What a network answers at every shift of n images, S = 2 radius + 1 shifts an axis.

    Attributes:
        prediction: top-1, int16 [n, S, S].
        probability: softmax of the true class, float32 [n, S, S]; loss: its cross-entropy.
        dp: |p(k; s) - p(k; s + e)| of the top-1 k at s, for e along x, y and the diagonal, float16
            [n, 3, S, S]; NaN where s + e leaves the map.
        logits: of the unshifted images, float32 [n, K].
        logit_change: ``|f(T_s x) - f(x)|``, the Euclidean distance, float32 [n, S, S]. What it is
            divided by needs the mean over all images: see `shift_measures.relative_error`.
        embedding, embedding_change: the input of the last linear layer, float32 [n, D], and its
            distances, [n, S, S]; None where there is none.
        checked: how far the original's logits lay from the map's at one more shift, in units of
            their spread, float32 [n]; anew: whether that was too far, so that all shifts of the
            image were computed again on the original, bool [n].
        redecided: shifts of each image whose prediction the original decided alone, int64 [n].
        passes: windows that went through a network, in sum.
    """

    prediction: Array
    probability: Array
    loss: Array
    dp: Array
    logits: Array
    logit_change: Array
    embedding: Array | None
    embedding_change: Array | None
    checked: Array
    anew: Array
    redecided: Array
    passes: int = 0

    @classmethod
    def empty(cls, n: int, size: int, classes: int, embedded: int) -> Maps:
        """Maps to be filled; ``embedded`` is the length of the embedding, 0 where there is none."""

        def maps(dtype: str, *more: int) -> Array:
            return np.zeros((n, *more, size, size), dtype)

        return cls(
            prediction=maps("int16"),
            probability=maps("float32"),
            loss=maps("float32"),
            dp=np.full((n, len(AXES), size, size), np.nan, np.float16),
            logits=np.zeros((n, classes), np.float32),
            logit_change=maps("float32"),
            embedding=np.zeros((n, embedded), np.float32) if embedded else None,
            embedding_change=maps("float32") if embedded else None,
            checked=np.zeros(n, np.float32),
            anew=np.zeros(n, bool),
            redecided=np.zeros(n, np.int64),
        )

    def write(self, rows: Array, logits: Tensor, embedded: Embedded | None, labels: Tensor) -> None:
        """Everything that is kept, from the logits [n, S * S, K] of some images."""
        n, size = len(logits), self.prediction.shape[1]
        logp = logits.double().log_softmax(dim=2).view(n, size, size, -1)
        prediction = logits.argmax(dim=2).view(n, size, size)
        loss = -logp.gather(3, labels.view(-1, 1, 1, 1).expand(n, size, size, 1))[..., 0]
        still = logits[:, size**2 // 2]
        self.prediction[rows] = prediction.numpy()
        self.loss[rows] = loss.numpy()
        self.probability[rows] = (-loss).exp().numpy()
        self.logits[rows] = still.numpy()
        change = (logits - still[:, None]).norm(dim=-1)
        self.logit_change[rows] = change.view(n, size, size).numpy()
        if embedded is not None:
            assert self.embedding is not None
            assert self.embedding_change is not None
            self.embedding[rows] = embedded.still.numpy()
            self.embedding_change[rows] = embedded.change.view(n, size, size).numpy()
        p = logp.exp()
        for number, (dy, dx) in enumerate(AXES.values()):
            top = prediction[:, : size - dy, : size - dx, None]
            here, there = p[:, : size - dy, : size - dx], p[:, dy:, dx:]
            moved = (here.gather(3, top) - there.gather(3, top)).abs()[..., 0]
            self.dp[rows, number, : size - dy, : size - dx] = moved.numpy()


class Eye:
    """A network that is looked through: logits, and what went into the last linear layer."""

    def __init__(self, network: nn.Module, dtype: torch.dtype, classes: int) -> None:
        self.network, self.dtype, self.classes = network, dtype, classes

    @contextmanager
    def watching(self) -> Iterator[list[Tensor]]:
        """A list that holds the input of the last linear layer after each pass."""
        seen: list[Tensor] = []

        def look(_: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] == self.classes:
                seen[:] = [inputs[0].flatten(1)]

        found = [m for m in self.network.modules() if isinstance(m, nn.Linear)]
        handles = [module.register_forward_hook(look) for module in found]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    def __call__(self, x: Tensor, seen: list[Tensor] | None = None) -> Tensor:
        """Logits [m, K] in the precision that the lab works in."""
        if seen is not None:
            seen.clear()
        logits: Tensor = self.network(x.to(self.dtype))
        return logits.double() if self.dtype == torch.float64 else logits.float()
