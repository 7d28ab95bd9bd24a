"""Recipes: how a network was, or shall be, trained, as TOML. Needs no torch.

A recipe says everything that decides the weights. Its tables are the dataclasses below, so a field
added there is a key of the file; an unknown key is refused with the nearest.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustlab import shelf
from robustlab.errors import BadRequest, choices

__all__ = ["Augment", "Recipe", "Train", "list_recipes", "load_recipe"]

SCHEMA = 1
SOURCES = ("digits",)  # data that have the splits train, val and test
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Train:
    """The optimisation. ``sgd`` has Nesterov momentum 0.9; ``cosine`` goes from lr to 0."""

    epochs: int
    batch: int = 64
    optimizer: str = "adamw"
    lr: float = 0.002
    weight_decay: float = 0.0
    schedule: str = "cosine"


@dataclass(frozen=True)
class Augment:
    """Random affine change of every training image, uniform up to these, both ways: shift in
    pixels, rotate in degrees, scale as a share of the size."""

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """One recipe: ``name`` is that of the network (``NAME@DATA``), ``seed`` decides all chance."""

    name: str
    seed: int
    builder: str
    options: Mapping[str, Any]
    source: str
    train: Train
    augment: Augment = field(default_factory=Augment)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as its file says it, defaults filled in."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "seed": self.seed,
            "backbone": {"builder": self.builder, "options": dict(self.options)},
            "data": {"source": self.source},
            "train": dataclasses.asdict(self.train),
            "augment": dataclasses.asdict(self.augment),
        }


def list_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in shelf.recipes().glob("*.toml"))


def load_recipe(recipe: str | Path) -> Recipe:
    """A shipped recipe by its name, or one's own by the path of its file (``.toml``).

    Raises:
        BadRequest: no such recipe, not TOML, or a key or value that is not valid.
    """
    text = str(recipe)
    path = Path(text).expanduser()
    if not text.endswith(".toml"):
        if text not in list_recipes():
            raise BadRequest(f"unknown recipe {text!r}{choices(text, list_recipes())}")
        path = shelf.recipes() / f"{text}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"recipe {text} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadRequest(f"recipe {text} is not TOML: {error}") from None
    try:
        return _recipe(table)
    except BadRequest as error:
        raise error.inside(f"recipe {path.name}") from None


def _recipe(table: dict[str, Any]) -> Recipe:
    if table.get("schema") != SCHEMA:
        raise BadRequest(f"schema is {table.get('schema')!r}; this lab reads schema = {SCHEMA}")
    known = {"schema": int, "name": str, "seed": int}
    tables = {"backbone": dict, "data": dict, "train": dict, "augment": dict}
    top = _checked("the recipe", table, known | tables, ("name", "backbone", "data", "train"))
    backbone = _checked(
        "[backbone]", top["backbone"], {"builder": str, "options": dict}, ("builder",)
    )
    data = _checked("[data]", top["data"], {"source": str}, ("source",))
    _one_of("[data] source", data["source"], SOURCES)
    return Recipe(
        name=_file_name(top["name"]),
        seed=_at_least("seed", top.get("seed", 0), 0),
        builder=backbone["builder"],
        options=backbone.get("options", {}),
        source=data["source"],
        train=_train(top["train"]),
        augment=_augment(top.get("augment", {})),
    )


def _train(table: dict[str, Any]) -> Train:
    train = Train(**_checked("[train]", table, _fields(Train), ("epochs",)))
    _at_least("[train] epochs", train.epochs, 1)
    _at_least("[train] batch", train.batch, 1)
    _at_least("[train] weight_decay", train.weight_decay, 0)
    if not (math.isfinite(train.lr) and train.lr > 0):
        raise BadRequest(f"[train] lr = {train.lr} must be finite and above 0")
    _one_of("[train] optimizer", train.optimizer, OPTIMIZERS)
    _one_of("[train] schedule", train.schedule, SCHEDULES)
    return train


def _augment(table: dict[str, Any]) -> Augment:
    augment = Augment(**_checked("[augment]", table, _fields(Augment), ()))
    for name, value in dataclasses.asdict(augment).items():
        _at_least(f"[augment] {name}", value, 0)
    if augment.scale >= 1:
        raise BadRequest(f"[augment] scale = {augment.scale} must be below 1")
    return augment


def _fields(kind: type[Train] | type[Augment]) -> dict[str, type]:
    kinds: dict[str, type] = {"int": int, "float": float, "str": str}
    return {one.name: kinds[str(one.type)] for one in dataclasses.fields(kind)}


def _checked(
    where: str, table: Mapping[str, Any], known: Mapping[str, type], needed: tuple[str, ...]
) -> dict[str, Any]:
    """The table with every key known and of its kind; a whole number may stand for a float."""
    found = dict(table)
    for key, value in table.items():
        if key not in known:
            raise BadRequest(f"unknown key {key!r} in {where}{choices(key, known)}")
        if known[key] is float and type(value) is int:
            found[key] = float(value)
        elif type(value) is not known[key]:
            kind = {dict: "a table", str: "text", int: "a whole number"}.get(known[key], "a number")
            raise BadRequest(f"{key} = {value!r} in {where} must be {kind}")
    for key in needed:
        if key not in found:
            raise BadRequest(f"{where} lacks the key {key!r}")
    return found


def _at_least(what: str, value: Any, least: int) -> Any:
    if not (math.isfinite(value) and value >= least):
        raise BadRequest(f"{what} = {value} must be finite and at least {least}")
    return value


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BadRequest(f"{what} = {value!r} is unknown{choices(value, known)}")


def _file_name(name: str) -> str:
    if not name or name.startswith(".") or any(one in name for one in "/\\:#?"):
        raise BadRequest(f"name = {name!r} must do as a file name, without / \\ : # ?")
    return name
