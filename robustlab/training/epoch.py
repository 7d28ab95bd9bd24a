"""Where a training stands after an epoch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Epoch"]


@dataclass(frozen=True)
class Epoch:
    """Where a training stands after one epoch: mean losses in nats, accuracy in [0, 1]."""

    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    val_accuracy: float

    @property
    def better(self) -> tuple[float, float]:
        """What is compared: accuracy first, then the loss; `max` keeps the earliest of equals."""
        return self.val_accuracy, -self.val_loss
