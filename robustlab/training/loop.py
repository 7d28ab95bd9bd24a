"""`train`: from a recipe to weights and a card, the same weights on every run on one machine.

Works on the CPU with one thread: sums split over threads differ in their last bits, and networks
of this size gain little from more. The validation split alone chooses the weights; the test split
is looked at once, at the end. Files are written when all is done: an interrupted training leaves
nothing.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustlab.atomic import make_folder
from robustlab.backbones import Backbone, builders
from robustlab.data import Data, load_data
from robustlab.errors import BadRequest, RobustlabError, choices
from robustlab.training.augment import augmented
from robustlab.training.card import write_network
from robustlab.training.epoch import Epoch
from robustlab.training.recipe import Recipe, load_recipe

__all__ = ["train"]

_PARTS = ("train", "val", "test")


def train(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    progress: Callable[[Epoch], None] | None = None,
    epochs: int | None = None,
) -> Path:
    """Train a network and write ``NAME.safetensors`` and its card ``NAME.json`` into ``out``.

    Kept are the weights of the epoch with the highest validation accuracy; of equal ones that with
    the lowest validation loss, then the earliest.

    Args:
        recipe: name of a shipped recipe, path of a TOML file, or a `Recipe`.
        out: folder; it is made if need be.
        progress: called after every epoch.
        epochs: instead of the recipe's (the schedule is fitted to it).

    Returns:
        The path of the weights; ``file:PATH`` loads them.

    Raises:
        BadRequest: an invalid recipe, or a folder that cannot be written.
        RobustlabError: the loss is no longer finite.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if epochs is not None:
        if epochs < 1:
            raise BadRequest(f"epochs {epochs} must be at least 1")
        recipe = replace(recipe, train=replace(recipe.train, epochs=epochs))
    module = _fresh(recipe)
    folder = Path(out).expanduser()
    make_folder(folder)
    parts = {part: load_data(f"{recipe.source}:{part}") for part in _PARTS}
    started = time.perf_counter()
    with _one_thread():
        curve, best = _fit(recipe, module, parts["train"], parts["val"], progress)
        module.load_state_dict(best)
        backbone = _frozen(recipe, module, parts["test"])
        hits = {part: _predicted(backbone, parts[part]) for part in ("val", "test")}
    seconds = time.perf_counter() - started
    return write_network(folder, recipe, backbone, curve, parts, hits, seconds)


def _fresh(recipe: Recipe) -> nn.Module:
    if recipe.builder not in builders:
        raise BadRequest(
            f"recipe {recipe.name}: unknown builder {recipe.builder!r}"
            f"{choices(recipe.builder, builders)}"
        )
    builder = builders[recipe.builder]
    try:
        return builder(**builder.bind({"seed": recipe.seed, **recipe.options}))
    except BadRequest as error:
        raise error.inside(f"recipe {recipe.name}") from None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tensors(data: Data) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(data.batch(slice(None))), torch.tensor(data.labels)


def _fit(
    recipe: Recipe,
    module: nn.Module,
    train_data: Data,
    val_data: Data,
    progress: Callable[[Epoch], None] | None,
) -> tuple[list[Epoch], dict[str, Tensor]]:
    """The curve, one entry an epoch, and the best weights."""
    images, labels = _tensors(train_data)
    held_out = _tensors(val_data)
    optimizer = _optimizer(recipe, module)
    generator = torch.Generator().manual_seed(recipe.seed)
    curve: list[Epoch] = []
    best: dict[str, Tensor] = {}
    for number in range(1, recipe.train.epochs + 1):
        module.train()
        loss = _one_epoch(recipe, module, optimizer, images, labels, generator, number)
        epoch = Epoch(number, recipe.train.epochs, loss, *_measured(module, *held_out))
        _check_finite(recipe, "validation loss", epoch.val_loss, number)
        curve.append(epoch)
        if max(curve, key=lambda one: one.better) is epoch:
            best = copy.deepcopy(module.state_dict())
        if progress is not None:
            progress(epoch)
    return curve, best


def _optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    lr, decay = recipe.train.lr, recipe.train.weight_decay
    if recipe.train.optimizer == "adamw":
        return torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=decay)
    return torch.optim.SGD(
        module.parameters(), lr=lr, weight_decay=decay, momentum=0.9, nesterov=True
    )


def _one_epoch(
    recipe: Recipe,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    number: int,
) -> float:
    """One pass over the images in a fresh order; the mean loss over them, in nats."""
    order = torch.randperm(len(images), generator=generator)
    batches = torch.split(order, recipe.train.batch)
    total = 0.0
    for step, rows in enumerate(batches):
        done = (number - 1 + step / len(batches)) / recipe.train.epochs
        for group in optimizer.param_groups:
            group["lr"] = recipe.train.lr * _rate(recipe.train.schedule, done)
        logits = module(augmented(images[rows], recipe.augment, generator))
        loss = functional.cross_entropy(logits, labels[rows])
        _check_finite(recipe, "loss", loss.item(), number)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item() * len(rows)
    return total / len(images)


def _check_finite(recipe: Recipe, what: str, loss: float, number: int) -> None:
    if not math.isfinite(loss):
        raise RobustlabError(
            f"recipe {recipe.name}: the {what} is {loss} in epoch {number}; the training "
            f"diverged, lower [train] lr (it is {recipe.train.lr})"
        )


def _rate(schedule: str, done: float) -> float:
    """Factor of the learning rate after the share ``done`` of all steps."""
    return 0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1.0


def _measured(module: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy, in eval mode and without gradients."""
    module.eval()
    with torch.no_grad():
        logits = module(images)
    loss = functional.cross_entropy(logits, labels).item()
    return loss, float((logits.argmax(1) == labels).double().mean())


def _frozen(recipe: Recipe, module: nn.Module, data: Data) -> Backbone:
    builder = builders[recipe.builder]
    backbone = Backbone(
        module.eval(),
        input_shape=builder.input_shape(recipe.options),
        classes=data.classes,
        name=recipe.name,
    )
    backbone.accepts(data)
    return backbone


def _predicted(backbone: Backbone, data: Data) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each image is classified rightly, bool [n]."""
    guesses = backbone(data.batch(slice(None))).argmax(1).numpy()
    return np.asarray(guesses == data.labels)
