"""The probes of a suite, each bound to all its parameters and told apart from its like."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w

from robustlab.adversarial.borrowed import Borrowed, borrow
from robustlab.binding import bind
from robustlab.data.pictures import images_in
from robustlab.errors import BadRequest, RobustlabError
from robustlab.identity import identity, source_fingerprint
from robustlab.registry import Registered, resolve
from robustlab.suite import ProbeSpec, Suite

__all__ = ["Bound", "beside", "bind_all", "borrowing", "learns", "pictures_of", "source_of"]

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


def bind_all(suite: Suite) -> list[Bound]:
    found: list[tuple[Registered, dict[str, Any]]] = []
    specs = list(enumerate(suite.probes, 1))
    if not any(spec.use == "clean" for _, spec in specs):
        specs.insert(0, (0, ProbeSpec("clean")))
    for number, spec in specs:
        try:
            _check_writable(spec)
            registered = resolve(beside(spec.use, suite.folder))
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
    """The same parameters; networks, data and folders among them are looked for beside the suite
    first.
    """
    if registered.kind != "attack":
        given = {name: params[name] for name in registered.folders if params.get(name)}
        there = {name: folder / value for name, value in given.items()}
        return params | {name: str(path) for name, path in there.items() if path.is_dir()}
    stages = [stage for _, stage in registered.obj(**params).stages()]
    learned = [stage.learns_from()[0] for stage in stages if stage.learns_from()]
    named = {*learned, *(one for stage in stages for one in stage.searches_on())}

    def place(value: Any) -> Any:
        if isinstance(value, list):
            return [place(one) for one in value]
        if isinstance(value, dict):
            return {name: place(one) for name, one in value.items()}
        known = isinstance(value, str) and value in named
        return beside(value, folder) if known else value

    return {name: place(value) for name, value in params.items()} if named else params


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


def beside(reference: str, folder: Path) -> str:
    """A path in a suite is looked for beside the suite first, then from where the user stands."""
    found = _PATH.match(reference)
    if found is None:
        return reference
    there = folder / (found["path"] or found["own"])
    return f"{found['prefix'] or ''}{there}{found['rest']}" if there.exists() else reference


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


def borrowing(suite: Suite, bound: Bound, device: str) -> Bound:
    """The probe with the other networks and images that it uses, loaded."""
    if bound.registered.kind != "attack":
        return bound
    try:
        attack = bound.registered.obj(**bound.params)
        return replace(bound, borrowed=borrow(attack, suite.seed, device))
    except RobustlabError as error:
        raise error.inside(f"suite {suite.name}.toml, {bound.label}") from None


def pictures_of(bound: Bound) -> tuple[str, ...]:
    """Fingerprints of the pictures in the folders that a probe is given."""
    given = [bound.params.get(name) for name in bound.registered.folders]
    folders = [Path(one).expanduser() for one in given if one]
    return tuple(source_fingerprint(images_in(one)) for one in folders if one.is_dir())


def learns(bound: Bound) -> bool:
    """An attack that learns from a set is never split, whatever its author said."""
    attack = bound.registered.kind == "attack"
    return attack and bool(bound.registered.obj(**bound.params).learns)


def source_of(bound: Bound) -> str:
    """Fingerprint of the probe's code, and of that of the attacks it is made of or runs."""
    own = bound.registered.source
    if bound.registered.kind == "attack":
        used = list(_used(bound.registered.obj(**bound.params)))
    else:
        used = [source for name in _named(bound) for source in _sources(name, bound.params)]
    return identity([own, *used]) if used else own


def _named(bound: Bound) -> Iterator[str]:
    """Attacks that a probe says it runs; parameters that name one are filled in."""
    for one in bound.registered.uses:
        yield one.format(**bound.params)


def _sources(name: str, params: dict[str, Any]) -> Iterator[str]:
    """Of an attack, and of all that it uses at the probe's budget and norm; nothing where the word
    names no attack, as "none" does.
    """
    try:
        registered = resolve(name)
    except BadRequest:
        return
    yield registered.source
    asked = {key: params[key] for key in ("eps", "norm") if params.get(key)}
    try:
        attack = registered.obj(**bind(registered, asked))
    except BadRequest:  # the probe itself will say what is wrong with it
        return
    yield from _used(attack)


def _used(attack: Any) -> Iterator[str]:
    """Sources of all attacks that an attack uses, and of those that these use."""
    for name in attack.uses():
        yield resolve(name).source
    for _, stage in attack.stages():
        if stage is not attack:
            yield from _used(stage)
