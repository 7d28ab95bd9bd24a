"""train: remake a shipped network, or train one's own recipe."""

from __future__ import annotations

import sys
from typing import Any

import click

from robustlab.cli.output import json_option, print_json

__all__ = ["train"]


@click.command()
@click.argument("recipe")
@click.option(
    "-o", "--out", default="trained", show_default=True, help="Folder for weights and card."
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs instead of the recipe's.")
@json_option
def train(recipe: str, out: str, epochs: int | None, as_json: bool) -> int:
    """Train RECIPE (a shipped name or a TOML file); equal seeds give equal weights."""
    from robustlab.backbones.cards import read_card
    from robustlab.training import load_recipe
    from robustlab.training import train as fit

    read = load_recipe(recipe)
    weights = fit(read, out, progress=_tell(), epochs=epochs)
    card = read_card(weights.with_suffix(".json"))
    if as_json:
        print_json({"weights": str(weights), "card": card})
        return 0
    test = card["test"]
    click.echo(
        f"{card['name']}: test accuracy {100 * test['value']:.1f} % "
        f"[{100 * test['low']:.1f}, {100 * test['high']:.1f}] of {test['n']}"
    )
    options = "&".join(f"{k}={v}" for k, v in card["options"].items() if k != "seed")
    builder = card["builder"] + (f"?{options}" if options else "")
    click.echo(f"weights: {weights}   next: robustlab run quick -b 'file:{weights}#{builder}'")
    return 0


def _tell() -> Any:
    """One line an epoch; on a terminal the line is drawn over."""
    terminal = sys.stderr.isatty()

    def tell(epoch: Any) -> None:
        done = int(20 * epoch.epoch / epoch.epochs)
        bar = "#" * done + "." * (20 - done)
        line = (
            f"[{bar}] epoch {epoch.epoch}/{epoch.epochs}  loss {epoch.train_loss:.4f}  "
            f"validation {100 * epoch.val_accuracy:.1f} %"
        )
        last = epoch.epoch == epoch.epochs
        click.echo(("\r" if terminal else "") + line, nl=not terminal or last, err=True)

    return tell
