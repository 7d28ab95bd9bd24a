"""Where a training stands after an epoch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Epoch"]


@dataclass(frozen=True)
class Epoch:
    """Where a training stands after one epoch: mean losses in nats, accuracies in [0, 1].

    ``train_loss`` and ``train_accuracy`` are those of the batches as they were trained on,
    augmented and attacked; ``lr`` is that of the epoch's first step. The last two are there in
    adversarial training only: accuracy under a projected gradient search, and under one step.
    """

    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    train_accuracy: float = 0.0
    lr: float = 0.0
    val_robust_accuracy: float | None = None
    val_single_step_accuracy: float | None = None

    @property
    def better(self) -> tuple[float, ...]:
        """What is compared: robust accuracy where it is measured, then accuracy, then the loss;
        `max` keeps the earliest of equals."""
        plain = (self.val_accuracy, -self.val_loss)
        return plain if self.val_robust_accuracy is None else (self.val_robust_accuracy, *plain)
