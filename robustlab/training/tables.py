"""The tables of a recipe: `Source`, `Train`, `Augment`, `Adversarial`. Needs no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustlab.errors import BadRequest
from robustlab.training.reading import at_least, checked, kinds_of, one_of
from robustlab.units import parse_budget

__all__ = ["METHODS", "OPTIMIZERS", "SCHEDULES", "Adversarial", "Augment", "Source", "Train"]

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "steps", "plateau", "constant")
METHODS = ("pgd", "trades", "fast")
NORMS = ("linf", "l2")
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """The images. Either ``source`` has the splits train, val and test, or each is a source.

    ``take``: as many training images, stratified by class, and the same share of the other two
    parts; 0 takes all. ``balanced``: every class equally often in every batch. ``normalise``: the
    network's images are brought to mean 0 and standard deviation 1 a channel, as measured on the
    training part.
    """

    source: str = ""
    train: str = ""
    val: str = ""
    test: str = ""
    take: int = 0
    balanced: bool = False
    normalise: bool = False

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Source:
        found = cls(**checked("[data]", table, kinds_of(cls)))
        given = [part for part in PARTS if getattr(found, part)]
        if bool(found.source) == bool(given):
            raise BadRequest(
                "[data] needs the key 'source', for data that have the splits train, val and test, "
                "or the keys 'train', 'val' and 'test', each a source of its own; not both"
            )
        if given and len(given) < len(PARTS):
            lacking = next(part for part in PARTS if part not in given)
            raise BadRequest(f"[data] lacks the key {lacking!r}: each part is a source of its own")
        at_least("[data] take", found.take, 0)
        return found


@dataclass(frozen=True)
class Train:
    """The optimisation.

    ``cosine`` takes lr to 0; ``steps`` divides it by 10 after one half and again after three
    quarters of the training (He et al. 2016, section 4.2); ``plateau`` multiplies it by
    ``plateau_factor`` when the validation loss has not fallen for ``plateau_patience`` epochs.
    Before any of them lr grows linearly over ``warmup`` epochs. ``patience``: epochs without a
    better validation after which training stops, 0 for never. ``clip``: largest L2 norm of the
    whole gradient, 0 for any. ``momentum`` and ``nesterov`` are for ``sgd``.
    """

    epochs: int
    batch: int = 64
    optimizer: str = "adamw"
    lr: float = 0.002
    weight_decay: float = 0.0
    schedule: str = "cosine"
    momentum: float = 0.9
    nesterov: bool = True
    warmup: float = 0.0
    plateau_patience: int = 10
    plateau_factor: float = 0.1
    patience: int = 0
    clip: float = 0.0
    label_smoothing: float = 0.0

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Train:
        train = cls(**checked("[train]", table, kinds_of(cls), ("epochs",)))
        for name in ("epochs", "batch"):
            at_least(f"[train] {name}", getattr(train, name), 1)
        for name in ("weight_decay", "warmup", "plateau_patience", "patience", "clip"):
            at_least(f"[train] {name}", getattr(train, name), 0)
        for name in ("momentum", "label_smoothing"):
            _share(f"[train] {name}", getattr(train, name))
        if not (math.isfinite(train.lr) and train.lr > 0):
            raise BadRequest(f"[train] lr = {train.lr} must be finite and above 0")
        if not 0 < train.plateau_factor < 1:
            raise BadRequest(f"[train] plateau_factor = {train.plateau_factor} must be in (0, 1)")
        if train.warmup >= train.epochs:
            raise BadRequest(
                f"[train] warmup = {train.warmup} epochs must be fewer than epochs = {train.epochs}"
            )
        if train.nesterov and train.momentum == 0 and "nesterov" in table:
            raise BadRequest("[train] nesterov needs a momentum above 0; give nesterov = false")
        one_of("[train] optimizer", train.optimizer, OPTIMIZERS)
        one_of("[train] schedule", train.schedule, SCHEDULES)
        return train


@dataclass(frozen=True)
class Augment:
    """Random change of every training image: shift in pixels, rotate in degrees, scale as a share
    of the size, uniform up to these, both ways; ``flip`` mirrors that share of the images left to
    right, which is for pictures whose class survives a mirror (not for digits or letters)."""

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    flip: float = 0.0

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Augment:
        augment = cls(**checked("[augment]", table, kinds_of(cls)))
        for name, value in dataclasses.asdict(augment).items():
            at_least(f"[augment] {name}", value, 0)
        _share("[augment] scale", augment.scale)
        if augment.flip > 1:
            raise BadRequest(f"[augment] flip = {augment.flip} is a share of the images, 0 to 1")
        return augment


@dataclass(frozen=True)
class Adversarial:
    """Training on attacked images.

    ``pgd`` (Madry et al. 2018), ``trades`` (Zhang et al. 2019) or ``fast`` (Wong et al. 2020: one
    step). ``eps`` is a budget on the [0, 1] scale, as "8/255"; ``step_size`` a share of eps, by
    default 2.5 / steps, and 1.25 for ``fast``; ``beta`` the weight of TRADES's second term;
    ``warmup`` the epochs over which eps grows linearly from 0.
    """

    method: str
    eps: str
    norm: str = "linf"
    steps: int = 10
    step_size: float | None = None
    beta: float = 6.0
    warmup: float = 0.0

    @property
    def budget(self) -> float:
        """eps as a number."""
        return parse_budget(self.eps, self.norm).value

    @property
    def step(self) -> float:
        """Length of a step as a share of eps."""
        if self.step_size is not None:
            return self.step_size
        return 1.25 if self.method == "fast" else 2.5 / self.steps

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Adversarial:
        given = dict(table)
        if type(given.get("eps")) in (int, float):
            given["eps"] = str(given["eps"])
        if given.get("method") == "fast":
            given.setdefault("steps", 1)
        found = cls(**checked("[adversarial]", given, kinds_of(cls), ("method", "eps")))
        one_of("[adversarial] method", found.method, METHODS)
        one_of("[adversarial] norm", found.norm, NORMS)
        at_least("[adversarial] steps", found.steps, 1)
        for name in ("beta", "warmup"):
            at_least(f"[adversarial] {name}", getattr(found, name), 0)
        try:
            budget = found.budget
        except BadRequest as error:
            raise error.inside("[adversarial]") from None
        for name, value in (("eps", budget), ("step_size", found.step)):
            if not (math.isfinite(value) and value > 0):
                raise BadRequest(f"[adversarial] {name} = {value} must be finite and above 0")
        if found.method == "fast" and found.steps != 1:
            raise BadRequest(
                f"[adversarial] method 'fast' takes one step, not {found.steps}; leave out steps, "
                "or take method = 'pgd'"
            )
        return found


def _share(what: str, value: float) -> None:
    at_least(what, value, 0)
    if value >= 1:
        raise BadRequest(f"{what} = {value} must be below 1")
