"""What a unit looks for: its nine strongest patches, and what in them drives it.

Zeiler and Fergus (2014), figure 2. Beside the projections stand those of the same units, places and
images in a network of random weights: what they share is the network's structure, not what it has
learned (Adebayo et al. 2018; Nie et al. 2018 on deconvnets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest, choices
from robustlab.filters.likeness import rank_correlation
from robustlab.filters.projection import Place, check_rule, project, randomised
from robustlab.filters.strongest import Ints, Strongest, fields, strongest
from robustlab.filters.tiles import framed, grid, reduced, signed, visible
from robustlab.hooks import Layer, counted, find_layers
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.registry import probe

__all__ = ["asked_layers", "deconvnet"]

NINE = 9
MOST = 40  # pixels of the longest side of a patch in the picture
LIKENESS = ("randomised_likeness", "gradient_likeness")


@probe("deconvnet", scope="set", version=1)
def deconvnet(
    backbone: Backbone,
    data: Data,
    *,
    layers: tuple[str, ...] = (),
    units: int = 4,
    rule: Literal["deconvnet", "guided", "gradient"] = "deconvnet",
    start: Literal["activation", "one"] = "activation",
    seed: int = 0,
    batch: int = 64,
) -> Outcome:
    """The nine strongest patches of units, their projections, and those with random weights.

    Arrays, with u units of all layers in a row: ``layers`` text [l]; ``unit_layer``, ``unit`` int
    [u]; ``rows`` int [u, 9] of the data, -1 where there is none; ``values`` float [u, 9];
    ``boxes`` int [u, 9, 4], first and behind the last row and column of the patch;
    ``randomised_likeness`` and ``gradient_likeness`` float [u, 9], Spearman's rank correlation of
    the magnitudes inside the patch; ``alive``, ``channels``, ``rectifiers`` int [l]. Column
    ``shown``: among how many of the patches the image is. One picture a layer: a row a unit; nine
    patches, nine projections, nine with random weights.

    layers: names of layers; none: the last map of each size, at most three
    units: units of a layer, evenly spread among those that anything drives
    rule: what a rectifier passes back: deconvnet, guided or gradient
    start: what is sent back from the unit: its activation, or one
    seed: decides the random weights
    batch: images at a time
    """
    if units < 1 or batch < 1:
        raise BadRequest(f"units={units} and batch={batch} of 'deconvnet' must be at least 1")
    first = load_pixels(data, [0], backbone)[0].to(backbone.dtype)
    with counted(backbone.network) as passes:
        chosen = asked_layers(backbone, first, layers, "deconvnet")
        for layer in chosen:
            check_rule(backbone.network, layer, first, rule, backbone.name)
        top = strongest(backbone, data, chosen, NINE, batch)
        boxes, _ = fields(backbone.network, chosen, data.shape)
        maker = _Maker(backbone, data, rule, start, randomised(backbone.network, seed))
        drawn = [maker.layer(top[x.name], boxes[x.name], units) for x in chosen]
        rectifiers = [check_rule(backbone.network, x, first, rule, backbone.name) for x in chosen]
    return _outcome(backbone, data, chosen, drawn, rectifiers, maker, sum(passes))


def asked_layers(
    backbone: Backbone, first: Tensor, names: Sequence[str], probe_name: str, most: int = 3
) -> list[Layer]:
    """The layers of some names; of none the last map of each size, evenly thinned to ``most``."""
    found, _ = find_layers(backbone.network, first.repeat(2, 1, 1, 1))
    known = {layer.name: layer for layer in found}
    for name in names:
        if name not in known:
            raise BadRequest(
                f"{backbone.name} has no layer {name!r} that '{probe_name}' can see"
                f"{choices(name, known)}"
            )
        if list(names).count(name) > 1:
            raise BadRequest(f"layers of '{probe_name}': {name!r} is given twice; leave one out")
    if names:
        return [known[name] for name in names]
    stages = list({x.shape[1:]: x for x in found if x.kind == "map"}.values())
    if not stages:
        raise BadRequest(
            f"{backbone.name} has no maps, so its units see the whole image; name its vectors: "
            f"layers={list(known)[:2]}"
        )
    places = np.linspace(0, len(stages) - 1, min(most, len(stages))).round().astype(int)
    return [stages[i] for i in sorted(set(places.tolist()))]


@dataclass(frozen=True)
class _Drawn:
    """One layer: what was found of its units, and the picture."""

    units: Ints  # [u]
    rows: Ints  # [u, 9]
    values: NDArray[np.float64]  # [u, 9]
    boxes: Ints  # [u, 9, 4]
    likeness: NDArray[np.float64]  # [2, u, 9]
    alive: int
    pixels: NDArray[np.uint8]


class _Maker:
    """Draws layers of one network."""

    def __init__(
        self, backbone: Backbone, data: Data, rule: Any, start: Any, control: torch.nn.Module
    ) -> None:
        self.backbone, self.data, self.rule, self.start = backbone, data, rule, start
        self.control = control
        self.projected = 0

    def layer(self, top: Strongest, field: Ints, units: int) -> _Drawn:
        alive = np.flatnonzero(np.isfinite(top.values[:, 0]) & (top.values[:, 0] > 0))
        picked = (
            alive[np.linspace(0, len(alive) - 1, min(units, len(alive))).round().astype(int)]
            if len(alive)
            else np.arange(0)
        )
        size = _largest(field)
        boxes = np.zeros((len(picked), NINE, 4), np.int64)
        likeness = np.full((2, len(picked), NINE), np.nan)
        blocks = []
        for u, unit in enumerate(picked.tolist()):
            held = np.flatnonzero(top.rows[unit] >= 0)
            places = [(unit, *top.places[unit, j].tolist()) for j in held]
            boxes[u, held] = [field[y, x] for _, y, x in places]
            rows = top.rows[unit, held]
            patches, found = self._unit(top.layer, rows.tolist(), places, boxes[u, held], size)
            likeness[:, u, held] = found
            blocks += patches
        pixels = grid(blocks, 3, gap=4) if blocks else np.zeros((0, 0, 3), np.uint8)
        rows, values = top.rows[picked], top.values[picked]
        return _Drawn(picked, rows, values, boxes, likeness, len(alive), pixels)

    def _unit(
        self,
        layer: Layer,
        rows: Sequence[int],
        places: Sequence[Place],
        boxes: Ints,
        size: tuple[int, int],
    ) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
        """Three blocks of up to nine pictures, and two rows of rank correlations."""
        x, pixels = load_pixels(self.data, rows, self.backbone)
        x, name = x.to(self.backbone.dtype), self.backbone.name
        values, own = project(self.backbone.network, layer, x, places, self.rule, self.start, name)
        sent = values if self.start == "activation" else torch.ones_like(values)
        _, other = project(self.control, layer, x, places, self.rule, sent, name)
        _, plain = project(self.backbone.network, layer, x, places, "gradient", sent, name)
        self.projected += 3 * len(rows)
        blocks: list[list[NDArray[np.uint8]]] = [[], [], []]
        found = np.full((2, len(rows)), np.nan)
        for j, box in enumerate(boxes):
            cut = (slice(None), slice(box[0], box[1]), slice(box[2], box[3]))
            seen = [t[j].double().cpu().numpy()[cut] for t in (own, other, plain)]
            corner = _corner(box, size)
            patch = framed(pixels[j].cpu().numpy()[cut], size, corner, 128)
            blocks[0].append(visible(reduced(patch, MOST)))
            for block, part in zip(blocks[1:], seen, strict=False):
                block.append(signed(reduced(framed(part, size, corner, 0), MOST)))
            found[:, j] = [rank_correlation(seen[0], seen[k]) for k in (1, 2)]
        blank = [np.full(blocks[0][0].shape, 128, np.uint8)] * (NINE - len(rows))
        return [grid([*block, *blank], 3) for block in blocks], found


def _largest(field: Ints) -> tuple[int, int]:
    """Height and width of the largest field of a layer."""
    sizes = field[..., 1::2] - field[..., ::2]
    return max(1, int(sizes[..., 0].max())), max(1, int(sizes[..., 1].max()))


def _corner(box: Ints, size: tuple[int, int]) -> tuple[int, int]:
    """Where a patch lies in a frame of the largest field: what is cut off by the upper or the left
    border of the image is missing above or on the left.
    """
    top = size[0] - (box[1] - box[0]) if box[0] == 0 else 0
    left = size[1] - (box[3] - box[2]) if box[2] == 0 else 0
    return int(top), int(left)


def _outcome(
    backbone: Backbone,
    data: Data,
    layers: Sequence[Layer],
    drawn: Sequence[_Drawn],
    rectifiers: Sequence[int],
    maker: _Maker,
    forward: int,
) -> Outcome:
    likeness = np.concatenate([d.likeness for d in drawn], axis=1)
    rows = np.concatenate([d.rows for d in drawn])
    shown = np.bincount(rows[rows >= 0].ravel(), minlength=len(data))
    samples: dict[str, Any] = {"shown": shown, "measured": shown > 0}
    for name, found in zip(LIKENESS, likeness, strict=True):
        samples[name] = _by_image(rows, found, len(data))
    arrays = {
        "layers": np.array([x.name for x in layers]),
        "unit_layer": np.repeat(np.arange(len(drawn)), [len(d.units) for d in drawn]),
        "unit": np.concatenate([d.units for d in drawn]),
        "rows": rows,
        "values": np.concatenate([d.values for d in drawn]),
        "boxes": np.concatenate([d.boxes for d in drawn]),
        **dict(zip(LIKENESS, likeness, strict=True)),
        "alive": np.array([d.alive for d in drawn]),
        "channels": np.array([x.shape[0] for x in layers]),
        "rectifiers": np.array(rectifiers),
    }
    pictures = [
        Picture(f"units_{i}", d.pixels, f"{x.name}: units {', '.join(map(str, d.units))}")
        for i, (x, d) in enumerate(zip(layers, drawn, strict=True))
        if len(d.units)
    ]
    return Outcome(
        samples,
        arrays,
        pictures,
        metrics={name: Metric(name, among="measured") for name in LIKENESS},
        notes=_notes(backbone, layers, drawn, rectifiers, maker),
        cost={"forward": float(forward), "backward": float(maker.projected)},
    )


def _by_image(rows: Ints, found: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The mean of what was found on each image; NaN of images that are in no patch."""
    held = (rows >= 0) & np.isfinite(found)
    counts = np.bincount(rows[held], minlength=n)
    sums = np.bincount(rows[held], weights=found[held], minlength=n)
    means = np.full(n, np.nan)
    means[counts > 0] = sums[counts > 0] / counts[counts > 0]
    return means


def _notes(
    backbone: Backbone,
    layers: Sequence[Layer],
    drawn: Sequence[_Drawn],
    rectifiers: Sequence[int],
    maker: _Maker,
) -> list[str]:
    sent = "its activation" if maker.start == "activation" else "one"
    notes = [
        f"Rule {maker.rule}; sent back from each unit is {sent}, from all others zero. Each "
        "projection has its own scale: grey is zero.",
        "The control has random weights of the same mean and spread in every layer, and sends the "
        "same back from the same units and places.",
    ]
    for layer, found, count in zip(layers, drawn, rectifiers, strict=True):
        dead = layer.shape[0] - found.alive
        if dead:
            notes.append(
                f"{backbone.name}, {layer.name}: no image drives {dead} of {layer.shape[0]} units "
                "above 0."
            )
        if maker.rule != "gradient" and not count:
            notes.append(
                f"{backbone.name}, {layer.name}: no rectifier lies between it and the image, so "
                f"{maker.rule} is the plain gradient there."
            )
    return notes
