"""Twins: recipes that differ in exactly one thing, each trained from several seeds. Needs no torch.

A spec is TOML: a recipe, what all twins change in it (``[common]``), and one table ``[[twin]]`` for
each with its name and what it alone changes. A twin's changes that amount to two things are
refused: what came of it could not be laid to either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustlab import shelf
from robustlab.errors import BadRequest, choices
from robustlab.training.reading import at_least, checked, file_name, named, names_in
from robustlab.training.recipe import Recipe, load_recipe, read_recipe

__all__ = ["ENOUGH", "Twins", "list_twins", "load_twins"]

SCHEMA = 1
ENOUGH = 5  # seeds, from which on a claim about the kind is made
# Tables of a recipe that are one thing: augmentation is on or off, whatever it is made of.
_WHOLE = ("augment", "adversarial")
_TABLES = ("backbone", "data", "train", "augment", "adversarial")


@dataclass(frozen=True)
class Twins:
    """What is trained and compared.

    Attributes:
        recipes: name of a twin -> its recipe, whose seed is replaced by each of ``seeds``.
        differs: the one thing that they differ in, as a recipe's key: ``backbone.options.pool``.
        suite: what they are compared by, a shipped suite's name or a path.
        reference: the twin that the others are held against, the first.
    """

    name: str
    title: str
    recipes: Mapping[str, Recipe]
    differs: str
    seeds: tuple[int, ...]
    suite: str

    @property
    def reference(self) -> str:
        return next(iter(self.recipes))

    def recipe(self, twin: str, seed: int) -> Recipe:
        """The recipe of one training: ``max-seed0``."""
        return replace(self.recipes[twin], seed=seed, name=f"{twin}-seed{seed}")

    def with_seeds(self, count: int) -> Twins:
        """The same with seeds 0 to ``count`` - 1."""
        if count < 1:
            raise BadRequest(f"seeds {count} must be at least 1")
        return replace(self, seeds=tuple(range(count)))


def list_twins() -> list[str]:
    """Names of the shipped specs."""
    return names_in(shelf.twins())


def load_twins(spec: str | Path) -> Twins:
    """A shipped spec by its name, or one's own by the path of its file (``.toml``).

    Raises:
        BadRequest: no such spec, not TOML, a key or value that is not valid, or twins that differ
            in nothing or in more than one thing.
    """
    table, path = named("twins", spec, shelf.twins())
    try:
        return _read(table, path.parent)
    except BadRequest as error:
        raise error.inside(f"twins {path.name}") from None


def _read(table: dict[str, Any], folder: Path) -> Twins:
    if table.get("schema") != SCHEMA:
        raise BadRequest(f"schema is {table.get('schema')!r}; this lab reads schema = {SCHEMA}")
    kinds: dict[str, type] = {"schema": int, "name": str, "title": str, "recipe": str, "suite": str}
    kinds |= {"seeds": int, "common": dict}
    twins = table.pop("twin", [])
    top = checked("the spec", table, kinds, ("name", "recipe", "suite"))
    base = load_recipe(_beside(top["recipe"], folder)).as_dict()
    common = _merged(base, "[common]", top.get("common", {}))
    tables = _tables(twins, common)
    recipes = {name: read_recipe(found) for name, found in tables.items()}
    return Twins(
        name=file_name(top["name"]),
        title=top.get("title", ""),
        recipes=recipes,
        differs=_difference(recipes),
        seeds=tuple(range(int(at_least("seeds", top.get("seeds", ENOUGH), 1)))),
        suite=_beside(top["suite"], folder),
    )


def _beside(name: str, folder: Path) -> str:
    """A path in a spec is looked for beside the spec first."""
    return str(folder / name) if name.endswith(".toml") and (folder / name).exists() else name


def _tables(twins: Any, common: dict[str, Any]) -> dict[str, dict[str, Any]]:
    if not isinstance(twins, list) or not all(isinstance(one, dict) for one in twins):
        raise BadRequest("'twin' must be a list of tables; write [[twin]]")
    if len(twins) < 2:
        raise BadRequest("twins are at least two; write a [[twin]] with a name for each")
    found: dict[str, dict[str, Any]] = {}
    for number, twin in enumerate(twins, 1):
        name = twin.get("name")
        if not isinstance(name, str):
            raise BadRequest(f"twin {number} has no name; give it one, as name = 'max'")
        if file_name(name) in found:
            raise BadRequest(f"two twins are called {name!r}; give one of them another name")
        changes = {key: value for key, value in twin.items() if key != "name"}
        found[name] = _merged(common, f"twin {name}", changes) | {"name": name}
    return found


def _merged(base: Mapping[str, Any], where: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with what a table of the spec changes in it; another builder brings its own
    options, and an empty table of augmentation switches it off.
    """
    found = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    for key, value in changes.items():
        if key not in _TABLES or not isinstance(value, dict):
            raise BadRequest(f"{where}: unknown table {key!r}{choices(key, _TABLES)}")
        before = found.get(key, {})
        if key in _WHOLE:
            found[key] = dict(value)
        elif key == "backbone":
            other = value.get("builder", before["builder"]) != before["builder"]
            options = {} if other else before["options"]
            found[key] = before | value | {"options": options | value.get("options", {})}
        else:
            found[key] = before | value
    return found


def _difference(recipes: Mapping[str, Recipe]) -> str:
    """The one key that not all recipes agree in.

    Another builder is one thing with the options that it alone has; options of one name must agree
    between builders too.

    Raises:
        BadRequest: there is none, or more than one, or two recipes are the same.
    """
    things = [_things(recipe) for recipe in recipes.values()]
    built = "backbone.builder" in _differing(things)
    differing = [
        key
        for key in _differing(things)
        if not (built and key.startswith(_OPTIONS))
        or len({str(one[key]) for one in things if key in one}) > 1
    ]
    if not differing:
        raise BadRequest("the twins do not differ; let each [[twin]] change one and the same key")
    if len(differing) > 1:
        raise BadRequest(
            f"the twins differ in {' and '.join(differing)}; twins differ in one thing, else what "
            "comes of it cannot be laid to either. Put what all share into [common]"
        )
    for number, (name, one) in enumerate(zip(recipes, things, strict=True)):
        if one in things[:number]:
            other = list(recipes)[things.index(one)]
            raise BadRequest(f"twins {other} and {name} are the same; take one out")
    return differing[0]


_OPTIONS = "backbone.options."


def _differing(things: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = sorted({key for one in things for key in one})
    return [key for key in keys if any(one.get(key) != things[0].get(key) for one in things)]


def _things(recipe: Recipe) -> dict[str, Any]:
    """What twins may differ in, by key; a whole table where it is one thing."""
    written = recipe.as_dict()
    backbone = written["backbone"]
    found: dict[str, Any] = {key: written.get(key) for key in _WHOLE}
    found |= {_OPTIONS + name: value for name, value in backbone.pop("options").items()}
    for key in ("backbone", "data", "train"):
        found |= {f"{key}.{name}": value for name, value in written[key].items()}
    return found
