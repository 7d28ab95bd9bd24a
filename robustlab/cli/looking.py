"""list, show and doctor: what there is, without importing torch."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import Any

import click

from robustlab.cli.output import json_option, print_json, table
from robustlab.errors import BadRequest, choices

__all__ = ["doctor", "list_", "show"]

_KINDS = ("attacks", "probes", "backbones", "suites", "data", "recipes")
_DATA = (
    ("digits:SPLIT", "1,797 handwritten digits on 32x32; SPLIT: train, val, test"),
    ("npz:PATH", "images and labels of a NumPy archive"),
    ("folder:PATH", "one folder of pictures a class"),
)


@click.command("list")
@click.argument("kind", metavar="|".join(_KINDS), default="")
@click.argument("file", required=False, type=click.Path())
@json_option
def list_(kind: str, file: str | None, as_json: bool) -> int:
    """List attacks, probes, backbones, suites, data or recipes; of attacks and probes those of your
    own FILE too, which is read, not run.
    """
    if kind not in _KINDS:
        what = f"cannot list {kind!r}" if kind else "list what?"
        raise BadRequest(f"{what}{choices(kind, _KINDS)}")
    if file is not None and kind not in ("attacks", "probes"):
        raise BadRequest(f"a file holds attacks and probes, not {kind}")
    head, rows = _listing(kind, file)
    if as_json:
        print_json([dict(zip(head, row, strict=True)) for row in rows])
        return 0
    table(head, rows)
    if kind == "attacks":
        click.echo("\nand any attack of foolbox by its name, as foolbox:L2CarliniWagnerAttack")
    if kind in ("attacks", "probes") and rows:
        click.echo(f"next: robustlab show {rows[0][0]}")
    return 0


def _listing(kind: str, file: str | None) -> tuple[list[str], list[list[Any]]]:
    from pathlib import Path

    from robustlab import catalogue

    entries = list(catalogue.entries().values())
    if file is not None:
        if not Path(file).is_file():
            raise BadRequest(f"there is no file {file!r}, seen from {Path.cwd()}")
        own = catalogue.read_file(Path(file))
        entries += [replace(entry, name=f"{file}:{entry.name}") for entry in own]
    if kind == "attacks":
        return ["name", "norms", "knowledge", "what it does"], [
            [e.name, " ".join(e.facts["norms"]), e.facts["knowledge"], e.summary]
            for e in entries
            if e.kind == "attack"
        ]
    if kind == "probes":
        return ["name", "what it does"], [[e.name, e.summary] for e in entries if e.kind == "probe"]
    if kind == "suites":
        return ["name", "title", "file"], _suites()
    if kind == "data":
        return ["source", "what it is"], [list(row) for row in _DATA]
    if kind == "recipes":
        from robustlab.training import list_recipes

        return ["name"], [[name] for name in list_recipes()]
    from robustlab.backbones.cards import list_backbones

    return ["name", "input", "parameters", "test accuracy", "n"], [
        [
            card["name"],
            "x".join(map(str, card["input_shape"])),
            card["parameters"],
            f"{100 * card['test']['value']:.1f} %",
            card["test"]["n"],
        ]
        for card in list_backbones()
    ]


def _suites() -> list[list[Any]]:
    from robustlab.suite import load_suite, shipped_suites

    return [[name, load_suite(name).title, path.name] for name, path in shipped_suites().items()]


@click.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> int:
    """Show an attack, a probe, a backbone or a suite: parameters, defaults, source."""
    from robustlab import catalogue
    from robustlab.backbones.cards import list_backbones
    from robustlab.suite import shipped_suites

    entries, suites = catalogue.entries(), shipped_suites()
    cards = {card["name"]: card for card in list_backbones()}
    if name in cards:
        _show_card(cards[name], as_json)
    elif name in suites:
        _show_suite(name, as_json)
    elif name in entries:
        _show_entry(entries[name], as_json)
    elif name.startswith("foolbox:") or ".py:" in name:
        _show_entry(_entry_of(name), as_json)
    else:
        raise BadRequest(f"nothing is called {name!r}{choices(name, [*entries, *cards, *suites])}")
    return 0


def _entry_of(name: str) -> Any:
    """A user's own file is read as text; a foolbox attack must be imported to be described."""
    from pathlib import Path

    from robustlab import catalogue

    if ".py:" in name:
        path, _, own = name.rpartition(":")
        if not Path(path).is_file():
            raise BadRequest(f"{path} is not a file")
        found = {entry.name: entry for entry in catalogue.read_file(Path(path))}
        if own not in found:
            raise BadRequest(f"{path} registers no probe {own!r}{choices(own, found)}")
        return found[own]
    from robustlab.binding import described

    return described(name)


def _show_entry(entry: Any, as_json: bool) -> None:
    rows = [
        [p.name, p.type, "required" if p.required else repr(p.default), p.doc]
        for p in entry.parameters
    ]
    if as_json:
        print_json(
            {
                "name": entry.name,
                "kind": entry.kind,
                "doc": entry.doc,
                "facts": entry.facts,
                "parameters": [
                    {"name": p.name, "type": p.type, "default": p.default, "required": p.required}
                    | {"doc": p.doc}
                    for p in entry.parameters
                ],
            }
        )
        return
    click.echo(f"{entry.name}: {entry.kind}\n")
    click.echo(textwrap.indent(entry.doc.strip(), "  ") + "\n")
    for key, value in entry.facts.items():
        if value:
            click.echo(f"{key}: {' '.join(value) if isinstance(value, tuple) else value}")
    click.echo("")
    table(["parameter", "type", "default", "what it is"], rows)


def _show_card(card: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(card)
        return
    import tomli_w

    click.echo(f"{card['name']}: backbone, {card['parameters']:,} parameters\n")
    for split in ("validation", "test"):
        rate = card[split]
        interval = f"[{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"
        click.echo(f"{split}: {100 * rate['value']:.1f} % {interval} of {rate['n']}")
    click.echo(f"fingerprint: {card['fingerprint']}\n\nrecipe:\n")
    click.echo(textwrap.indent(tomli_w.dumps(card["recipe"]), "  "))
    click.echo(f"next: robustlab run quick -b {card['name']}")


def _show_suite(name: str, as_json: bool) -> None:
    from robustlab.suite import load_suite, shipped_suites

    if as_json:
        print_json(load_suite(name).to_dict())
        return
    click.echo(shipped_suites()[name].read_text(encoding="utf-8"))
    click.echo(f"next: robustlab check {name}, then robustlab run {name}")


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Versions, device and threads of this installation."""
    import torch

    from robustlab.environment import environment

    facts = environment()
    cuda = torch.cuda.is_available()
    facts["device"] = torch.cuda.get_device_name() if cuda else "cpu"
    facts["threads"] = torch.get_num_threads()
    facts["cpu capability"] = torch.backends.cpu.get_cpu_capability()
    missing = [k for k, v in facts.items() if v == "missing"]
    if as_json:
        print_json(facts)
    else:
        table(["what", "value"], [[k, v] for k, v in facts.items()])
        if missing:
            click.echo(f"\nmissing: {', '.join(missing)}; run pip install {' '.join(missing)}")
        else:
            click.echo("\nready; next: robustlab run quick")
    return 2 if missing else 0
