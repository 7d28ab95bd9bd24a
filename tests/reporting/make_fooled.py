"""A picture fooled by hand: small true arrays, readings that fit together."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import numpy as np

from robustlab.fooled import Answer, Budgeted, Check, Curve, Fooled, Reading, Way
from robustlab.reporting.fooling.recount import measured

NAN = float("nan")
SEEN = ((388, "giant panda", 0.9874), (368, "gibbon", 0.0043), (362, "badger", 0.0038))
ASKED = ((23, "vulture", 0.9731), (388, "giant panda", 0.0123), (368, "gibbon", 0.0025))
THIRD = ((368, "gibbon", 0.5512), (388, "giant panda", 0.3001), (23, "vulture", 0.0101))


def reading(top: Any, network: str = "squeezenet1_1") -> Reading:
    """Probabilities of the two classes are those of the list; not listed is 0.0001."""
    found = {index: p for index, _, p in top}
    return Reading(network, tuple(top), found.get(388, 0.0001), found.get(23, 0.0001))


def pictures(shape: tuple[int, ...] = (3, 24, 32), levels: int = 1) -> Any:
    """A picture with a soft ground, and one that differs by at most ``levels``."""
    rng = np.random.default_rng(0)
    channels, height, width = shape
    y, x = np.mgrid[:height, :width]
    original = np.stack([40 + c * 30 + x * 90 // width + y * 60 // height for c in range(channels)])
    changed = original + rng.integers(-levels, levels + 1, shape)
    return original.astype(np.uint8), changed.astype(np.uint8)


def answer(name: str, top: Any, before: Any = SEEN, **counts: int) -> Answer:
    after = top[0][0]
    return Answer(
        name, reading(before, name), reading(top, name), after != 388, after == 23, **counts
    )


def evidence() -> dict[str, Any]:
    """Everything that may be asked for besides."""
    eps = np.array([0.5, 1.0, 2.0, 4.0])
    curve = Curve(
        "JPEG quality",
        "",
        np.array([95.0, 80.0, 50.0]),
        np.array([True, True, False]),
        np.array([True, False, False]),
        np.array([0.05, 0.2, 0.9]),
        np.array([0.9, 0.1, 0.01]),
        np.array([True, True, False]),
    )
    return {
        "ways": (
            Way(
                "straight line",
                np.array([0.0, 0.5, 1.0]),
                np.array([0.9874, 0.6, 0.0123]),
                np.array([0.0001, 0.2, 0.9731]),
                ("giant panda", "giant panda", "vulture"),
            ),
            Way(
                "steps of the search",
                np.arange(4.0),
                np.array([0.9874, 0.3, 0.2, 0.0123]),
                np.array([0.0001, 0.1, 0.3, 0.9731]),
                ("giant panda", "gibbon", "vulture", "vulture"),
            ),
        ),
        "steps": (
            Budgeted(
                "fgsm",
                eps,
                np.array([0.98, 0.3, 0.2, 0.1]),
                np.array([0.001, 0.002, 0.003, 0.004]),
                np.array([False, True, True, True]),
                np.zeros(4, bool),
                ("giant panda", "gibbon", "gibbon", "badger"),
            ),
            Budgeted(
                "pgd",
                eps,
                np.array([0.98, 0.1, 0.05, 0.01]),
                np.array([0.001, 0.9, 0.95, 0.99]),
                np.array([False, True, True, True]),
                np.array([False, True, True, True]),
                ("giant panda", "vulture", "vulture", "vulture"),
            ),
        ),
        "controls": (
            answer("sign noise of the same size", SEEN, tries=8),
            answer("its pixels permuted", SEEN, tries=8),
        ),
        "transfer": (
            answer("alexnet", ASKED),
            answer("vgg11", SEEN),
            answer("resnet18", THIRD, before=THIRD),
        ),
        "survival": (curve, replace(curve, name="blur", unit="px", at_target=np.ones(3, bool))),
        "trace": {
            "layers": np.array(["conv1", "layer1.conv", "fc"]),
            "amplification": np.array([2.0, 8.5, 4.0]),
            "flips": np.array([0.01, 0.04, 0.0]),
            "controls": np.array(["sign", "permuted"]),
            "control_amplification": np.array([[1.5, 2.0, 1.0], [1.6, 2.5, 1.1]]),
            "control_flips": np.array([[0.01, 0.01, 0.0], [0.01, 0.02, 0.0]]),
            "changed_channels": np.array([64, 64, 1000]),
            "restoring": np.array([4, -1, 0]),
            "restoring_random": np.array([[10, -1, 0], [20, 30, 0]]),
        },
        "maps": {
            "methods": np.array(["gradient", "gradcam"]),
            **{
                f"{side}_{method}": np.linspace(-1, 1, 24 * 32).reshape(1, 24, 32)
                for side in ("clean", "changed", "control")
                for method in ("gradient", "gradcam")
            },
            "changed_likeness": np.array([0.31, 0.87]),
            "control_likeness": np.array([0.12, NAN]),
        },
    }


def make(bare: bool = False, **changes: Any) -> Fooled:
    """The panda as a vulture at 1/255; ``bare``: without any evidence besides the checks."""
    shape, levels = changes.pop("shape", (3, 24, 32)), changes.pop("levels", 1)
    original, changed = pictures(shape, levels)
    size = measured(original, changed)
    told: dict[str, Any] = {
        "picture": "panda.png",
        "source": "A photograph.",
        "network": "squeezenet1_1",
        "sight": "shorter side to 256, the middle 224",
        "on": "picture",
        "attack": "pgd",
        "params": {"steps": 40, "loss": "ce"},
        "norm": "linf",
        "eps": f"{levels}/255",
        "seed": 7,
        "label": "giant panda",
        "target": "vulture",
        "original": original,
        "changed": changed,
        "before": reading(SEEN),
        "after": reading(ASKED),
        "checks": (
            Check("Does the file, opened afresh, fool it?", True, "vulture, 97.31 %"),
            Check("Is it a PNG?", True, "PNG"),
        ),
        "size": size,
        "facts": {"command": "robustlab fool panda.png", "seconds": 2.5, "device": "cpu"},
        "notes": ("A note.",),
    }
    if not bare:
        told |= {"smallest": size, "smallest_changed": changed, **evidence()}
    return Fooled(**(told | changes))


def data_of(root, name):
    """The rows of a CSV in the page."""
    (link,) = [a for a in root.all("a") if a.attributes.get("download") == name]
    text = unquote(link.attributes["href"].split(",", 1)[1])
    return list(csv.reader(io.StringIO(text)))
