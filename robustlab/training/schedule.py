"""The optimizer of a recipe, and the learning rate over its steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from robustlab.training.recipe import Train

__all__ = ["Schedule", "optimizer_of"]


def optimizer_of(train: Train, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), or SGD with momentum."""
    if train.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=train.lr,
        weight_decay=train.weight_decay,
        momentum=train.momentum,
        nesterov=train.nesterov and train.momentum > 0,
    )


class Schedule:
    """The learning rate: ``step`` after every batch, ``end_epoch`` after every epoch.

    Args:
        steps: batches an epoch.
    """

    def __init__(self, train: Train, optimizer: torch.optim.Optimizer, steps: int) -> None:
        self.optimizer = optimizer
        self.plateau: ReduceLROnPlateau | None = None
        self.batch: LambdaLR | LinearLR
        if train.schedule == "plateau":
            warm = round(train.warmup * steps)
            self.batch = LinearLR(optimizer, start_factor=1 / max(1, warm), total_iters=warm)
            self.plateau = ReduceLROnPlateau(
                optimizer, factor=train.plateau_factor, patience=train.plateau_patience
            )
        else:
            self.batch = LambdaLR(optimizer, lambda step: _factor(train, step, steps))

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        self.batch.step()

    def end_epoch(self, val_loss: float) -> None:
        if self.plateau is not None:
            self.plateau.step(val_loss)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `restore` takes it."""
        plateau = self.plateau.state_dict() if self.plateau else None
        return {"batch": self.batch.state_dict(), "plateau": plateau}

    def restore(self, state: dict[str, Any]) -> None:
        self.batch.load_state_dict(state["batch"])
        if self.plateau is not None:
            self.plateau.load_state_dict(state["plateau"])


def _factor(train: Train, step: int, steps: int) -> float:
    """Factor of lr at a step, there being ``steps`` an epoch."""
    done = (step // steps + step % steps / steps) / train.epochs
    warm = round(train.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    share = warm / (steps * train.epochs)
    done = (done - share) / (1 - share)
    if train.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if train.schedule == "steps":
        return 0.1 ** ((done >= 0.5) + (done >= 0.75))
    return 1.0
