"""What the probe `anatomy` found of one backbone, read back from its arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.outcome import Outcome
from robustlab.reporting.section import thousands
from robustlab.results import Group

__all__ = ["KINDS", "Layer", "Network", "network", "short"]

# How layers are summed up in bars: the first that fits.
KINDS = {
    "convolution": ("convolution", "transposed convolution"),
    "fully connected": ("fully connected",),
    "locally connected": ("locally connected",),
    "the rest": (),
}


@dataclass(frozen=True)
class Layer:
    """One row of the layer table; numbers are NaN where not known or not defined."""

    number: int
    texts: Mapping[str, str]
    numbers: Mapping[str, float]
    sources: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.texts["layer"]

    @property
    def kind(self) -> str:
        return self.texts["kind"]

    @property
    def path(self) -> str:
        """The module it stands in, without an operator's name."""
        return self.name.partition(":")[0]

    @property
    def group(self) -> str:
        """Its bar's part."""
        return next((g for g, kinds in KINDS.items() if self.kind in kinds), "the rest")

    @property
    def output(self) -> tuple[int, ...]:
        """(C, H, W), or fewer numbers; empty where it did not run."""
        return tuple(int(one) for one in self.texts["output_shape"].split("x") if one)

    @property
    def ran(self) -> bool:
        return self.kind != "idle"

    def get(self, name: str) -> float:
        """A number of the table."""
        return self.numbers[name]

    @property
    def drops(self) -> bool:
        """Whether rows or columns of the map are lost behind its last window."""
        return self.get("dropped_rows") > 0 or self.get("dropped_columns") > 0

    @property
    def told(self) -> bool:
        """Whether the table shows it: it has weights or windows, or joins branches."""
        return bool(
            not self.ran
            or self.texts["kernel"]
            or self.get("weights") > 0
            or self.get("parameters") > 0
            or len(self.sources) > 1
            or self.texts["status"] != "complete"
        )


@dataclass(frozen=True)
class Network:
    """One backbone: its layers and what was measured of it."""

    backbone: str
    layers: tuple[Layer, ...]
    outcome: Outcome
    group: Group

    def array(self, name: str) -> NDArray[Any] | None:
        found = self.outcome.arrays.get(name)
        return None if found is None else np.asarray(found)

    def number(self, name: str) -> float:
        found = self.array(name)
        return math.nan if found is None else float(found)

    @property
    def image(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        found = self.array("input_shape")
        assert found is not None
        channels, height, width = (int(one) for one in found)
        return channels, height, width

    def share(self, column: str, part: str) -> float:
        """Share of the parameters, or of the multiply-adds, in one kind of layer; NaN where those
        of a layer are not known.
        """
        whole = sum(one.get(column) for one in self.layers)
        some = sum(one.get(column) for one in self.layers if one.group == part)
        return some / whole if whole else 0.0

    @property
    def maps(self) -> list[Layer]:
        """Layers with weights or windows that give maps, in order: of more than one place, where
        there are such, so that a mean over all places is none.
        """
        found = [
            one
            for one in self.layers
            if one.ran and len(one.output) == 3 and (one.texts["kernel"] or one.get("weights") > 0)
        ]
        return [one for one in found if max(one.output[1:]) > 1] or found

    @property
    def sees(self) -> str:
        """The receptive field of the last map, or up to where fields are known, in words.

        Sums and activations count: a shortcut may be the last layer that has weights.
        """
        held = [one for one in self.layers if one.ran and len(one.output) == 3]
        held = [one for one in held if max(one.output[1:]) > 1] or self.maps
        known = [one for one in held if not math.isnan(one.get("field_columns"))]
        if not held:
            return "not defined: no layer gives a map"
        if not known:
            return "not known"
        pixels = f"{known[-1].get('field_columns'):.0f} pixels"
        return pixels if known[-1] is held[-1] else f"not known behind {known[-1].name} ({pixels})"

    @property
    def unfitting(self) -> list[Layer]:
        """Layers whose last windows leave rows or columns of the map unseen."""
        return [one for one in self.layers if one.drops]


def network(group: Group) -> Network | None:
    """Of a landed group; None where its arrays are not those of this version."""
    outcome = group.outcome
    if outcome is None or "layers.layer" not in outcome.arrays:
        return None
    columns = {
        name.removeprefix("layers."): np.asarray(array)
        for name, array in outcome.arrays.items()
        if name.startswith("layers.")
    }
    layers = []
    for row in range(len(columns["layer"])):
        texts = {n: str(c[row]) for n, c in columns.items() if c.dtype.kind == "U"}
        numbers = {n: float(c[row]) for n, c in columns.items() if c.dtype.kind != "U"}
        sources = tuple(int(one) for one in texts["sources"].split())
        layers.append(Layer(row, texts, numbers, sources))
    return Network(group.backbone, tuple(layers), outcome, group)


def short(value: float, unit: str = "") -> str:
    """A count in three digits: ``61 706``, ``4.09 G``."""
    if math.isnan(value):
        return "not known"
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{thousands(value)}{' ' if unit else ''}{unit}"
