"""A suite becomes cells: every name and parameter is bound before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robustlab.adversarial.borrowed import Borrowed, check_surrogates
from robustlab.adversarial.threats import check_target
from robustlab.backbones import Backbone, load_backbone
from robustlab.bound import Bound, beside, bind_all, borrowing, learns, pictures_of, source_of
from robustlab.data import Data, load_data
from robustlab.errors import BadRequest, RobustlabError
from robustlab.pooling import swap_pooling
from robustlab.record import Asked
from robustlab.suite import BackboneSpec, Suite
from robustlab.units import parse_budgets

__all__ = ["Cell", "Plan", "make_plan"]


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
    """All cells of a run, in the order in which pages tell them.

    Attributes:
        data: what the networks look at; a probe that crops larger pictures has these in its cells.
    """

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
    probes = bind_all(suite)
    if data is None:
        data = _load_data(suite)
    backbones = list(backbones or _load_backbones(suite, device))
    probes = [borrowing(suite, bound, device) for bound in probes]
    _refuse_twins([b.name for b in backbones])
    seen = _seen(probes, backbones, data)
    cells = []
    for backbone in backbones:
        backbone.accepts(seen)
        for bound in probes:
            own = data if _crops(bound) else seen
            _check_attack(suite, bound, backbone)
            _check_probe(suite, bound, backbone, own)
            cells += list(_shards(suite, bound, backbone, own))
    return Plan(suite, tuple(backbones), seen, tuple(cells))


def _load_data(suite: Suite) -> Data:
    try:
        return load_data(beside(suite.source, suite.folder), take=suite.take, seed=suite.seed)
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
        beside(spec.ref, folder),
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


def _crops(bound: Bound) -> bool:
    """Whether a probe takes its windows out of pictures that are larger than the network's."""
    return bound.registered.name == "shift" and bound.params["mode"] == "crop"


def _seen(probes: Sequence[Bound], backbones: Sequence[Backbone], data: Data) -> Data:
    """What all other probes look at where one crops larger pictures: the middle of each, which is
    the unshifted image of the one that crops.
    """
    sizes = {backbone.input_shape for backbone in backbones}
    if len(sizes) > 1 or not any(map(_crops, probes)):
        return data
    channels, height, width = sizes.pop()
    larger = data.shape[1] >= height and data.shape[2] >= width
    same = data.shape[1:] == (height, width)
    fits = data.shape[0] == channels and larger and not same
    return data.middle(height, width) if fits else data


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
    step = len(data) if bound.registered.scope == "set" or learns(bound) else suite.shard
    source, pictures = source_of(bound), pictures_of(bound)
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
            borrowed=(*bound.borrowed.fingerprints, *pictures),
        )
        yield Cell(asked, bound, backbone, part, start, stop)
