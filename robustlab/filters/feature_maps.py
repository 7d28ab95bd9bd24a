"""Feature maps of images at any layer: which units answer most strongly, and where on the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.adversarial.images import exact_kernels, load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters.convolutions import pick
from robustlab.filters.sheets import Pixels, boxed, colours, fitting, grid
from robustlab.filters.whereabouts import boxes_of, known_maps
from robustlab.hooks import Layer, counted, find_layers, observe
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.registry import probe

__all__ = ["feature_maps"]

ROOM = 64  # pixels of a map
LAYERS = 6  # of the overview
ALL = 64  # maps of one layer


@probe("feature_maps", scope="set", version=2)
def feature_maps(
    backbone: Backbone,
    data: Data,
    *,
    layer: str = "",
    units: int = 8,
    images: int = 64,
    batch: int = 32,
) -> Outcome:
    """Feature maps of the first image, and the strongest units of each image at every layer.

    Arrays [n, layers, units], strongest first: ``unit`` (channel; -1 where a layer has fewer or the
    image was left out), ``value`` (its largest activation), ``row`` and ``column`` of the cell on
    the map. Where there are ReLUs, a column ``active``: the share of the channels behind them that
    the image makes exceed 0 somewhere, meant where ``measured``. ``layer``, ``module``, ``shape``
    [layers, 3]; ``silent`` [layers]: channels that none of the ``looked_at`` images makes exceed 0.
    Of the first image ``box`` [layers, 4]: top, left, bottom, right of the pixels that the
    strongest cell depends on (ends not included; -1: none).

    layer: one of them; left out, an overview of maps and vectors
    units: how many of the strongest of each image are kept and, in the overview, drawn
    images: at most so many images; 0: all
    batch: images at a time
    """
    if units < 1 or images < 0 or batch < 1:
        raise BadRequest(f"units={units}, images={images}, batch={batch}: 'feature_maps' needs one")
    with exact_kernels(), counted(backbone.network) as passes:
        layers, notes = _layers(backbone, data, layer)
        n = min(len(data), images or len(data))
        found = _Strongest(layers, len(data), units)
        for first in range(0, n, batch):
            found.add(backbone, data, range(first, min(first + batch, n)))
        drawn = layers if layer else _overview(layers)
        maps = _maps(backbone, data, drawn)
        box = np.full((len(layers), 4), -1, np.int32)
        places = [layers.index(one) for one in drawn]
        box[places] = boxes_of(backbone, data, drawn, found.cells(places))
    picture = _one(maps[0], box[0], data, found) if layer else _many(maps, box[places], data, found)
    return Outcome(
        {"id": np.array(data.ids), **found.samples(n)},
        arrays={**found.arrays(n), "box": box},
        metrics={"active": Metric("active", among="measured", share=True)}
        if found.rectified
        else {},
        pictures=[Picture("feature maps", picture, _caption(backbone, data, drawn, bool(layer)))],
        notes=notes,
        cost={"forward": float(sum(passes)), "backward": 0.0},
    )


def _layers(backbone: Backbone, data: Data, name: str) -> tuple[list[Layer], list[str]]:
    """The layers, or the one asked for; and a note of those that are no maps of the image."""
    image = load_pixels(data, [0], backbone)[0].to(backbone.dtype)
    every, _ = find_layers(backbone.network, image.repeat(2, 1, 1, 1))
    found, unknown = known_maps(backbone.network, backbone.input_shape, every)
    if name in unknown:
        raise BadRequest(
            f"{name!r} of {backbone.name} gives four dimensions whose rows and columns are not "
            "known to be the image's (heads and tokens, perhaps); `retrieval` looks at any layer"
        )
    if not found:
        raise BadRequest(f"{backbone.name} has no layer whose rows and columns are known")
    if name:
        return [pick(backbone, found, name)], []
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    told = "rows and columns are not known to be the image's"
    return found, [f"Passed over, as {told}: {unknown[0]}{more}."] if unknown else []


def _overview(layers: Sequence[Layer]) -> list[Layer]:
    """Evenly spread over the maps; where there are none, over the vectors."""
    maps = [one for one in layers if one.kind == "map"] or list(layers)
    places = np.linspace(0, len(maps) - 1, min(LAYERS, len(maps))).round().astype(int)
    return [maps[i] for i in dict.fromkeys(places.tolist())]


class _Strongest:
    """The strongest units of each image, filled batch by batch."""

    def __init__(self, layers: Sequence[Layer], n: int, units: int) -> None:
        self.layers = list(layers)
        shape = (n, len(layers), units)
        self.unit, self.value = np.full(shape, -1, np.int32), np.full(shape, np.nan, np.float32)
        self.row, self.column = np.full(shape, -1, np.int16), np.full(shape, -1, np.int16)
        self.highest = [np.full(one.shape[0], -np.inf) for one in layers]
        rectified = [one for one in layers if one.module.startswith("ReLU")]
        self.rectified = {one.name for one in rectified}
        self.channels, self.above = sum(one.shape[0] for one in rectified), np.zeros(n, np.int64)

    def add(self, backbone: Backbone, data: Data, rows: Sequence[int]) -> None:
        x = load_pixels(data, rows, backbone)[0].to(backbone.dtype)
        known = {one.name: place for place, one in enumerate(self.layers)}

        def see(name: str, module: nn.Module, output: Tensor) -> None:
            if name in known:
                self._take(known[name], rows, self.layers[known[name]].standard(output))

        observe(backbone.network, x, see)

    def _take(self, place: int, rows: Sequence[int], output: Tensor) -> None:
        maps = output.detach().reshape(len(output), output.shape[1], -1)
        width = output.shape[3] if output.ndim == 4 else 1
        high, cell = maps.max(dim=2)
        value, unit = high.topk(min(self.unit.shape[2], high.shape[1]), dim=1)
        at = cell.gather(1, unit).cpu().numpy()
        here = np.ix_(list(rows), [place], range(unit.shape[1]))
        self.unit[here] = unit.cpu().numpy()[:, None]
        self.value[here] = value.float().cpu().numpy()[:, None]
        self.row[here], self.column[here] = (at // width)[:, None], (at % width)[:, None]
        if self.layers[place].name in self.rectified:
            self.above[list(rows)] += (high > 0).sum(dim=1).cpu().numpy()
        over = high.amax(dim=0).double().cpu().numpy()
        self.highest[place] = np.maximum(self.highest[place], over)

    def cells(self, places: Sequence[int]) -> list[tuple[int, int, int]]:
        """(channel, row, column) of the first image's strongest cell."""
        return [
            (int(self.unit[0, p, 0]), int(self.row[0, p, 0]), int(self.column[0, p, 0]))
            for p in places
        ]

    def samples(self, n: int) -> dict[str, NDArray[Any]]:
        """Of each of the first n images which share of the channels behind ReLUs it drives."""
        measured = np.arange(len(self.above)) < n
        if not self.rectified:
            return {}
        return {
            "measured": measured,
            "active": np.where(measured, self.above / self.channels, np.nan),
        }

    def arrays(self, n: int) -> dict[str, NDArray[Any]]:
        return {
            "unit": self.unit,
            "value": self.value,
            "row": self.row,
            "column": self.column,
            "layer": np.array([one.name for one in self.layers]),
            "module": np.array([one.module for one in self.layers]),
            "shape": np.array([(*one.shape, 1, 1)[:3] for one in self.layers], np.int32),
            "silent": np.array([(high <= 0).sum() for high in self.highest], np.int32),
            "looked_at": np.array(n, np.int32),
        }


def _maps(backbone: Backbone, data: Data, layers: Sequence[Layer]) -> list[NDArray[Any]]:
    """What the layers give for the first image, [C, h, w] each."""
    wanted = {one.name: one for one in layers}
    kept: dict[str, NDArray[Any]] = {}

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        if name in wanted:
            held = wanted[name].standard(output)[0].double().cpu().numpy()
            kept[name] = held if held.ndim == 3 else held[:, None, None]

    observe(backbone.network, load_pixels(data, [0], backbone)[0].to(backbone.dtype), see)
    return [kept[one.name] for one in layers]


def _image(data: Data) -> Pixels:
    levels = data.batch_8bit([0])[0]
    return np.asarray(levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0], np.uint8)


def _framed(data: Data, box: NDArray[Any]) -> Pixels:
    tile = _image(data)
    return boxed(tile, box.tolist(), ROOM) if box[0] >= 0 else fitting(tile, ROOM)


def _many(
    maps: Sequence[NDArray[Any]], boxes: NDArray[Any], data: Data, found: _Strongest
) -> Pixels:
    """A row a layer: the image with the strongest cell's box, then the strongest units' maps."""
    rows = []
    for held, box in zip(maps, boxes, strict=True):
        tiles = _tiles(held, found.unit.shape[2])
        rows.append([_framed(data, box), *tiles])
    return grid(rows)


def _tiles(held: NDArray[Any], most: int) -> list[Pixels]:
    """The maps of the channels with the largest activations, on one scale; of a vector its values
    as cells.
    """
    if held.shape[1:] == (1, 1):
        return [_vector(held[:, 0, 0])]
    chosen = np.argsort(-held.max(axis=(1, 2)), kind="stable")[:most]
    low, high = float(held[chosen].min()), float(held[chosen].max())
    return [fitting(colours(held[c], low, high), ROOM) for c in chosen]


def _vector(values: NDArray[Any]) -> Pixels:
    """All values in reading order, a cell each; what the last row lacks is left at the lowest."""
    wide = int(np.ceil(np.sqrt(len(values))))
    low, high = float(values.min()), float(values.max())
    full = np.full(wide * -(-len(values) // wide), low)
    full[: len(values)] = values
    return fitting(colours(full.reshape(-1, wide), low, high), ROOM)


def _one(held: NDArray[Any], box: NDArray[Any], data: Data, found: _Strongest) -> Pixels:
    """The image, and as many maps of one layer as there is room for, in the order of strength."""
    tiles = [_framed(data, box), *_tiles(held, ALL)]
    return grid([tiles[i : i + 9] for i in range(0, len(tiles), 9)])


def _caption(backbone: Backbone, data: Data, drawn: Sequence[Layer], one: bool) -> str:
    names = ", ".join(layer.name for layer in drawn)
    how = f"layer {names}, strongest first" if one else f"a row a layer, top to bottom {names}"
    return (
        f"{data.ids[0]} in {backbone.name}: {how}; dark to bright from the layer's smallest to its "
        "largest value. The frame marks the pixels that the strongest cell depends on."
    )
