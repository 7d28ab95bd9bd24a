"""What the training page draws: norms of weights and gradients an epoch, the first filters."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Trace"]

_FILTERS = 64  # filters kept
_EVERY = 4  # steps between two looks at the gradients
_SNAPSHOTS = 12  # epochs at which they are kept, the one before training among them
_PIXELS = 4096  # a fully connected first layer on larger images is left out


class Trace:
    """Kept beside the training; `arrays` are what ``NAME.training.npz`` holds.

    Args:
        input_shape: (C, H, W) of an image.
        epochs: how many there shall be, for the choice of the epochs at which filters are kept.
    """

    def __init__(self, module: nn.Module, input_shape: tuple[int, int, int], epochs: int) -> None:
        parts = {name: part for name, part in module.named_modules() if _is_layer(part)}
        self.layers = list(parts)
        self.weights: list[Tensor] = [part.weight for part in parts.values()]
        self.trained = [i for i, weight in enumerate(self.weights) if weight.requires_grad]
        self.sums: Tensor | None = None
        self.steps = self.passes = 0
        self.gradient_norm: list[Tensor] = []
        self.weight_norm: list[Tensor] = []
        self.first = _shape(next(iter(parts.values()), None), input_shape)
        planned = np.rint(np.geomspace(1, max(1, epochs), _SNAPSHOTS - 1)).astype(int)
        self.planned = {0, *planned.tolist()}
        self.filters: list[Tensor] = []
        self.filter_epochs: list[int] = []
        self._snapshot(0)

    def step(self) -> None:
        """After every backward pass; looks at every fourth, which costs a fourth of the time."""
        self.passes += 1
        if not self.trained or (self.passes - 1) % _EVERY:
            return
        weights = [self.weights[i] for i in self.trained]
        gradients = [w.grad if w.grad is not None else torch.zeros_like(w) for w in weights]
        norms = torch.stack(list(torch._foreach_norm(gradients)))
        self.sums = norms if self.sums is None else self.sums + norms
        self.steps += 1

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> None:
        row = torch.full((len(self.layers),), torch.nan)
        if self.sums is not None:
            row[self.trained] = (self.sums / self.steps).float().cpu()
        self.gradient_norm.append(row)
        norms = [torch.linalg.vector_norm(weight.float()).cpu() for weight in self.weights]
        self.weight_norm.append(torch.stack(norms) if norms else torch.empty(0))
        self.sums, self.steps, self.passes = None, 0, 0
        if epoch in self.planned:
            self._snapshot(epoch)

    def end(self, epoch: int) -> None:
        """The filters as training left them, wherever it stopped."""
        if self.filter_epochs and self.filter_epochs[-1] != epoch:
            self._snapshot(epoch)

    def _snapshot(self, epoch: int) -> None:
        if self.first is not None:
            weight = self.weights[0].detach()[:_FILTERS].float().cpu()
            self.filters.append(weight.clone().view(-1, *self.first))
            self.filter_epochs.append(epoch)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `restore` takes it."""
        return {name: list(getattr(self, name)) for name in _KEPT}

    def restore(self, state: dict[str, Any]) -> None:
        for name in _KEPT:
            setattr(self, name, list(state[name]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """``layers`` [L], ``gradient_norm`` and ``weight_norm`` [epochs, L] (NaN where frozen), and
        where the network looks at the image through filters: ``filters`` [snapshots, K, C, h, w],
        ``filter_epochs`` [snapshots], 0 being before training."""
        size = (len(self.gradient_norm), len(self.layers))
        found: dict[str, NDArray[Any]] = {"layers": np.array(self.layers, dtype=np.str_)}
        for name in ("gradient_norm", "weight_norm"):
            rows = [row.numpy() for row in getattr(self, name)]
            found[name] = np.array(rows, dtype=np.float32).reshape(size)
        if self.filters:
            found["filters"] = torch.stack(self.filters).numpy()
            found["filter_epochs"] = np.array(self.filter_epochs)
        return found

    def packed(self) -> bytes:
        """The arrays as an npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self.arrays())  # type: ignore[arg-type]
        return buffer.getvalue()


_KEPT = ("gradient_norm", "weight_norm", "filters", "filter_epochs")


def _is_layer(part: nn.Module) -> bool:
    weight = getattr(part, "weight", None)
    return isinstance(weight, nn.Parameter) and weight.dim() >= 2


def _shape(
    part: nn.Module | None, input_shape: tuple[int, int, int]
) -> tuple[int, int, int] | None:
    """Shape (C, h, w) of one filter of the first layer, None where it has none to be drawn."""
    if isinstance(part, nn.Conv2d):
        _, channels, height, width = part.weight.shape
        return channels, height, width
    size = input_shape[0] * input_shape[1] * input_shape[2]
    if isinstance(part, nn.Linear) and part.in_features == size <= _PIXELS:
        return input_shape
    return None
