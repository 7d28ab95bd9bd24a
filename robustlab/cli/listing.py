"""list: what there is, without importing torch."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import click

from robustlab.catalogue import Entry
from robustlab.cli.output import json_option, percent, print_json, robust_figure, table
from robustlab.errors import BadRequest, choices

__all__ = ["list_"]

_COLUMNS = ("name", "norms", "knowledge", "passes")
_KINDS = ("attacks", "probes", "views", "backbones", "suites", "data", "recipes", "twins")

_VIEWED = ("arithmetic", "filters")  # rooms whose probes draw one network; `view` takes any probe


@click.command("list")
@click.argument("kind", metavar="|".join(_KINDS), default="")
@click.argument("file", required=False, type=click.Path())
@json_option
def list_(kind: str, file: str | None, as_json: bool) -> int:
    """List attacks, probes, views, backbones, suites, data, recipes or twins; of attacks and probes
    those of your own FILE too, which is read, not run. `list attacks foolbox` lists foolbox's.
    """
    if kind not in _KINDS:
        what = f"cannot list {kind!r}" if kind else "list what?"
        raise BadRequest(f"{what}{choices(kind, _KINDS)}")
    if file is not None and kind not in ("attacks", "probes"):
        raise BadRequest(f"a file holds attacks and probes, not {kind}")
    head, rows, below = _attacks(file) if kind == "attacks" else (*_listing(kind, file), [])
    if as_json:
        print_json([dict(zip(head, row, strict=True)) for row in rows])
        return 0
    if kind == "attacks":
        head, rows = head[: len(_COLUMNS)], [row[: len(_COLUMNS)] for row in rows]
    table(head, rows, below)
    if kind == "attacks" and file != "foolbox":
        click.echo(
            "\npasses: forward and backward, an image, at most, for one eps, with the defaults"
            "\nand any attack of foolbox by its name, as foolbox:L2CarliniWagnerAttack"
            "\n(robustlab list attacks foolbox)"
        )
    if kind == "backbones":
        click.echo(
            "\nand any classifier of torchvision or timm by its name, as torchvision:resnet50; "
            "weights from a file: file:PATH#NAME\noptions follow a question mark, as "
            f"'resnet20?width=8&norm=off'\nnext: robustlab show {rows[0][0]}"
        )
    if kind == "views":
        click.echo("\nnext: robustlab view first_layer lenet5-max@digits")
    if kind in ("attacks", "probes") and rows:
        click.echo(f"next: robustlab show {rows[0][0]}")
    return 0


def _attacks(file: str | None) -> tuple[list[str], list[list[Any]], list[str]]:
    """Columns and rows, the first columns for people and all for programs; a text under each row.

    Foolbox has to be imported to be listed, the lab's own attacks and files are read.
    """
    from robustlab.registry import bridged

    names = bridged(file) if file == "foolbox" else None
    if names is None:
        entries = [e for e in _entries(file) if e.kind == "attack"]
    else:
        from robustlab.binding import described

        entries = [described(name) for name in names]
    rows = [
        [
            e.name,
            " ".join(e.facts["norms"]),
            e.facts["knowledge"],
            (e.cost or "?") if e.passes is None else f"{e.passes:,}",
            e.cost,
            e.facts["paper"],
            e.summary,
        ]
        for e in entries
    ]
    papers = [_short(e.facts["paper"]) for e in entries]
    told = [p if names else f"{e.summary} {p}" for p, e in zip(papers, entries, strict=True)]
    return [*_COLUMNS, "cost", "paper", "what it does"], rows, told


def _short(paper: str) -> str:
    """``Madry et al. 2018, arXiv:1706.06083``: the first author of more than two, one paper."""
    found = re.match(r"(?P<who>.+?) (?P<year>\d{4}), (?P<where>[^,;]+)", paper)
    if found is None:
        return paper
    who = found["who"].split(", ")
    first = f"{who[0]} et al." if len(who) > 2 else " and ".join(who)
    return f"{first} {found['year']}, {found['where']}"


def _entries(file: str | None) -> list[Entry]:
    """What is shipped, and what a file holds."""
    from pathlib import Path

    from robustlab import catalogue

    entries = list(catalogue.entries().values())
    if file is not None:
        if not Path(file).is_file():
            raise BadRequest(f"there is no file {file!r}, seen from {Path.cwd()}")
        own = catalogue.read_file(Path(file))
        entries += [replace(entry, name=f"{file}:{entry.name}") for entry in own]
    return entries


def _listing(kind: str, file: str | None) -> tuple[list[str], list[list[Any]]]:
    entries = _entries(file)
    if kind == "probes":
        return ["name", "what it does"], [[e.name, e.summary] for e in entries if e.kind == "probe"]
    if kind == "views":
        shown = [e for e in entries if e.kind == "probe" and e.module.split(".")[1] in _VIEWED]
        return ["name", "what it shows"], [[e.name, e.summary] for e in shown]
    if kind == "suites":
        return ["name", "title", "file"], _suites()
    if kind == "data":
        from robustlab.data.sources import SOURCES

        return ["source", "what it is"], [list(row) for row in SOURCES]
    if kind == "recipes":
        return ["name", "network", "data", "training", "weights"], _recipes()
    if kind == "twins":
        return ["name", "question", "differ in", "twins"], _twins()
    return ["name", "parameters", "input", "source", "test accuracy"], _backbones()


def _backbones() -> list[list[Any]]:
    """The shipped networks with what they reach, then the lectures' networks, untrained."""
    from robustlab.backbones.cards import list_backbones
    from robustlab.backbones.published import PUBLISHED

    trained = [
        [
            card["name"],
            f"{card['parameters']:,}",
            _shape(card["input_shape"]),
            PUBLISHED[card["builder"]].source,
            percent(card["test"])
            + (f"; robust {robust_figure(card)}" if card.get("adversarial") else ""),
        ]
        for card in list_backbones()
    ]
    untrained = [
        [row.name, f"{row.parameters:,}", _shape(row.input_shape), row.source, "untrained"]
        for row in PUBLISHED.values()
    ]
    return trained + untrained


def _recipes() -> list[list[Any]]:
    from robustlab.backbones.cards import read_card, shipped, tried
    from robustlab.training import list_recipes, load_recipe

    rows = []
    for name in list_recipes():
        recipe = load_recipe(name)
        options = "&".join(f"{key}={value}" for key, value in recipe.options.items())
        hardened = recipe.adversarial
        weights = "shipped" if name in shipped() else "train it"
        if name in tried():
            weights += f"; a trial reached {percent(read_card(name)['test'])}"
        rows.append(
            [
                name,
                recipe.builder + (f"?{options}" if options else ""),
                recipe.data.source or recipe.data.train,
                f"{hardened.method}, {hardened.norm} {hardened.eps}" if hardened else "plain",
                weights,
            ]
        )
    return rows


def _twins() -> list[list[Any]]:
    from robustlab.training import list_twins, load_twins

    read = [load_twins(name) for name in list_twins()]
    return [[one.name, one.title, one.differs, ", ".join(one.recipes)] for one in read]


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape))


def _suites() -> list[list[Any]]:
    from robustlab.suite import load_suite, shipped_suites

    return [[name, load_suite(name).title, path.name] for name, path in shipped_suites().items()]
