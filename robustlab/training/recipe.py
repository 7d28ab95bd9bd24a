"""Recipes: how a network was, or shall be, trained, as TOML. Needs no torch.

A recipe says everything that decides the weights. Its tables are the dataclasses below, so a field
added there is a key of the file; an unknown key is refused with the nearest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustlab import shelf
from robustlab.errors import BadRequest
from robustlab.training.reading import at_least, checked, file_name, named, names_in
from robustlab.training.tables import Adversarial, Augment, Source, Train

__all__ = [
    "Adversarial",
    "Augment",
    "Recipe",
    "Source",
    "Train",
    "list_recipes",
    "load_recipe",
    "read_recipe",
]

SCHEMA = 1
# Keys that every written recipe shows; any other is shown where it differs from its default.
_ALWAYS = {
    *("source", "epochs", "batch", "optimizer", "lr", "weight_decay", "schedule"),
    *("shift", "rotate", "scale", "method", "norm", "eps", "steps"),
}


@dataclass(frozen=True)
class Recipe:
    """One recipe: ``name`` is that of the network (``NAME@DATA``), ``seed`` decides all chance.

    Attributes:
        builder, options: the network, see `robustlab.backbones.building.build`.
        data, train, augment: tables of the file.
        adversarial: training on attacked images, None for the plain kind.
        weights: reference of the network whose weights training starts from; none if empty.
        fresh: parts (prefixes of module names) that start afresh even so.
        frozen, free: parts that stay as they are, or the only ones that do not; one of the two.
    """

    name: str
    seed: int
    builder: str
    options: Mapping[str, Any]
    data: Source
    train: Train
    augment: Augment = field(default_factory=Augment)
    adversarial: Adversarial | None = None
    weights: str = ""
    fresh: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    free: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The recipe as its file says it, the main defaults filled in."""
        parts = {name: list(getattr(self, name)) for name in ("fresh", "frozen", "free")}
        start = {"weights": self.weights, **parts}
        written = {
            "schema": SCHEMA,
            "name": self.name,
            "seed": self.seed,
            "backbone": {"builder": self.builder, "options": dict(self.options)}
            | {key: value for key, value in start.items() if value},
            "data": _written(self.data),
            "train": _written(self.train),
            "augment": _written(self.augment),
        }
        return written | ({"adversarial": _written(self.adversarial)} if self.adversarial else {})


def _written(table: Any) -> dict[str, Any]:
    defaults = {one.name: one.default for one in dataclasses.fields(table)}
    values = dataclasses.asdict(table)
    if isinstance(table, Source) and not table.source:
        values.pop("source")
    return {k: v for k, v in values.items() if k in _ALWAYS or v != defaults[k]}


def list_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return names_in(shelf.recipes())


def load_recipe(recipe: str | Path) -> Recipe:
    """A shipped recipe by its name, or one's own by the path of its file (``.toml``).

    Raises:
        BadRequest: no such recipe, not TOML, or a key or value that is not valid.
    """
    table, path = named("recipe", recipe, shelf.recipes())
    try:
        return read_recipe(table)
    except BadRequest as error:
        raise error.inside(f"recipe {path.name}") from None


def read_recipe(table: dict[str, Any]) -> Recipe:
    """The recipe that a table says, as TOML is read.

    Raises:
        BadRequest: a key or value that is not valid.
    """
    if table.get("schema") != SCHEMA:
        raise BadRequest(f"schema is {table.get('schema')!r}; this lab reads schema = {SCHEMA}")
    known: dict[str, type] = {"schema": int, "name": str, "seed": int}
    tables = dict.fromkeys(("backbone", "data", "train", "augment", "adversarial"), dict)
    top = checked("the recipe", table, known | tables, ("name", "backbone", "data", "train"))
    name, seed = file_name(top["name"]), at_least("seed", top.get("seed", 0), 0)
    hardened = "adversarial" in top
    return Recipe(
        name=name,
        seed=seed,
        **_backbone(top["backbone"]),
        data=Source.read(top["data"]),
        train=Train.read(top["train"]),
        augment=Augment.read(top.get("augment", {})),
        adversarial=Adversarial.read(top["adversarial"]) if hardened else None,
    )


def _backbone(table: dict[str, Any]) -> dict[str, Any]:
    kinds = {"builder": str, "options": dict, "weights": str}
    kinds |= dict.fromkeys(("fresh", "frozen", "free"), list)
    found = checked("[backbone]", table, kinds, ("builder",))
    if found.get("frozen") and found.get("free"):
        raise BadRequest("[backbone] has frozen and free; give one, the other follows from it")
    if found.get("fresh") and not found.get("weights"):
        raise BadRequest("[backbone] fresh says what not to take from weights; give weights too")
    return {"options": {}, **found}
