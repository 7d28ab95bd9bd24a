"""`Learner`: all that moves while a network is trained, an epoch at a time."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustlab.backbones.backbone import Normalised
from robustlab.data import Data
from robustlab.errors import RobustlabError
from robustlab.training.adversarial import attacked, divergence, robust_hits, single_step_hits
from robustlab.training.augment import augmented, mirrored
from robustlab.training.epoch import Epoch
from robustlab.training.network import Start, train_mode
from robustlab.training.parts import chunks, epoch_order
from robustlab.training.recipe import Recipe
from robustlab.training.schedule import Schedule, optimizer_of
from robustlab.training.trace import Trace

__all__ = ["Diverged", "Learner", "logits_of"]

_AUXILIARY = 0.3  # weight of an auxiliary head's loss (Szegedy et al. 2015, section 5)
_LARGEST = 1000.0  # nats: guessing among 1,000 classes costs 7
_HELD = 2**24  # pixel values kept as floats, 64 MiB; what is more is read batch by batch
_WATCHED = 1000  # validation images on which robust accuracy is measured after every epoch
Statistics = tuple[float, ...] | None


class Diverged(RobustlabError):
    """The loss is not finite, or larger than any that a training comes back from."""

    exit_code = 3


class Learner:
    """One training.

    Args:
        start: the network with its weights.
        statistics: mean and std that its images are normalised with, or None both.
        train, val: the images to learn from, and those that choose the epoch.
    """

    def __init__(
        self,
        recipe: Recipe,
        start: Start,
        statistics: tuple[Statistics, Statistics],
        train: Data,
        val: Data,
        device: torch.device,
    ) -> None:
        self.recipe, self.train, self.val, self.device = recipe, train, val, device
        self.module, self.held = start.built.module.to(device), start.held
        self.statistics = statistics
        self.network = _normalised(self.module, *statistics)
        self.labels = torch.tensor(train.labels)
        small = math.prod(train.shape) * len(train) <= _HELD
        self.images = torch.from_numpy(train.batch(slice(None))) if small else None
        self.steps = len(self._batches(torch.arange(len(train))))
        trained = [one for one in self.module.parameters() if one.requires_grad]
        self.optimizer = optimizer_of(recipe.train, trained)
        self.schedule = Schedule(recipe.train, self.optimizer, self.steps)
        self.chance = {"order": torch.Generator().manual_seed(recipe.seed)}
        for purpose in ("flip", "start"):  # of their own, so that order and shifts stay the same
            self.chance[purpose] = torch.Generator().manual_seed(_derived(recipe.seed, purpose))
        self.trace = Trace(self.module, start.built.input_shape, recipe.train.epochs)
        self.curve: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.watched = val if len(val) <= _WATCHED else val.take(_WATCHED, recipe.seed)

    def epoch(self, tick: Callable[[float], None]) -> Epoch:
        """One pass over the images in a fresh order, then a look at the validation part.

        Raises:
            Diverged: a loss that is not finite, or beyond 1,000 nats.
        """
        number, epochs, lr = len(self.curve) + 1, self.recipe.train.epochs, self.schedule.lr
        loss, accuracy = self._pass(number, tick)
        val_loss, val_accuracy = self._measured()
        self._check_loss("validation loss", val_loss, number)
        self.schedule.end_epoch(val_loss)
        self.trace.end_epoch(number)
        robust = self._robust()
        epoch = Epoch(number, epochs, loss, val_loss, val_accuracy, accuracy, lr, *robust)
        self.curve.append(epoch)
        if max(self.curve, key=lambda one: one.better) is epoch:
            self.best = copy.deepcopy(self.module.state_dict())
        return epoch

    def _batches(self, order: Tensor) -> list[Tensor]:
        batches = list(torch.split(order, self.recipe.train.batch))
        if len(batches) > 1 and len(batches[-1]) == 1:  # batch norm cannot take a single image
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def _pass(self, number: int, tick: Callable[[float], None]) -> tuple[float, float]:
        """Mean loss in nats and accuracy over the images as they were trained on."""
        order = epoch_order(self.labels, self.recipe.data.balanced, self.chance["order"])
        train_mode(self.module, self.held)
        total, right = 0.0, torch.zeros((), device=self.device)
        for step, rows in enumerate(self._batches(order)):
            done = number - 1 + step / self.steps
            images, labels = self._batch(rows)
            loss, logits = self._loss(images, labels, done)
            value = loss.item()
            self._check_loss("loss", value, number)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.trace.step()
            if self.recipe.train.clip:
                nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.train.clip)
            self.optimizer.step()
            self.schedule.step()
            total += value * len(rows)
            right += (logits.argmax(1) == labels).sum()
            tick((done + 1 / self.steps) / self.recipe.train.epochs)
        return total / len(order), right.item() / len(order)

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        held = self.images
        images = torch.from_numpy(self.train.batch(rows.numpy())) if held is None else held[rows]
        augment = self.recipe.augment
        images = augmented(images.to(self.device), augment, self.chance["order"])
        if augment.flip:
            images = mirrored(images, augment.flip, self.chance["flip"])
        return images, self.labels[rows].to(self.device)

    def _loss(self, x: Tensor, y: Tensor, done: float) -> tuple[Tensor, Tensor]:
        """The batch's loss, and the logits of the images as trained on; ``done`` in epochs."""
        adversarial = self.recipe.adversarial
        if adversarial is None:
            return self._criterion(self.network(x), y)
        grown = min(1.0, (done + 1 / self.steps) / max(adversarial.warmup, 1 / self.steps))
        x = x.clamp(0.0, 1.0)
        self.module.eval()
        x_adv = attacked(
            self.network, x, y, adversarial, grown * adversarial.budget, self.chance["start"]
        )
        train_mode(self.module, self.held)
        if adversarial.method != "trades":
            return self._criterion(self.network(x_adv), y)
        loss, clean = self._criterion(self.network(x), y)
        other = _heads(self.network(x_adv))[0]
        # Zhang et al. 2019, equation 5 (multi-class), beta being their 1 / lambda.
        return loss + adversarial.beta * divergence(clean, other).mean(), other

    def _criterion(self, outputs: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        main, *others = _heads(outputs)
        smoothing = self.recipe.train.label_smoothing
        losses = [
            functional.cross_entropy(one, y, label_smoothing=smoothing) for one in (main, *others)
        ]
        return losses[0] + _AUXILIARY * sum(losses[1:]) if others else losses[0], main

    def _measured(self) -> tuple[float, float]:
        """Loss in nats and accuracy on the validation part."""
        logits = logits_of(self.network, self.val, self.device)
        labels = torch.tensor(self.val.labels)
        loss = functional.cross_entropy(logits, labels).item()
        return loss, float((logits.argmax(1) == labels).double().mean())

    def _robust(self) -> tuple[float | None, float | None]:
        adversarial, seed = self.recipe.adversarial, self.recipe.seed
        if adversarial is None:
            return None, None
        self.module.eval()
        robust = robust_hits(self.network, self.watched, adversarial, seed).mean()
        single = single_step_hits(self.network, self.watched, adversarial, seed).mean()
        return float(robust), float(single)

    def _check_loss(self, what: str, loss: float, number: int) -> None:
        if not loss < _LARGEST:  # nan is not
            raise Diverged(
                f"recipe {self.recipe.name}: the {what} is {loss:.4g} in epoch {number}; the "
                f"training diverged, lower [train] lr (it is {self.recipe.train.lr})"
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `restore` takes it."""
        cuda = self.device.type == "cuda"
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "chance": {name: one.get_state() for name, one in self.chance.items()},
            "dropout": torch.cuda.get_rng_state(self.device) if cuda else torch.get_rng_state(),
            "trace": self.trace.state(),
            "curve": [vars(one) for one in self.curve],
            "best": self.best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.restore(state["schedule"])
        for name, generator in self.chance.items():
            generator.set_state(state["chance"][name])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["dropout"], self.device)
        else:
            torch.set_rng_state(state["dropout"])
        self.trace.restore(state["trace"])
        self.curve = [Epoch(**one) for one in state["curve"]]
        self.best = {name: one.to(self.device) for name, one in state["best"].items()}


def logits_of(network: nn.Module, data: Data, device: torch.device) -> Tensor:
    """Logits [n, K] on the CPU, in evaluation mode and without gradients."""
    network.eval()
    found = []
    with torch.no_grad():
        for rows in chunks(data):
            images = torch.from_numpy(data.batch(rows)).to(device)
            found.append(network(images).cpu())
    return torch.cat(found)


def _normalised(module: nn.Module, mean: Statistics, std: Statistics) -> nn.Module:
    if mean is None or std is None:
        return module
    device = next(module.parameters()).device
    return Normalised(module, torch.tensor(mean, device=device), torch.tensor(std, device=device))


def _heads(outputs: Any) -> list[Tensor]:
    """The logits, then those of auxiliary heads, which some networks give in train mode."""
    return [outputs] if isinstance(outputs, Tensor) else [one for one in outputs if one is not None]


def _derived(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest())
