"""A suite becomes cells: every name and parameter is bound before anything is computed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from robustlab.adversarial.borrowed import Borrowed, borrow, check_surrogates
from robustlab.adversarial.threats import check_target
from robustlab.backbones import Backbone, load_backbone
from robustlab.binding import bind
from robustlab.data import Data, load_data
from robustlab.errors import BadRequest, RobustlabError
from robustlab.identity import identity
from robustlab.pooling import swap_pooling
from robustlab.record import Asked
from robustlab.registry import Registered, resolve
from robustlab.suite import BackboneSpec, ProbeSpec, Suite
from robustlab.units import parse_budgets

__all__ = ["Cell", "Plan", "make_plan"]

# What names a file: by its prefix, or a probe as ./mine.py:name.
# Told last, where nothing else tells probes apart.
_LAST = ("restarts", "early_exit", "eps")
_PATH = re.compile(
    r"^(?:(?P<prefix>file:|python:|npz:|folder:|imagenet:|csv:)(?P<path>[^:#?]+)|(?P<own>[^:#?]+\.py)(?=:))"
    r"(?P<rest>(?:[:#?].*)?)$",
    re.DOTALL,
)


@dataclass(frozen=True)
class Bound:
    """A probe with all its parameters, and the name that tells it apart in tables."""

    registered: Registered
    params: dict[str, Any]
    label_params: str
    borrowed: Borrowed = field(default_factory=Borrowed)

    @property
    def label(self) -> str:
        name = self.registered.name
        return f"{name} ({self.label_params})" if self.label_params else name


@dataclass(frozen=True)
class Cell:
    """Probe x backbone x images ``start`` to ``stop``."""

    asked: Asked
    bound: Bound
    backbone: Backbone
    data: Data
    start: int
    stop: int

    @property
    def id(self) -> str:
        return self.asked.id

    @property
    def borrowed(self) -> Borrowed:
        """The other networks and images that the probe uses."""
        return self.bound.borrowed

    def entry(self) -> dict[str, Any]:
        """What `run.json` says of the cell: all that a page needs without importing torch."""
        obj, params = self.bound.registered.obj, self.bound.params
        norm = params.get("norm") if self.bound.registered.kind == "attack" else None
        attack = obj(**params) if norm else None
        eps = params["eps"] if norm else []
        return {
            "cell": self.id,
            "probe": self.bound.registered.name,
            "label": self.bound.label,
            "label_params": self.bound.label_params,
            "kind": self.bound.registered.kind,
            "knowledge": getattr(obj, "knowledge", ""),
            "learns": attack is not None and attack.learns,
            "apart": attack is not None and attack.apart,
            "norm": attack and attack.threat(0.0).name,
            "eps": list(eps),
            "eps_values": [b.value for b in parse_budgets(eps, norm)] if norm else [],
            "targeted": params.get("target") is not None and norm is not None,
            "params": params,
            "backbone": self.backbone.name,
            "start": self.start,
            "stop": self.stop,
        }


@dataclass(frozen=True)
class Plan:
    """All cells of a run, in the order in which pages tell them."""

    suite: Suite
    backbones: tuple[Backbone, ...]
    data: Data
    cells: tuple[Cell, ...]

    def on(self, device: str) -> Plan:
        """The same plan with all its networks on ``device``."""
        moved = [backbone.to(device) for backbone in self.backbones]
        by_name = {backbone.name: backbone for backbone in moved}
        cells = tuple(replace(c, backbone=by_name[c.backbone.name]) for c in self.cells)
        return replace(self, backbones=tuple(moved), cells=cells)


def make_plan(
    suite: Suite,
    backbones: Sequence[Backbone] | None = None,
    data: Data | None = None,
    device: str = "cpu",
) -> Plan:
    """Bind every name and parameter of a suite; nothing is computed.

    Args:
        backbones, data: objects that take the place of what the suite names.

    Raises:
        BadRequest: an unknown name or parameter, with the entry's number and the nearest name.
    """
    probes = _bind_all(suite)
    if data is None:
        data = _load_data(suite)
    backbones = list(backbones or _load_backbones(suite, device))
    probes = [_borrowing(suite, bound, device) for bound in probes]
    _refuse_twins([b.name for b in backbones])
    cells = []
    for backbone in backbones:
        _check_data(probes, backbone, data)
        for bound in probes:
            _check_attack(suite, bound, backbone)
            _check_probe(suite, bound, backbone, data)
            cells += list(_shards(suite, bound, backbone, data))
    return Plan(suite, tuple(backbones), data, tuple(cells))


def _bind_all(suite: Suite) -> list[Bound]:
    found: list[tuple[Registered, dict[str, Any]]] = []
    specs = list(enumerate(suite.probes, 1))
    if not any(spec.use == "clean" for _, spec in specs):
        specs.insert(0, (0, ProbeSpec("clean")))
    for number, spec in specs:
        try:
            _check_writable(spec)
            registered = resolve(_beside(spec.use, suite.folder))
            found += [
                (registered, _placed(registered, bind(registered, params), suite.folder))
                for params in (_sown(registered, given, suite.seed) for given in spec.bindings())
            ]
        except RobustlabError as error:
            raise error.inside(f"suite {suite.name}.toml, probe {number}") from None
    bounds = [
        Bound(r, params, text) for (r, params), text in zip(found, _labels(found), strict=True)
    ]
    labels = [bound.label for bound in bounds]
    for label in labels:
        if labels.count(label) > 1:
            raise BadRequest(
                f"suite {suite.name}.toml: {label!r} stands twice with equal values; take one out"
            )
    return bounds


def _sown(registered: Registered, params: dict[str, Any], seed: int) -> dict[str, Any]:
    """A probe that draws takes the suite's seed, unless it is given one of its own."""
    if registered.kind == "attack":
        return params
    parameters = inspect.signature(registered.obj).parameters
    return {"seed": seed, **params} if "seed" in parameters else params


def _placed(registered: Registered, params: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same parameters; networks and data among them are looked for beside the suite first."""
    if registered.kind != "attack":
        return params
    stages = [stage for _, stage in registered.obj(**params).stages()]
    learned = [stage.learns_from()[0] for stage in stages if stage.learns_from()]
    named = {*learned, *(one for stage in stages for one in stage.searches_on())}

    def place(value: Any) -> Any:
        if isinstance(value, list):
            return [place(one) for one in value]
        if isinstance(value, dict):
            return {name: place(one) for name, one in value.items()}
        known = isinstance(value, str) and value in named
        return _beside(value, folder) if known else value

    return {name: place(value) for name, value in params.items()} if named else params


def _borrowing(suite: Suite, bound: Bound, device: str) -> Bound:
    """The probe with the other networks and images that it uses, loaded."""
    if bound.registered.kind != "attack":
        return bound
    try:
        attack = bound.registered.obj(**bound.params)
        return replace(bound, borrowed=borrow(attack, suite.seed, device))
    except RobustlabError as error:
        raise error.inside(f"suite {suite.name}.toml, {bound.label}") from None


def _check_writable(spec: ProbeSpec) -> None:
    """A suite made in Python must be one that its TOML reads back to."""
    for name, value in {**spec.params, **spec.sweep}.items():
        try:
            tomli_w.dumps({name: value})
        except TypeError:
            raise BadRequest(
                f"parameter {name!r} is {value!r}, which TOML cannot write; "
                "leave out what is None, give lists for arrays"
            ) from None


def _beside(reference: str, folder: Path) -> str:
    """A path in a suite is looked for beside the suite first, then from where the user stands."""
    found = _PATH.match(reference)
    if found is None:
        return reference
    beside = folder / (found["path"] or found["own"])
    return f"{found['prefix'] or ''}{beside}{found['rest']}" if beside.exists() else reference


def _labels(found: Sequence[tuple[Registered, dict[str, Any]]]) -> list[str]:
    """What tells probes of one name apart, in as few parameters as do: ``norm=l2, loss=margin``."""
    labels = []
    for registered, params in found:
        same = [other for r, other in found if r.name == registered.name]
        keys = [k for k in params if any(other[k] != params[k] for other in same)]
        keys.sort(key=lambda k: _LAST.index(k) if k in _LAST else -1)
        kept: list[str] = []
        for key in keys:
            if len({_values(other, [*kept, key]) for other in same}) > len(
                {_values(other, kept) for other in same}
            ):
                kept.append(key)
        labels.append(", ".join(f"{k}={_text(params[k])}" for k in kept if params[k] is not None))
    return labels


def _values(params: dict[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(params[key]) for key in keys)


def _text(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def _load_data(suite: Suite) -> Data:
    try:
        return load_data(_beside(suite.source, suite.folder), take=suite.take, seed=suite.seed)
    except RobustlabError as error:
        raise error.inside(f"suite {suite.name}.toml, data") from None


def _load_backbones(suite: Suite, device: str) -> list[Backbone]:
    if not suite.backbones:
        raise BadRequest(
            f"suite {suite.name}.toml names no [[backbone]]; add one or pass -b lenet5-max@digits"
        )
    loaded = []
    for number, spec in enumerate(suite.backbones, 1):
        try:
            loaded.append(_loaded(spec, suite.folder, device))
        except RobustlabError as error:
            raise error.inside(f"suite {suite.name}.toml, backbone {number}") from None
    return loaded


def _loaded(spec: BackboneSpec, folder: Path, device: str) -> Backbone:
    backbone = load_backbone(
        _beside(spec.ref, folder),
        device=device,
        name=spec.name or spec.ref,
        mean=spec.mean,
        std=spec.std,
    )
    if (spec.pool, spec.padding, spec.head) == (None, None, None):
        return backbone
    swapped = swap_pooling(backbone, spec.pool or "own", spec.padding, spec.head)
    return swapped.renamed(spec.name or swapped.name)


def _refuse_twins(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadRequest(f"two backbones are called {name!r}; give one of them another name")


def _check_data(probes: Sequence[Bound], backbone: Backbone, data: Data) -> None:
    """All probes of a run look at the same images, the clean ones among them; of larger pictures
    only a call of its own can take windows.
    """
    try:
        backbone.accepts(data)
    except BadRequest as error:
        size, given = backbone.input_shape, data.shape
        larger = size[0] == given[0] and size[1] <= given[1] and size[2] <= given[2]
        if size == given or not larger or not any(b.params.get("mode") == "crop" for b in probes):
            raise
        raise BadRequest(
            f"{error}. Mode 'crop' takes windows of larger pictures, which a run cannot give it, "
            "for its other probes see the same images; call it directly: "
            "robustlab.invariance.shift.shift(backbone, data, mode='crop')"
        ) from None


def _check_attack(suite: Suite, bound: Bound, backbone: Backbone) -> None:
    """Budgets need the images' size, targets the classes: both are known only with a backbone."""
    if bound.registered.kind != "attack":
        return
    attack = bound.registered.obj(**bound.params)
    try:
        attack.budgets(backbone.input_shape)
        check_target(attack.target, backbone.classes)
        check_surrogates(attack, backbone, bound.borrowed)
    except BadRequest as error:
        raise error.inside(f"suite {suite.name}.toml, {bound.label}") from None


def _check_probe(suite: Suite, bound: Bound, backbone: Backbone, data: Data) -> None:
    """What a probe knows beforehand that it cannot do."""
    check = bound.registered.check
    if check is None:
        return
    try:
        check(backbone, data, **bound.params)
    except BadRequest as error:
        raise error.inside(f"suite {suite.name}.toml, {bound.label}") from None


def _shards(suite: Suite, bound: Bound, backbone: Backbone, data: Data) -> Iterable[Cell]:
    step = len(data) if bound.registered.scope == "set" or _learns(bound) else suite.shard
    source = _source(bound)
    for start in range(0, len(data), step):
        stop = min(start + step, len(data))
        part = data if (start, stop) == (0, len(data)) else data.subset(np.arange(start, stop))
        asked = Asked(
            backbone=backbone.fingerprint,
            data=part.fingerprint,
            probe=bound.registered.name,
            version=bound.registered.version,
            source=source,
            params=bound.params,
            seed=suite.seed,
            classes=backbone.classes if bound.params.get("target") in backbone.classes else (),
            borrowed=bound.borrowed.fingerprints,
        )
        yield Cell(asked, bound, backbone, part, start, stop)


def _learns(bound: Bound) -> bool:
    """An attack that learns from a set is never split, whatever its author said."""
    attack = bound.registered.kind == "attack"
    return attack and bool(bound.registered.obj(**bound.params).learns)


def _source(bound: Bound) -> str:
    """Fingerprint of the probe's code; that of an attack made of others also of theirs."""
    if bound.registered.kind != "attack":
        return bound.registered.source
    members = list(_used(bound.registered.obj(**bound.params)))
    return identity([bound.registered.source, *members]) if members else bound.registered.source


def _used(attack: Any) -> Iterator[str]:
    """Sources of all attacks that an attack uses, and of those that these use."""
    for name in attack.uses():
        yield resolve(name).source
    for _, stage in attack.stages():
        if stage is not attack:
            yield from _used(stage)
