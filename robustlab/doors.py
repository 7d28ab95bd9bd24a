"""The functions people call from Python; the command line calls the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustlab import catalogue
from robustlab.errors import BadRequest
from robustlab.runs import Run, open_run
from robustlab.suite import Suite, load_suite

if TYPE_CHECKING:
    from robustlab.adversarial import Found
    from robustlab.backbones import Backbone
    from robustlab.data import Data
    from robustlab.engines.inline import Tell
    from robustlab.fooled import Fooled
    from robustlab.plan import Plan

__all__ = [
    "attack",
    "fool",
    "fool_folder",
    "list_attacks",
    "list_backbones",
    "list_probes",
    "report",
    "run",
]


def attack(
    name: str,
    backbone: Backbone | str,
    data: Data | str,
    *,
    eps: str | float | Sequence[str | float],
    norm: str | None = None,
    seed: int = 0,
    batch: int | None = None,
    fast: bool = True,
    **params: Any,
) -> Found:
    """Attack every image of ``data`` and verify what is found.

    Args:
        name: an attack of the catalogue, ``"foolbox:NAME"`` or ``"./mine.py:name"``.
        backbone, data: objects, or references as in a suite.
        eps: a budget or a list of them on the [0, 1] scale, as ``"8/255"``; in pixels, as
            ``"3px"``, where the norm is L0 or spatial.
        norm: ``"linf"`` (the usual default), ``"l2"``, ``"l1"``, ``"l0"`` or ``"spatial"``.
        seed: with each image's id it decides all randomness.
        batch: images on the device at a time.
        fast: search on the fast copy (batch norm folded, channels-last) instead of a plain one.
        params: the attack's own parameters; `robustlab show NAME` lists them.

    Returns:
        Arrays of shape [eps, n, ...] and rates; see `Found`.

    Raises:
        BadRequest: unknown attack or parameter, wrong shapes, a budget larger than the box.
    """
    from robustlab.adversarial.evaluate import BATCH
    from robustlab.backbones import load_backbone
    from robustlab.binding import bind
    from robustlab.data import load_data
    from robustlab.registry import resolve

    registered = resolve(name)
    if batch is not None and batch < 1:
        raise BadRequest(f"batch must be at least 1, not {batch}")
    if registered.kind != "attack":
        raise BadRequest(f"{name!r} is a probe, not an attack; run it with robustlab.run")
    budgets = [eps] if isinstance(eps, str) or not isinstance(eps, Iterable) else list(eps)
    asked = {"eps": [str(one) for one in budgets], **params}
    bound = bind(registered, asked if norm is None else {**asked, "norm": norm})
    found: Found = registered.obj(**bound)(
        load_backbone(backbone), load_data(data), seed=seed, batch=batch or BATCH, fast=fast
    )
    return found


def run(
    suite: str | Path | Suite,
    *,
    backbones: Sequence[Backbone | str] | None = None,
    data: Data | str | None = None,
    take: int | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    device: str = "auto",
    part: str | None = None,
    command: str = "",
    tell: Tell | None = None,
) -> Run:
    """Run a suite, resume it, or do nothing where it is finished; returns the run.

    Args:
        suite: a shipped name, a TOML file or a `Suite`.
        backbones, data, take, seed: take the place of what the suite says.
        out: run directory, ``reports/out/NAME`` by default.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``; a run that was begun goes on where it began.
        part: ``"1/3"``: land only a third of the cells; processes may share the directory.

    Raises:
        BadRequest: before anything runs. Cells that fail are kept out of every table and are named
            in ``run.groups()`` and on the page.
    """
    from robustlab.runner import default_out, execute

    plan = plan_of(suite, backbones=backbones, data=data, take=take, seed=seed, device=device)
    instead = [b.name for b in plan.backbones] if backbones else []
    instead += [plan.data.name] if data is not None else []
    folder = Path(out) if out is not None else default_out(plan.suite.name, *instead)
    done = execute(plan, folder, tell or (lambda cell, state: None), part=part, command=command)
    found = open_run(folder)
    page = folder / "report.html"
    stale = done.computed or done.changed or not page.exists()
    if stale and (found.complete or part is None):
        found.report()
    return found


def plan_of(
    suite: str | Path | Suite,
    *,
    backbones: Sequence[Backbone | str] | None = None,
    data: Data | str | None = None,
    take: int | None = None,
    seed: int | None = None,
    device: str = "auto",
) -> Plan:
    """The plan that `run` with the same arguments would carry out; nothing is computed."""
    from robustlab.backbones import load_backbone
    from robustlab.data import load_data
    from robustlab.plan import make_plan
    from robustlab.runner import choose_device

    read = load_suite(suite)
    if seed is not None:
        read = replace(read, seed=seed)
    if data is not None:
        taken = take or (read.take if isinstance(data, str) else None)
        source = data if isinstance(data, str) else data.name
        data = load_data(data, take=taken, seed=read.seed)
        read = replace(read, source=source, take=taken)
    elif take is not None:
        read = replace(read, take=take)
    chosen = choose_device(device)
    # An object stays where it lies unless a device is asked for by name.
    asked = None if device == "auto" else chosen
    loaded = None
    if backbones is not None:
        loaded = [
            load_backbone(b, device=chosen if isinstance(b, str) else asked) for b in backbones
        ]
    return make_plan(read, loaded, data, chosen)


def report(folder: str | Path, path: str | Path | None = None) -> Path:
    """Build the page of a run directory again; torch is not imported."""
    return open_run(folder).report(path)


def fool(
    picture: str | Path | None = None,
    *,
    target: str | int | None = None,
    backbone: Backbone | str = "torchvision:googlenet",
    eps: str | float = "4/255",
    attack: str = "pgd",
    out: str | Path | None = None,
    on: str = "picture",
    resize: str | int | None = None,
    seed: int = 0,
    device: str = "auto",
    others: Sequence[Backbone | str] | None = None,
    evidence: bool = True,
    command: str = "",
    tell: Callable[[str], None] | None = None,
) -> Fooled:
    """Make a network see something else in one picture, write the picture, and prove it.

    Args:
        picture: a picture file, ``noise``, ``black`` or ``white``, an image of a data set as
            ``digits:test#3``; None: a photograph that an installed package ships.
        target: the class to reach: its name, index or WordNet id, ``"least-likely"``, ``"second"``
            or ``"random"``; None: any class but the one seen now.
        eps: the budget on the [0, 1] scale, as ``"4/255"``.
        attack: a gradient attack, with parameters as ``"pgd?steps=100&norm=l2"``.
        out: folder, ``reports/out/fool-PICTURE-TARGET`` by default, numbered where that answers
            another question (eps, attack, network, pixels, ...); files of others in it stay.
        on: ``"picture"``: the whole picture is changed, through the network's resize and crop;
            ``"crop"``: what the network sees of it, saved at that size.
        resize: the shorter side before the crop, or ``"whole"``; None: as the weights say.
        seed: decides all randomness.
        others: networks that are asked whether they are fooled by the same file; None: those whose
            weights lie on this machine already, three at most.
        evidence: gather what stands beside the picture: controls, the way, one step against many,
            survival, transfer, depth trace, attribution. It takes most of the time.

    Returns:
        What was found; ``succeeded`` says whether every check of the file passed,
        ``facts["folder"]`` where it lies.

    Raises:
        BadRequest: before anything is written; also where ``out`` answers another question.
    """
    from robustlab.backbones import load_backbone
    from robustlab.fooling.request import Request, picture_named, picture_of
    from robustlab.fooling.tale import fool_one
    from robustlab.reporting.fooling.files import write_told
    from robustlab.runner import choose_device

    request = Request(target, eps, attack, on, resize, seed)
    place = choose_device(device)
    named = picture_named(picture)  # a name that is wrong is told before weights are fetched
    network = load_backbone(backbone, device=place)
    shown = named or picture_of(picture, network, request)
    fooled, folder = fool_one(
        shown,
        network,
        request,
        None if out is None else Path(out),
        others=None if others is None else [load_backbone(one, device=place) for one in others],
        evidence=evidence,
        command=command,
        tell=tell,
    )
    write_told(fooled, folder)
    return fooled


def fool_folder(
    folder: str | Path,
    *,
    backbone: Backbone | str,
    out: str | Path | None = None,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
    **asked: Any,
) -> tuple[list[Fooled], Path]:
    """`fool` for each picture of a folder, a folder each, and one line each in ``index.csv``.

    A picture that the network takes for the target already is left out, and told.

    Raises:
        BadRequest: before anything is written: no pictures, or one that cannot be read.
    """
    from robustlab import atomic
    from robustlab.backbones import load_backbone
    from robustlab.fooling.folder import folders_of, place_of, readable
    from robustlab.fooling.keeping import INDEX, mark
    from robustlab.fooling.request import Request, check_picture, question_of_folder
    from robustlab.fooling.targets import SeenAlready
    from robustlab.reporting.fooling.index import index_of
    from robustlab.runner import choose_device

    say = tell or (lambda sentence: None)
    network = load_backbone(backbone, device=choose_device(device))
    plain = {name: asked[name] for name in ("on", "resize", "seed") if name in asked}
    refuse = partial(check_picture, backbone=network, request=Request(**plain))
    pictures = readable(Path(folder), refuse)
    question = question_of_folder(pictures, network, asked)
    place = place_of(Path(folder), out, asked.get("target"), question)
    found: list[Fooled] = []
    refused: BadRequest | None = None
    for file, inside in folders_of(pictures, place):
        say(str(file))
        try:
            found.append(fool(file, backbone=network, out=inside, tell=tell, **asked))
            mark(place, question)
        except SeenAlready as error:
            refused = error
            say(f"left out: {error}")
    if refused is not None and not found:
        raise refused
    atomic.write(place / INDEX, index_of(found).encode())
    return found, place


def list_attacks() -> list[str]:
    """Names of the shipped attacks, then of those registered in this process."""
    return _listed("attack")


def list_probes() -> list[str]:
    """Names of the shipped probes that are not attacks, then of those registered here."""
    return _listed("probe")


def _listed(kind: str) -> list[str]:
    from robustlab.registry import own_names

    shipped = [e.name for e in catalogue.entries().values() if e.kind == kind]
    return [*shipped, *own_names(kind)]


def list_backbones() -> list[str]:
    """Names of the shipped networks."""
    from robustlab.backbones.cards import list_backbones as cards

    return [str(card["name"]) for card in cards()]
