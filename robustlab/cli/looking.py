"""show and doctor: one thing in full, without importing torch where its file tells all."""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path
from typing import Any

import click

from robustlab.cli.output import json_option, passes_text, percent, print_json, robust_figure, table
from robustlab.errors import BadRequest, choices

__all__ = ["doctor", "show"]

# What `doctor` measures with: small, and convolutions all the way.
_TRIED = "resnet20-narrow@digits"


@click.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> int:
    """Show an attack, a probe, a backbone or a suite: parameters, defaults, source."""
    from robustlab import catalogue
    from robustlab.backbones.cards import read_card, shipped, tried
    from robustlab.backbones.options import described
    from robustlab.backbones.published import PUBLISHED
    from robustlab.suite import shipped_suites

    entries, suites = catalogue.entries(), shipped_suites()
    cards = shipped() | tried()
    if name in cards:
        _show_card(read_card(name), as_json)
    elif name in entries:
        _show_entry(entries[name], as_json)
        if name in suites and not as_json:
            click.echo(f"there is a suite of this name too: robustlab show {name}.toml")
    elif name.removesuffix(".toml") in suites:
        _show_suite(name.removesuffix(".toml"), as_json)
    elif name in PUBLISHED:
        _show_entry(described(name), as_json)
    elif name.startswith("torchvision:"):
        from robustlab.backbones import torchvision_source

        _show_entry(torchvision_source.described(name.partition(":")[2]), as_json)
    elif name.startswith("timm:"):
        from robustlab.backbones import timm_source

        _show_entry(timm_source.described(name.partition(":")[2]), as_json)
    elif name.startswith(("file:", "python:")):
        raise BadRequest(
            f"{name!r} is loaded, not looked up, and what it is shows in a run: "
            f"robustlab run quick -b {shlex.quote(name)}"
        )
    elif name.startswith("foolbox:") or ".py:" in name:
        _show_entry(_entry_of(name), as_json)
    else:
        known = [*entries, *cards, *suites, *PUBLISHED]
        raise BadRequest(f"nothing is called {name!r}{choices(name, known)}")
    return 0


def _entry_of(name: str) -> Any:
    """A user's own file is read as text; a foolbox attack must be imported to be described."""
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
                "passes": entry.passes,
                "cost": entry.cost,
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
        if value and key != "cost":
            click.echo(f"{key}: {', '.join(value) if isinstance(value, tuple) else value}")
    if entry.cost:
        click.echo(f"passes an image at most: {passes_text(entry)}")
    click.echo("")
    table(["parameter", "type", "default", "what it is"], rows)
    if entry.kind == "backbone":
        first = entry.parameters[0]
        example = shlex.quote(f"{entry.name}?{first.name}={first.default}")
        click.echo(f"\noptions follow a question mark: {example}")
        if entry.name.startswith(("timm:", "torchvision:")):
            click.echo(f"next: robustlab run quick -b {entry.name} --data imagenet:PATH")


def _show_card(card: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(card)
        return
    import tomli_w

    click.echo(f"{card['name']}: backbone, {card['parameters']:,} parameters\n")
    for split in ("validation", "test"):
        click.echo(f"{split}: {percent(card[split])}")
    if card.get("adversarial"):
        click.echo(f"test, robust: {robust_figure(card)}; a stronger attack may leave less")
    click.echo(f"fingerprint: {card['fingerprint']}\n\nrecipe:\n")
    click.echo(textwrap.indent(tomli_w.dumps(card["recipe"]), "  "))
    if card.get("trial"):
        click.echo(f"comes without weights; the figures are of a trial: {card['trial']}")
        click.echo(f"next: robustlab train {card['name']}")
    else:
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
    """Versions, device, and how searches run here: measured on a shipped network."""
    import torch

    from robustlab.backbones import load_backbone
    from robustlab.environment import environment
    from robustlab.machine import choose

    facts = environment()
    cuda = torch.cuda.is_available()
    facts["device"] = torch.cuda.get_device_name() if cuda else "cpu"
    facts["threads"] = torch.get_num_threads()
    facts["cpu capability"] = torch.backends.cpu.get_cpu_capability()
    chosen = choose([load_backbone(_TRIED, device="cuda" if cuda else "cpu")])
    facts["search"] = f"{chosen.why}; verification in float32"
    facts["search batch, threads"] = f"{chosen.batch}, {chosen.threads} (measured on {_TRIED})"
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
