"""A suite: which data, which backbones, which probes, in TOML or as objects.

The reader knows every key and refuses the rest with the nearest one: a misspelt ``steps`` that was
silently ignored would be a wrong robustness figure.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robustlab import shelf
from robustlab.errors import BadRequest, RobustlabError, choices

__all__ = ["SCHEMA", "BackboneSpec", "ProbeSpec", "Suite", "load_suite", "shipped_suites"]

SCHEMA = 1
_SUITE_KEYS = ("schema", "title", "seed", "shard", "data", "backbone", "probe")
_LATER = {"gate": "gates", "engine": "engines"}
_BACKBONE_KEYS = ("ref", "name", "mean", "std", "pool", "padding", "head")


@dataclass(frozen=True)
class BackboneSpec:
    """One ``[[backbone]]``: a reference, and what overrides its name, preprocessing and pooling.

    Attributes:
        pool, padding, head: those of `robustlab.swap_pooling`; all None: nothing is swapped.
    """

    ref: str
    name: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pool: str | None = None
    padding: str | None = None
    head: str | None = None


@dataclass(frozen=True)
class ProbeSpec:
    """One ``[[probe]]``: a registry name, its parameters, and lists of values to sweep."""

    use: str
    params: Mapping[str, Any] = field(default_factory=dict)
    sweep: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def bindings(self) -> Iterator[dict[str, Any]]:
        """Every combination of the swept values over the fixed parameters."""
        for values in itertools.product(*self.sweep.values()):
            yield {**self.params, **dict(zip(self.sweep, values, strict=True))}


@dataclass(frozen=True)
class Suite:
    """What a run does; the same object that the command line reads from TOML.

    Attributes:
        source: data reference, as ``"digits:test"``; take: how many images, stratified and seeded.
        seed: decides the choice of images and all randomness of the probes.
        shard: images a cell at most; decides what a kill can lose, never a number.
        folder: where relative paths of the suite start.
    """

    name: str = "suite"
    title: str = ""
    seed: int = 0
    shard: int = 256
    source: str = "digits:test"
    take: int | None = None
    backbones: tuple[BackboneSpec, ...] = ()
    probes: tuple[ProbeSpec, ...] = ()
    folder: Path = Path()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], name: str, folder: Path = Path()) -> Suite:
        """Read a parsed TOML document; errors name the entry."""
        try:
            return _read(data, name, folder)
        except RobustlabError as error:
            raise error.inside(f"suite {name}") from None

    def to_dict(self) -> dict[str, Any]:
        """The suite as the TOML document that reads back to it."""
        backbones = [
            {k: list(v) if isinstance(v, tuple) else v for k, v in vars(b).items() if v is not None}
            for b in self.backbones
        ]
        probes = [
            {"use": p.use, **p.params, **({"sweep": dict(p.sweep)} if p.sweep else {})}
            for p in self.probes
        ]
        data = {"source": self.source, **({"take": self.take} if self.take is not None else {})}
        head = {"schema": SCHEMA, "seed": self.seed, "shard": self.shard}
        title = {"title": self.title} if self.title else {}
        return {**head, **title, "data": data, "backbone": backbones, "probe": probes}

    def with_backbones(self, references: Sequence[str]) -> Suite:
        """The same suite on other backbones."""
        return replace(self, backbones=tuple(BackboneSpec(ref) for ref in references))


def _read(data: Mapping[str, Any], name: str, folder: Path) -> Suite:
    _known(data, _SUITE_KEYS, _LATER)
    if data.get("schema", SCHEMA) != SCHEMA:
        raise BadRequest(f"schema {data['schema']!r} is not known; this version reads {SCHEMA}")
    source = _typed(data, "data", dict, {})
    _known(source, ("source", "take"), {}, "data")
    probes = [
        _within(f"probe {i}", _read_probe, entry)
        for i, entry in enumerate(_entries(data, "probe"), 1)
    ]
    backbones = [
        _within(f"backbone {i}", _read_backbone, entry)
        for i, entry in enumerate(_entries(data, "backbone"), 1)
    ]
    if not probes:
        raise BadRequest("no [[probe]]; add a line [[probe]], then use = 'pgd' and eps = ['0.1']")
    take = _typed(source, "take", int, None)
    if take is not None and take < 1:
        raise BadRequest(f"data: take must be at least 1, not {take}")
    shard = _typed(data, "shard", int, 256)
    if shard < 1:
        raise BadRequest(f"shard must be at least 1, not {shard}")
    return Suite(
        name=Path(name).stem,
        title=_typed(data, "title", str, ""),
        seed=_typed(data, "seed", int, 0),
        shard=shard,
        source=_typed(source, "source", str, "digits:test"),
        take=take,
        backbones=tuple(backbones),
        probes=tuple(probes),
        folder=folder,
    )


def _read_probe(entry: Mapping[str, Any]) -> ProbeSpec:
    if "use" not in entry:
        raise BadRequest("it has no 'use'; name an attack or probe, as use = 'pgd'")
    sweep = _typed(entry, "sweep", dict, {})
    for key, values in sweep.items():
        if not isinstance(values, list) or not values:
            raise BadRequest(f"sweep: {key!r} must be a list of values, not {values!r}")
        if key in entry:
            raise BadRequest(f"{key!r} is given both as a parameter and in sweep; keep one")
    params = {k: v for k, v in entry.items() if k not in ("use", "sweep")}
    return ProbeSpec(_typed(entry, "use", str, ""), params, sweep)


def _read_backbone(entry: Mapping[str, Any]) -> BackboneSpec:
    _known(entry, _BACKBONE_KEYS, {})
    if "ref" not in entry:
        raise BadRequest("it has no 'ref'; name a network, as ref = 'lenet5-max@digits'")
    return BackboneSpec(
        _typed(entry, "ref", str, ""),
        _typed(entry, "name", str, None),
        _numbers(entry, "mean"),
        _numbers(entry, "std"),
        *(_typed(entry, key, str, None) for key in ("pool", "padding", "head")),
    )


def _numbers(entry: Mapping[str, Any], key: str) -> tuple[float, ...] | None:
    """A list of numbers, one a channel."""
    values = _typed(entry, key, list, None)
    if values is None:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        raise BadRequest(f"{key!r} must be a list of numbers, one a channel, not {values!r}")
    return tuple(map(float, values))


def _known(
    entry: Mapping[str, Any], keys: Sequence[str], later: Mapping[str, str], where: str = ""
) -> None:
    place = f"{where}: " if where else ""
    for key in entry:
        if key in later:
            raise BadRequest(f"{place}key {key!r}: {later[key]} are not built yet; leave it out")
        if key not in keys:
            raise BadRequest(f"{place}unknown key {key!r}{choices(key, keys)}")


def _entries(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = data.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise BadRequest(f"{key!r} must be a list of tables; write [[{key}]]")
    return entries


def _typed(entry: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = entry.get(key, default)
    if key in entry and (not isinstance(value, kind) or isinstance(value, bool)):
        raise BadRequest(f"{key!r} must be a {kind.__name__}, not {value!r}")
    return value


def _within(where: str, read: Any, entry: Mapping[str, Any]) -> Any:
    try:
        return read(entry)
    except RobustlabError as error:
        raise error.inside(where) from None


def shipped_suites() -> dict[str, Path]:
    """Name -> file of the suites that come with the lab."""
    return {path.stem: path for path in sorted(shelf.suites().glob("*.toml"))}


def load_suite(suite: str | Path | Suite) -> Suite:
    """Read a suite: a shipped name (``quick``), a TOML file, or a `Suite` as it is.

    Raises:
        BadRequest: no such suite, not TOML, or an unknown key.
    """
    if isinstance(suite, Suite):
        return suite
    shipped = shipped_suites()
    path = shipped.get(str(suite), Path(suite))
    if not path.is_file():
        if str(suite).endswith(".toml"):
            raise BadRequest(f"there is no file {str(suite)!r}, seen from {Path.cwd()}")
        raise BadRequest(
            f"no suite {str(suite)!r}{choices(str(suite), shipped)} (or the path of a TOML file)"
        )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"suite {path.name}: not TOML: {error}") from None
    if "train" in data and "probe" not in data:
        raise BadRequest(f"suite {path.name}: this is a recipe; run 'robustlab train {suite}'")
    return Suite.from_dict(data, path.name, path.parent)
