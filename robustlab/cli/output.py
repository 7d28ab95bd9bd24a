"""What goes to the terminal: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from robustlab.catalogue import Entry

__all__ = [
    "json_option",
    "passes_text",
    "percent",
    "print_json",
    "progress",
    "robust_figure",
    "table",
]

Tell = Callable[[Any, str], None]

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON."
)


def print_json(value: Any) -> None:
    """One JSON document on stdout; what is not a finite number is null."""
    click.echo(json.dumps(_finite(value), indent=1, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def percent(rate: Mapping[str, Any]) -> str:
    """A rate of a card with its interval and n: ``98.3 % [96.4, 99.2] of 360``."""
    value, low, high = (f"{100 * rate[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value} % [{low}, {high}] of {rate['n']}"


def passes_text(entry: Entry) -> str:
    """What an attack costs, and what that is with its defaults: ``2 * steps + 1 = 81``."""
    text, _, words = entry.cost.partition("; ")
    if entry.passes is not None and text != str(entry.passes):
        text = f"{text} = {entry.passes:,}"
    return f"{text} ({words})" if words else text


def robust_figure(card: Mapping[str, Any]) -> str:
    """What an adversarially trained network keeps, and under what: rate, norm, eps, search."""
    found = card["adversarial"]
    return f"{percent(found['test'])} at {found['norm']} {found['eps']}, PGD-{found['steps']}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], below: Sequence[str] = ()) -> None:
    """A plain aligned table: it pastes into a mail and greps.

    ``below`` gives a text for each row, indented under it and wrapped at 80 columns.
    """
    lines = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *lines]) for i in range(len(head))]
    for number, line in enumerate([list(head), ["-" * w for w in widths], *lines]):
        click.echo("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
        if below and number > 1:
            text = textwrap.wrap(below[number - 2], 76, break_on_hyphens=False)
            click.echo("\n".join(f"    {part}" for part in text))


@contextlib.contextmanager
def progress() -> Iterator[Tell]:
    """Tell of cells as they are computed: a status line on a terminal, plain lines otherwise."""
    if sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield _lines()


def _lines() -> Tell:
    done = total = 0

    def tell(cell: Any, state: str) -> None:
        nonlocal done, total
        total += state == "waiting"
        if state in ("landed", "failed"):
            done += 1
            click.echo(
                f"[{done}/{total}] {cell.backbone.name}  {cell.bound.label}  {state}", err=True
            )

    return tell


@contextlib.contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # what goes to stdout stays there, where a script reads it
    )
    task = bar.add_task("starting", total=0)
    total = 0

    def tell(cell: Any, state: str) -> None:
        nonlocal total
        if state == "waiting":
            total += 1
            bar.update(task, total=total)
            return
        bar.update(task, description=f"{cell.backbone.name}  {cell.bound.label}")
        if state in ("landed", "failed"):
            bar.advance(task)

    with bar:
        yield tell
