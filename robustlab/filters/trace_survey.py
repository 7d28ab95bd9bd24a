"""Pairs of images followed through a network: the arrays of the probe, filled image by image.

Batches are of bounded size, so that memory does not grow with images, draws or channels beyond what
is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import working_dtype
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.filters.trace_controls import CONTROLS, controls
from robustlab.filters.trace_measures import MEASURES, compare, relative_distance
from robustlab.filters.trace_patching import Lanes, changes, patched, ranks
from robustlab.filters.trace_readout import pooled
from robustlab.filters.trace_search import NOT_TRIED, smallest
from robustlab.filters.trace_twins import Twins
from robustlab.hooks import Layer, feature_maps
from robustlab.randomness import SampleRandom

__all__ = ["Survey"]

Array = NDArray[Any]

ROOM = 2**28  # bytes that the features and the orders of one batch may take


class Survey:
    """What happens between the input and the logits to pairs of images.

    Per-image arrays have a row for every image of the data; NaN, -1 or 0 where it is not measured.
    """

    def __init__(
        self,
        backbone: Backbone,
        data: Data,
        layers: Sequence[Layer],
        twins: Twins,
        draws: int,
        seed: int,
        batch: int,
    ) -> None:
        self.backbone, self.data, self.layers, self.twins = backbone, data, layers, twins
        self.draws, self.seed, self.batch = draws, seed, batch
        n, many = len(data), len(layers)
        self.measured, self.lost, self.right = (np.zeros(n, bool) for _ in range(3))
        if twins.right is not None:
            self.right[twins.rows] = twins.right
        self.prediction = np.full((n, 2), -1, np.int16)
        self.input = np.full((n, 1 + len(CONTROLS)), np.nan)
        self.found = {x: np.full((n, many), np.nan, np.float32) for x in MEASURES}
        self.control = {x: np.full((n, len(CONTROLS), many), np.nan, np.float32) for x in MEASURES}
        self.changed = np.zeros((n, many), np.int32)
        self.restoring = np.full((n, many), NOT_TRIED, np.int32)
        self.random = np.full((n, draws, many), NOT_TRIED, np.int32)
        self.method = np.zeros((n, many), np.int8)
        self.whole_exact, self.whole_restores = (np.zeros((n, many), bool) for _ in range(2))
        # Row of an image -> a vector a layer, of the changed image and of the permuted control.
        self.vectors: dict[int, list[Array]] = {}
        self.permuted: dict[int, list[Array]] = {}

    def tensor(self, images: Array) -> Tensor:
        """uint8 levels, or floats in [0, 1], [n, C, H, W] as the network takes them."""
        made = torch.tensor(np.asarray(images)).to(self.backbone.device)
        dtype = working_dtype(self.backbone)
        floats = made.to(dtype) / 255.0 if made.dtype == torch.uint8 else made.to(dtype)
        return floats.to(self.backbone.dtype)

    def run(self) -> None:
        """Measure all pairs, a batch at a time."""
        places = np.flatnonzero(self.twins.traced)
        wide = 8 if self.backbone.dtype == torch.float64 else 4
        orders = 32 * (1 + self.draws) * max(layer.shape[0] for layer in self.layers)
        each = 3 * wide * sum(layer.size for layer in self.layers) + orders
        many = max(1, min(self.batch, ROOM // each))
        for first in range(0, len(places), many):
            self._measure(places[first : first + many])

    def _measure(self, places: Array) -> None:
        network, rows = self.backbone.network, self.twins.rows[places]
        x, z = (self.tensor(a[places]) for a in (self.twins.clean, self.twins.changed))
        clean, logits = feature_maps(network, x, self.layers)
        changed, after = feature_maps(network, z, self.layers)
        said, said_after = (y.argmax(dim=1).cpu().numpy() for y in (logits, after))
        good = said == self.data.labels[rows]
        if self.twins.right is None:
            self.right[rows] = good
        else:
            good &= said_after != said
        if not good.any():
            return
        kept, into = np.flatnonzero(good), rows[good]
        pick = torch.tensor(kept, device=x.device)
        self.measured[into] = True
        self.prediction[into] = np.stack([said, said_after], axis=1)[kept]
        self.lost[into] = (said != said_after)[kept]
        self._distances(into, places[good], pick, clean, changed)
        for i, layer in enumerate(self.layers):  # all of the batch: bits may hang on its size
            full = torch.ones(len(z), layer.shape[0], dtype=torch.bool, device=z.device)
            again = patched(network, z, layer, clean[layer.name], full)
            self.whole_exact[into, i] = (again == logits).all(dim=1)[pick].cpu().numpy()
            back = again.argmax(dim=1) == logits.argmax(dim=1)
            self.whole_restores[into, i] = back[pick].cpu().numpy()
        flipped = pick[torch.tensor(self.lost[into], device=pick.device)]
        if len(flipped):
            goal = logits.argmax(dim=1)[flipped]
            for i, layer in enumerate(self.layers):
                both = clean[layer.name][flipped], changed[layer.name][flipped]
                self._restore(i, layer, rows[flipped.cpu().numpy()], z[flipped], goal, *both)

    def _distances(
        self,
        into: Array,
        places: Array,
        pick: Tensor,
        clean: dict[str, Tensor],
        changed: dict[str, Tensor],
    ) -> None:
        before, after = self.twins.clean[places], self.twins.changed[places]
        self.input[into, 0] = _apart(before / 255.0, after / 255.0)
        for i, layer in enumerate(self.layers):
            here = clean[layer.name][pick], changed[layer.name][pick]
            for name, value in compare(*here).items():
                self.found[name][into, i] = value
            self.changed[into, i] = (changes(*here) > 0).sum(dim=1).cpu().numpy()
            _keep(self.vectors, into, here[1])
        names = [self.data.ids[row] for row in into]
        noisy = [
            controls(a, b, name, self.seed) for a, b, name in zip(before, after, names, strict=True)
        ]
        for c in range(len(CONTROLS)):
            images = np.stack([one[c] for one in noisy])
            self.input[into, 1 + c] = _apart(before / 255.0, images)
            maps, _ = feature_maps(self.backbone.network, self.tensor(images), self.layers)
            for i, layer in enumerate(self.layers):
                for name, value in compare(clean[layer.name][pick], maps[layer.name]).items():
                    self.control[name][into, c, i] = value
                if CONTROLS[c] == "permuted":
                    _keep(self.permuted, into, maps[layer.name])

    def _restore(
        self,
        i: int,
        layer: Layer,
        rows: Array,
        z: Tensor,
        goal: Tensor,
        clean: Tensor,
        changed: Tensor,
    ) -> None:
        """The smallest number of channels that bring the label back, and of random ones."""
        score = changes(clean, changed)
        counted = score > 0
        ids = [self.data.ids[row] for row in rows]
        orders = [ranks(score, counted)]
        for draw in range(self.draws):
            drawn = SampleRandom(self.seed, ids, "trace", "order", layer.name, draw)
            by_chance = torch.tensor(drawn.uniform((layer.shape[0],)), device=z.device)
            orders.append(ranks(by_chance, counted))
        wide = 8 if self.backbone.dtype == torch.float64 else 4
        batch = max(1, min(self.batch, ROOM // (3 * wide * layer.size)))
        image = torch.arange(len(z), device=z.device).repeat(len(orders))
        network = self.backbone.network
        lanes = Lanes(network, layer, z, clean, goal, image, torch.cat(orders), batch)
        totals = counted.sum(dim=1).repeat(len(orders)).tolist()
        count, method = smallest(lanes.restored, totals)
        by_order = count.reshape(len(orders), len(z))
        self.restoring[rows, i] = by_order[0]
        self.random[rows, :, i] = by_order[1:].T
        self.method[rows, i] = method[: len(z)]

    def arrays(self) -> dict[str, Array]:
        """Everything layer by layer: [n, layers], [n, controls, layers], [n, draws, layers]."""
        return {
            "layers": np.array([layer.name for layer in self.layers]),
            "modules": np.array([layer.module for layer in self.layers]),
            "kinds": np.array([layer.kind for layer in self.layers]),
            "channels": np.array([layer.shape[0] for layer in self.layers], np.int32),
            "controls": np.array(CONTROLS),
            "predictions": self.prediction,
            "input_distance": self.input[:, 0],
            "control_input_distance": self.input[:, 1:],
            **self.found,
            **{f"control_{name}": value for name, value in self.control.items()},
            "changed_channels": self.changed,
            "restoring": self.restoring,
            "restoring_random": self.random,
            "method": self.method,
            "whole_exact": self.whole_exact,
            "whole_restores": self.whole_restores,
        }


def _keep(kept: dict[int, list[Array]], rows: Array, maps: Tensor) -> None:
    for row, vector in zip(rows.tolist(), pooled(maps).cpu().numpy(), strict=True):
        kept.setdefault(row, []).append(vector)


def _apart(clean: Array, changed: Array) -> Array:
    return relative_distance(torch.tensor(clean), torch.tensor(changed)).numpy()
