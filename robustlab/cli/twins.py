"""twins: train networks that differ in one thing, compare them, tell it in one page."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import click

from robustlab.cli.output import json_option, print_json, progress, table

__all__ = ["twins"]


@click.command()
@click.argument("spec")
@click.option("-o", "--out", type=click.Path(), help="Folder; trained/twins/NAME by default.")
@click.option("--seeds", type=click.IntRange(1), help="Trainings of each twin; 5 make a claim.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs instead of the recipe's.")
@click.option("--take", type=click.IntRange(1), help="Images that they are compared on.")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the CPU."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--again", is_flag=True, help="Train even if it has been done.")
@json_option
def twins(
    spec: str,
    out: str | None,
    seeds: int | None,
    epochs: int | None,
    take: int | None,
    threads: int,
    device: str,
    again: bool,
    as_json: bool,
) -> int:
    """Train the twins of SPEC (a shipped name or a TOML file) from several seeds, and compare them;
    the same command goes on where it was interrupted."""
    from robustlab.twinning import Progress
    from robustlab.twinning import twins as train_and_compare

    def begun(name: str, number: int, of: int) -> None:
        click.echo(f"training {number}/{of}: {name}", err=True)

    @contextlib.contextmanager
    def comparing(seed: int, number: int, of: int) -> Iterator[Any]:
        click.echo(f"comparing {number}/{of}: the twins of seed {seed}", err=True)
        with progress() as cell:
            yield cell

    found = train_and_compare(
        spec,
        out=out,
        seeds=seeds,
        epochs=epochs,
        take=take,
        threads=threads,
        device=device,
        again=again,
        command=shlex.join(["robustlab", *sys.argv[1:]]),
        progress=Progress(training=begun, comparing=comparing),
    )
    _print(found, as_json)
    return 3 if found.missing else 0


def _print(found: Any, as_json: bool) -> None:
    from robustlab.reporting.twins.words import command, headlines, is_rate, mean_text, points
    from robustlab.verdict import plural

    keys = headlines(found)
    rows = [
        [
            str(key),
            twin,
            mean_text(found.mean(key, twin), is_rate(found, key)),
            ""
            if twin == found.reference
            else points(found.difference(key, twin), is_rate(found, key)),
        ]
        for key in keys
        for twin in found.twins
    ]
    page = found.folder / "twins.html"
    head = ["number", "twin", "mean over seeds", f"minus {found.reference}"]
    if as_json:
        numbers = [dict(zip(head, row, strict=True)) for row in rows]
        seeds = {"seeds": list(found.runs), "missing": found.missing}
        print_json({"folder": str(found.folder), "page": str(page), **seeds, "numbers": numbers})
        return
    table(head, rows)
    if not found.enough:
        few = plural(len(found.runs), "seeds")
        click.echo(f"{few}: too few for a claim about the kind; go on: {command(found.about)}")
    click.echo(f"page: {page}")
    first = found.folder / f"seed{next(iter(found.runs), 0)}"
    click.echo(f"twins: {found.folder}   next: robustlab report {shlex.quote(str(first))}")
