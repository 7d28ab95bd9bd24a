"""Twins from spec to page: train each from every seed, run the suite on each seed's, compare.

Every step lands by itself: the same call goes on where it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustlab import atomic
from robustlab.backbones import Backbone, load_backbone
from robustlab.doors import run
from robustlab.engines.inline import Tell
from robustlab.kinds import ABOUT, Kinds
from robustlab.plan import make_plan
from robustlab.reporting.twins import write_twins_page
from robustlab.suite import Suite, load_suite
from robustlab.training import Twins, load_twins, train
from robustlab.training.network import start

__all__ = ["Progress", "twins"]


@dataclass
class Progress:
    """Who is told of what: of a training that begins, of its epochs, and of each seed's comparison,
    (seed, number, of), which opens what is told of its cells: they are counted anew for each.
    """

    training: Callable[[str, int, int], None] = lambda name, number, of: None
    epoch: Callable[[Any], None] = lambda epoch: None
    say: Callable[[str], None] = lambda text: None
    comparing: Callable[[int, int, int], AbstractContextManager[Tell]] = lambda *_: nullcontext(
        lambda cell, state: None
    )


def twins(
    spec: str | Path | Twins,
    *,
    out: str | Path | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    take: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    again: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Kinds:
    """Train twins, compare them, and write the page; what is there already is kept.

    Args:
        spec: a shipped name (`robustlab list twins`), a TOML file, or a `Twins`.
        out: folder, ``trained/twins/NAME`` by default.
        seeds: trainings of each twin, instead of the spec's.
        epochs, threads, device, again: as for `robustlab.training.train`.
        take: images that the suite is run on, instead of the suite's.

    Returns:
        The comparison: ``values``, ``mean`` and ``difference`` by number of the summary.

    Raises:
        BadRequest: an invalid spec, recipe or suite, before anything is trained.
    """
    read = spec if isinstance(spec, Twins) else load_twins(spec)
    read = read if seeds is None else read.with_seeds(seeds)
    tell = progress or Progress()
    suite = load_suite(read.suite)
    folder = Path(out).expanduser() if out is not None else Path("trained", "twins", read.name)
    starts = _starts(read)
    _check(read, suite, take)
    atomic.make_folder(folder)
    about = {
        "schema": 1,
        "name": read.name,
        "title": read.title,
        "differs": read.differs,
        "twins": list(read.recipes),
        "seeds": list(read.seeds),
        "suite": suite.name,
        "starts": starts,
        "recipes": {name: recipe.as_dict() for name, recipe in read.recipes.items()},
        "epochs": epochs,
        "command": command,
    }
    atomic.write(folder / ABOUT, (json.dumps(about, indent=1) + "\n").encode())
    how: dict[str, Any] = {"epochs": epochs, "threads": threads, "device": device, "again": again}
    weights = _train(read, folder / "weights", tell, how)
    for number, seed in enumerate(read.seeds, 1):
        backbones = [
            load_backbone(f"file:{weights[name, seed]}", name=name) for name in read.recipes
        ]
        named = replace(suite, name=f"{read.name}, seed {seed}")
        with tell.comparing(seed, number, len(read.seeds)) as cell:
            run(
                named,
                backbones=backbones,
                take=take,
                out=folder / f"seed{seed}",
                device="auto" if device == "cpu" else device,
                command=command,
                tell=cell,
            )
    found = Kinds(folder)
    write_twins_page(found)
    return found


def _train(
    read: Twins, folder: Path, tell: Progress, how: dict[str, Any]
) -> dict[tuple[str, int], Path]:
    """The weights of every twin and seed; twins of one seed follow each other."""
    pairs = [(name, seed) for seed in read.seeds for name in read.recipes]
    found = {}
    for number, (name, seed) in enumerate(pairs, 1):
        recipe = read.recipe(name, seed)
        tell.training(recipe.name, number, len(pairs))
        found[name, seed] = train(recipe, folder, progress=tell.epoch, **how)
    return found


def _check(read: Twins, suite: Suite, take: int | None) -> None:
    """Bind the suite to the networks as they start: what it refuses is refused before training."""
    seed, backbones = read.seeds[0], []
    for name in read.recipes:
        built = start(read.recipe(name, seed)).built
        module = built.module.eval().requires_grad_(False)
        shape, classes = built.input_shape, built.classes
        backbones.append(Backbone(module, input_shape=shape, classes=classes, name=name))
    make_plan(replace(suite, take=take or suite.take), backbones)


def _starts(read: Twins) -> dict[str, list[int]]:
    """For each twin how many of its parameters start equal to the reference's, and of how many."""
    seed = read.seeds[0]
    first = start(read.recipe(read.reference, seed)).built.module.state_dict()
    found = {}
    for name in read.recipes:
        module = start(read.recipe(name, seed)).built.module
        equal = sum(
            one.numel()
            for key, one in module.named_parameters()
            if key in first and first[key].shape == one.shape and bool((first[key] == one).all())
        )
        found[name] = [equal, sum(one.numel() for one in module.parameters())]
    return found
