"""train: remake a shipped network, or train one's own recipe."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from robustlab.cli.output import json_option, percent, print_json, robust_figure

__all__ = ["train"]

_DIVERGED = 3  # exit code: there are weights, but not those that were asked for


@click.command()
@click.argument("recipe")
@click.option(
    "-o", "--out", default="trained", show_default=True, help="Folder for weights and card."
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs instead of the recipe's.")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of the CPU."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--again", is_flag=True, help="Train even if it has been done.")
@json_option
def train(
    recipe: str,
    out: str,
    epochs: int | None,
    threads: int,
    device: str,
    again: bool,
    as_json: bool,
) -> int:
    """Train RECIPE (a shipped name or a TOML file), or go on where it was interrupted; equal seeds
    give equal weights."""
    from robustlab.backbones.cards import read_card
    from robustlab.reporting.training import write_training_page
    from robustlab.training import load_recipe
    from robustlab.training import train as fit

    read = load_recipe(recipe)
    with _progress() as (tell, tick, say):
        weights = fit(
            read,
            out,
            progress=tell,
            tick=tick,
            say=say,
            epochs=epochs,
            threads=threads,
            device=device,
            again=again,
        )
    card = read_card(weights.with_suffix(".json"))
    page = write_training_page(weights.with_suffix(".json"))
    if as_json:
        print_json({"weights": str(weights), "card": card, "page": str(page)})
    else:
        _print(weights, card, page)
    return _DIVERGED if card["stopped"].startswith("diverged") else 0


def _print(weights: Path, card: dict[str, Any], page: Path) -> None:
    from robustlab.data.sources import on_the_test_part

    click.echo(f"{card['name']}: test accuracy {percent(card['test'])}")
    if card.get("adversarial"):
        click.echo(f"robust accuracy {robust_figure(card)}; a stronger attack may leave less")
    if card["stopped"] != "all epochs":
        done = len(card["curve"]["train_loss"])
        click.echo(
            f"stopped after {done} epochs: {card['stopped']}; kept are the weights of epoch "
            f"{card['best_epoch']}"
        )
    if card["test"]["low"] <= 1 / len(card["classes"]):
        click.echo("that is no better than guessing; lower [train] lr, or train longer")
    click.echo(f"page: {page}")
    arguments = shlex.quote(f"file:{weights}") + on_the_test_part(
        card["recipe"]["data"], card["test"]["n"]
    )
    click.echo(f"weights: {weights}   next: robustlab run quick -b {arguments}")


Callbacks = tuple[Callable[[Any], None], Callable[[float], None], Callable[[str], None]]


@contextlib.contextmanager
def _progress() -> Iterator[Callbacks]:
    """Tell of epochs, of the share done, and of what is out of the ordinary: a bar on a terminal,
    plain lines otherwise."""
    if sys.stderr.isatty():
        with _bar() as callbacks:
            yield callbacks
    else:
        yield (
            lambda epoch: click.echo(f"{_line(epoch)}", err=True),
            lambda share: None,
            lambda text: click.echo(text, err=True),
        )


def _line(epoch: Any) -> str:
    robust = epoch.val_robust_accuracy
    attacked = "" if robust is None else f"  robust {100 * robust:.1f} %"
    return (
        f"epoch {epoch.epoch}/{epoch.epochs}  loss {epoch.train_loss:.4f}  "
        f"validation {100 * epoch.val_accuracy:.1f} %{attacked}"
    )


@contextlib.contextmanager
def _bar() -> Iterator[Callbacks]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # what goes to stdout stays there, where a script reads it
    )
    task = bar.add_task("starting", total=1.0)
    with bar:
        yield (
            lambda epoch: bar.update(task, description=_line(epoch)),
            lambda share: bar.update(task, completed=share),
            lambda text: bar.console.print(text, markup=False),
        )
