"""The kernels of every convolution: by input channel as pictures, by layer as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters.convolutions import Convolution, find_convolutions, pick, told_of_remade
from robustlab.filters.kernel_statistics import Facts, describe, histogram
from robustlab.filters.sheets import centred, fitting, grid
from robustlab.outcome import Outcome, Picture
from robustlab.registry import probe

__all__ = ["kernels"]

ROOM = 18
DRAWN = 3  # layers, where none is named


@probe("kernels", scope="set", version=2)
def kernels(
    backbone: Backbone, data: Data, *, layer: str = "", filters: int = 16, channels: int = 24
) -> Outcome:
    """Kernels of the convolutions by input channel, and per layer which are dead or alike.

    Images take no part in it: what it counts are filters, all there are, so that a run's summary,
    whose intervals are over images, has no row of it.
    Arrays, one row a layer: ``layer``, ``filters``, ``channels``,
    ``kernel``, ``stride``, ``dead``, ``channel_dead``, ``pairs``, ``above_nyquist`` (share of the
    layer's energy), ``frequency`` (mean, cycles a pixel), ``counts`` and ``edges`` of the weights.
    By name: ``dead_filters`` and ``dead_channels`` [k, 2] (layer, number), ``alike`` [k, 3] (layer,
    filter, filter) with ``cosine`` [k].

    layer: which one to draw; left out, three of those behind the first, evenly spread
    filters: at most so many of a picture, those of the largest norm
    channels: at most so many input channels of a picture, those of the largest norm
    """
    if min(filters, channels) < 1:
        raise BadRequest(f"filters={filters}, channels={channels}: 'kernels' draws at least one")
    found = find_convolutions(backbone)
    facts = [describe(one.weight, one.stride, one.groups) for one in found]
    shown = [pick(backbone, found, layer, "convolution")] if layer else _spread(found)
    pictures = [_picture(one, facts[found.index(one)], filters, channels) for one in shown]
    return Outcome(
        {"id": np.array(data.ids)},
        arrays={**_layers(found, facts), **_named(facts)},
        pictures=pictures,
        notes=told_of_remade(found),
        cost={"forward": 2.0, "backward": 0.0},
    )


def _spread(found: Sequence[Convolution]) -> list[Convolution]:
    """Behind the first, which `first_layer` draws; kernels of 1x1 show nothing but one weight, and
    are drawn where there is nothing else.
    """
    deep = list(found[1:]) or list(found)
    wide = [one for one in deep if max(one.weight.shape[2:]) > 1] or deep
    places = np.linspace(0, len(wide) - 1, min(DRAWN, len(wide))).round().astype(int)
    return [wide[i] for i in places]


def _layers(found: Sequence[Convolution], facts: Sequence[Facts]) -> dict[str, NDArray[Any]]:
    counted = [histogram(one.weight) for one in found]
    energy = [np.square(one.norm) for one in facts]
    return {
        "layer": np.array([one.name for one in found]),
        "filters": np.array([len(one.norm) for one in facts], np.int32),
        "channels": np.array([len(one.channel_norm) for one in facts], np.int32),
        "kernel": np.array([one.weight.shape[2:] for one in found], np.int32),
        "stride": np.array([one.stride for one in found], np.int32),
        "dead": np.array([one.dead.sum() for one in facts], np.int32),
        "channel_dead": np.array([one.channel_dead.sum() for one in facts], np.int32),
        "pairs": np.array([len(one.pairs) for one in facts], np.int32),
        "above_nyquist": np.array(
            [_mean(one.above_nyquist, e) for one, e in zip(facts, energy, strict=True)]
        ),
        "frequency": np.array([_mean(one.frequency, ~one.dead) for one in facts]),
        "counts": np.stack([counts for counts, _ in counted]),
        "edges": np.stack([edges for _, edges in counted]),
    }


def _mean(values: NDArray[Any], weights: NDArray[Any]) -> float:
    held = np.isfinite(values) & (weights > 0)
    return float(np.average(values[held], weights=weights[held])) if held.any() else float("nan")


def _named(facts: Sequence[Facts]) -> dict[str, NDArray[Any]]:
    dead, channels, alike, cosine = [], [], [], []
    for place, one in enumerate(facts):
        dead += [(place, i) for i in np.flatnonzero(one.dead)]
        channels += [(place, i) for i in np.flatnonzero(one.channel_dead)]
        alike += [(place, *pair) for pair in one.pairs.tolist()]
        cosine += one.cosine.tolist()
    return {
        "dead_filters": np.array(dead, np.int32).reshape(-1, 2),
        "dead_channels": np.array(channels, np.int32).reshape(-1, 2),
        "alike": np.array(alike, np.int32).reshape(-1, 3),
        "cosine": np.array(cosine, np.float64),
    }


def _picture(one: Convolution, facts: Facts, filters: int, channels: int) -> Picture:
    """A row a filter, a column an input channel, all on one scale."""
    rows = _largest(facts.norm, filters)
    within = np.sqrt(np.square(one.weight).sum(axis=(0, 2, 3)))
    columns = _largest(within, channels)
    end = float(np.abs(one.weight[np.ix_(rows, columns)]).max(initial=0.0))
    tiles = [[fitting(centred(one.weight[r, c], end), ROOM) for c in columns] for r in rows]
    count, of = one.weight.shape[:2]
    part = " of its group" if one.groups > 1 else ""
    return Picture(
        f"kernels {one.name}",
        grid(tiles),
        f"{one.name}: {len(rows)} of {count} filters as rows, {len(columns)} of {of} input "
        f"channels{part} as columns, the strongest, in their order; one scale, mid grey is zero.",
    )


def _largest(norm: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    return np.sort(np.argsort(-norm, kind="stable")[:most])
