"""A network's layers surveyed: the arrays of the probe, filled image by image.

Batches are of bounded size, so that memory does not grow with images or shifts beyond what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.hooks import Layer, feature_maps
from robustlab.invariance.layer_errors import Shift
from robustlab.invariance.layer_measures import MEASURES, Ruler
from robustlab.invariance.layer_seams import seams

__all__ = ["Survey", "seams_of"]

Array = NDArray[Any]

ROOM = 2**28  # bytes that the features of one batch may take
ODD = "values changed at layers where no changed pixel was found to reach them"


class Survey:
    """The arrays that the probe fills, image by image, in batches of bounded size."""

    def __init__(
        self,
        backbone: Backbone,
        data: Data,
        layers: Sequence[Layer],
        rows: Sequence[int],
        shifts: Sequence[Shift],
        passed_over: Sequence[str],
    ) -> None:
        self.backbone, self.data, self.layers = backbone, data, layers
        self.rows, self.shifts, self.passed_over = rows, shifts, passed_over
        self.index = {layer.name: i for i, layer in enumerate(layers)}
        # Rows of the arrays are the measured images alone, in the order of the data.
        self.measured = np.array(sorted(rows), np.int64)
        self.place = {row: i for i, row in enumerate(self.measured.tolist())}
        self.partner = np.full(len(rows), -1, np.int64)
        shape = (len(rows), len(shifts), len(layers))
        self.found = {name: np.full(shape, np.nan, np.float32) for name in MEASURES}
        self.rolls = np.zeros((*shape, 2), np.int16)
        self.unrelated = {
            name: np.full(shape, np.nan, np.float32)
            for name in ("unrelated", "unrelated_best_roll")
        }
        self.prediction = np.full((len(rows), 1 + len(shifts)), -1, np.int16)
        self.probability = np.full((len(rows), 1 + len(shifts)), np.nan, np.float32)

    def batches(self) -> list[list[int]]:
        """Places in ``rows``, so many at a time that their features fit into the room."""
        wide = 8 if self.backbone.dtype == torch.float64 else 4
        each = sum(x.size for x in self.layers) * (wide + 2) + 64 * max(x.size for x in self.layers)
        many = max(1, min(64, ROOM // each))
        return [
            list(range(i, min(i + many, len(self.rows)))) for i in range(0, len(self.rows), many)
        ]

    def load(self, rows: Sequence[int]) -> Tensor:
        return load_pixels(self.data, list(rows), self.backbone)[0].to(self.backbone.dtype)

    def means(self) -> dict[str, Tensor]:
        """Mean vector of every vector layer over the images that are measured."""
        vectors = [x for x in self.layers if x.kind == "vector"]
        total: dict[str, Tensor] = {}
        for places in self.batches() if vectors else []:
            images = self.load([self.rows[p] for p in places])
            found, _ = feature_maps(self.backbone.network, images, vectors)
            for name, value in found.items():
                total[name] = total.get(name, 0) + value.double().sum(dim=0)
        return {name: value / len(self.rows) for name, value in total.items()}

    def add(self, ruler: Ruler, places: Sequence[int], partners: Sequence[int]) -> None:
        """Measure one batch: clean, every shift, and the unrelated images."""
        rows = [self.rows[p] for p in places]
        images = self.load(rows)
        clean, logits = feature_maps(self.backbone.network, images, self.layers)
        at = [self.place[row] for row in rows]
        self._read(rows, 0, logits)
        for s, shift in enumerate(self.shifts):
            found, rolls, output = ruler.measure(images, clean, shift)
            for name, by_layer in found.items():
                for layer, value in by_layer.items():
                    self.found[name][at, s, self.index[layer]] = value.cpu().numpy()
            for layer, roll in rolls.items():
                self.rolls[at, s, self.index[layer]] = roll.cpu().numpy()
            self._read(rows, 1 + s, output)
        self._compare(ruler, places, partners, clean)

    def _compare(
        self,
        ruler: Ruler,
        places: Sequence[int],
        partners: Sequence[int],
        clean: dict[str, Tensor],
    ) -> None:
        for p in places:
            self.partner[self.place[self.rows[p]]] = self.place.get(partners[p], -1)
        having = [i for i, p in enumerate(places) if partners[p] >= 0]
        if not having:
            return
        others = self.load([partners[places[i]] for i in having])
        mine = {name: value[having] for name, value in clean.items()}
        at = [self.place[self.rows[places[i]]] for i in having]
        for s, both in enumerate(ruler.unrelated(others, mine, self.shifts)):
            for array, by_layer in zip(self.unrelated.values(), both, strict=True):
                for layer, value in by_layer.items():
                    array[at, s, self.index[layer]] = value.cpu().numpy()

    def _read(self, rows: Sequence[int], column: int, logits: Tensor) -> None:
        p = logits.double().softmax(dim=1).cpu().numpy()
        at = [self.place[row] for row in rows]
        self.prediction[at, column] = p.argmax(axis=1)
        self.probability[at, column] = p[np.arange(len(rows)), self.data.labels[rows]]

    def samples(self) -> dict[str, Array]:
        """A row an image: what is left at the logits, mean over the shifts; NaN: not measured."""
        measured = np.zeros(len(self.data), bool)
        measured[self.measured] = True
        last = len(self.layers) - 1
        moves = np.abs(self.probability[:, 1:] - self.probability[:, :1]).mean(axis=1)
        columns = {
            "logit_error": self.found["in_place"][:, :, last].mean(axis=1),
            "logit_cosine_distance": self.found["cosine"][:, :, last].mean(axis=1, dtype=float),
            "unrelated_logit_error": self.unrelated["unrelated"][:, 0, last],
            "probability_moved": moves,
        }
        kept = np.zeros(len(self.data), bool)
        kept[self.measured] = (self.prediction == self.prediction[:, :1]).all(axis=1)
        told = {name: self._spread(column) for name, column in columns.items()}
        return {"measured": measured, "prediction_kept": kept, **told}

    def _spread(self, column: Array) -> Array:
        """A number of each measured image as a column of all, NaN where none was measured."""
        spread = np.full(len(self.data), np.nan)
        spread[self.measured] = column
        return spread

    def arrays(self, ruler: Ruler) -> dict[str, Array]:
        """Everything layer by layer, and what the axes mean.

        Measures are [m, shifts, layers] of the m images measured; ``measured_row`` [m] says which
        of the data they are, ``partner`` [m] which of the m each is compared with, -1 for none.
        """
        maps = [(x.shape if x.kind == "map" else (*x.shape, 1, 1)) for x in self.layers]
        kept = np.ones((len(self.shifts), len(self.layers)), np.float32)
        for s, shift in enumerate(self.shifts):
            for name, border in ruler.known_borders(shift).items():
                roll = ruler.roll(name, shift)
                cells = border.seen if roll is None else border.kept(roll)
                kept[s, self.index[name]] = float(cells.double().mean())
        return {
            "measured_row": self.measured,
            "partner": self.partner,
            "layers": np.array([x.name for x in self.layers]),
            "modules": np.array([x.module for x in self.layers]),
            "kinds": np.array([x.kind for x in self.layers]),
            "shapes": np.array(maps, np.int32),
            "strides": np.array(list(ruler.strides.values()), np.int32),
            "shifts": np.array(self.shifts, np.float32),
            "kept_cells": kept,
            "rolls": self.rolls,
            "predictions": self.prediction,
            "probabilities": self.probability,
            **self.found,
            **self.unrelated,
        }

    def notes(self, ruler: Ruler, partners: Sequence[int]) -> list[str]:
        """What a reader must know beside the numbers."""
        notes = []
        if ruler.mode == "circular":
            notes += _seam_notes(*seams_of(self.backbone))
        if self.passed_over:
            over = ", ".join(self.passed_over)
            notes.append(f"Neither maps nor vectors, so passed over: {over}.")
        maps = [name for name, layer in ruler.layers.items() if layer.kind == "map"]
        unknown = [name for name in maps if 0 in ruler.strides[name]]
        if unknown:
            notes.append(f"Of unknown stride, so without an aligned error: {', '.join(unknown)}.")
        if -1 in partners:
            notes.append("There is no second picture to compare unrelated images with.")
        if ruler.unforeseen:
            notes.append(f"{ruler.unforeseen} {ODD}; they are counted as reached.")
        return notes


def _seam_notes(found: Sequence[str], looked: bool) -> list[str]:
    if found:
        return [
            "Shifts are circular but the network pads otherwise or not at all "
            f"({', '.join(found)}): what it does at the seam counts as its error; mode zero or "
            "reflect leaves those cells out."
        ]
    if not looked:
        return [
            "No layer tells what it sees past the edge of a map, for the network calls functions: "
            "what it may do at a seam counts as its error."
        ]
    return []


def seams_of(backbone: Backbone) -> tuple[list[str], bool]:
    """See `seams`."""
    like = torch.empty(0, dtype=backbone.dtype, device=backbone.device)
    return seams(backbone.network, backbone.input_shape, like)
