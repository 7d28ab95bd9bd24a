"""What a trained network is, how far to believe its figures, and how it was made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from robustlab import shelf
from robustlab.data.sources import on_the_test_part
from robustlab.reporting.section import thousands
from robustlab.reporting.training.record import Training, number, rate_of, text, whole
from robustlab.verdict import plural

__all__ = ["caveats", "commands", "facts", "machine", "recipe_lines"]

LINES = 100  # of the recipe


def facts(training: Training) -> list[tuple[str, str]]:
    """What the network is: builder, parameters, input, data, seed."""
    card = training.card
    options = training.table("options")
    told = ", ".join(f"{text(k)} {text(v)}" for k, v in list(options.items())[:LINES])
    count = whole(card.get("parameters"))
    spaced = "not recorded" if count is None else thousands(count)
    shape, classes = card.get("input_shape"), card.get("classes")
    sides = (
        " × ".join(map(text, shape)) if isinstance(shape, list) and len(shape) < 8 else text(shape)
    )
    adversarial = training.table("recipe", "adversarial")
    method = f"; trained against {text(adversarial.get('method'))}" if adversarial else ""
    return [
        ("Network", f"{text(card['builder'])}{f' with {told}' if told else ''}"),
        ("Parameters", spaced),
        ("Input", f"{sides}, {_normalised(card)}"),
        ("Classes", _classes(classes)),
        ("Data", f"{_source(training)}{method}"),
        ("Seed", text(training.table("recipe").get("seed", "not recorded"))),
        ("Validation", _split(card, "validation")),
        ("Test", _split(card, "test")),
    ]


def _normalised(card: Mapping[str, Any]) -> str:
    mean, std = card.get("mean"), card.get("std")
    if mean is None and std is None:
        return "pixels as they are, in [0, 1]"
    return f"normalised by mean {text(mean)} and standard deviation {text(std)}"


def _classes(classes: Any) -> str:
    if not isinstance(classes, list):
        return text(classes)
    return f"{len(classes)}: {text(classes)}" if len(classes) <= 12 else str(len(classes))


def _source(training: Training) -> str:
    table = training.table("recipe", "data")
    told = ", ".join(f"{text(k)} {text(v)}" for k, v in list(table.items())[:LINES])
    return told.removeprefix("source ") or "not recorded"


def _split(card: Mapping[str, Any], split: str) -> str:
    found = rate_of(card.get(split))
    return f"{found} right, n = {found.n}" if found else "not recorded"


def caveats(training: Training) -> list[str]:
    """What the figures do not say, and what is not there."""
    told = []
    if training.kept and rate_of(training.card.get("validation")):
        told.append(
            "The validation split chose the epoch, so its figures flatter; those of the test "
            "split, which decides nothing, are the ones to quote."
        )
    told.append(
        "This is one training: its intervals cover the choice of images, not the luck of the seed. "
        "Two recipes are compared over several seeds."
    )
    if training.table("adversarial"):
        told.append(
            f"Robust accuracy was measured with {_measure(training)}. Verify it with the attacks "
            "of a suite before it is believed."
        )
    else:
        told.append("How it stands under attack is not measured here; a suite does that.")
    return [*told, *training.missing]


def _measure(training: Training) -> str:
    """The attack that robust accuracy was measured with, beside that of the training."""
    steps = whole(training.table("adversarial").get("steps"))
    told = f"projected gradient descent of {plural(steps, 'steps')}" if steps else "an attack"
    fast = training.table("recipe", "adversarial").get("method") == "fast"
    after = "; training itself took a single step" if fast else ""
    return f"{told}, which chose the epoch too{after}"


def commands(training: Training) -> list[tuple[str, str]]:
    """What to type to remake, load and attack the network."""
    shipped = {path.stem for path in shelf.recipes().glob("*.toml")}
    name = str(training.card["name"])
    remade = name if name in shipped else f"{training.stem}.toml"
    how = "Remake it" if name in shipped else "Remake it, the recipe below as a TOML file"
    file = f"file:{training.stem}.safetensors"
    recipe = training.table("recipe").get("data")
    few = whole(training.table("test").get("n"))
    data = on_the_test_part(recipe, few) if isinstance(recipe, Mapping) else ""
    attack = f"robustlab run quick -b {shlex.quote(file)}{data}"
    return [
        (how, f"robustlab train {shlex.quote(remade)}"),
        ("Attack it, in the folder of the weights", attack),
        ("Load it in Python", f"robustlab.load_backbone({file!r})"),
    ]


def machine(training: Training) -> list[tuple[str, str]]:
    """Environment, cost and fingerprints."""
    card = training.card
    seconds = number(card.get("seconds"))
    found = [
        ("PyTorch", text(card.get("torch", "not recorded"))),
        ("Device", text(card.get("device", "not recorded"))),
        ("Threads", text(card.get("threads", "not recorded"))),
        ("Time", "not recorded" if seconds is None else f"{seconds:.1f} s"),
        ("Weights", text(card["fingerprint"])),
    ]
    parts = list(training.table("data").items())[:LINES]
    return found + [(f"Data, {text(part)}", text(print_)) for part, print_ in parts]


def recipe_lines(training: Training) -> tuple[list[tuple[str, str]], int]:
    """The recipe, a line a key, and how many lines were left out."""
    lines = _flat(training.table("recipe"))
    return lines[:LINES], max(0, len(lines) - LINES)


def _flat(table: Mapping[str, Any], inside: str = "", depth: int = 0) -> list[tuple[str, str]]:
    found = []
    for key, value in table.items():
        name = f"{inside} {text(key)}".strip()
        if isinstance(value, Mapping) and value and depth < 4:
            found += _flat(value, name, depth + 1)
        elif value != {}:
            found.append((name, text(value)))
    return found
