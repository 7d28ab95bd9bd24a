"""The filters that look at the pixels, as Krizhevsky, Sutskever and Hinton (2012, figure 3) drew
them: small pictures, and their spectra beside them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.filters.convolutions import find_convolutions, told_of_remade
from robustlab.filters.kernel_statistics import Facts, describe, histogram, order, spectra
from robustlab.filters.sheets import Pixels, centred, colours, fitting, squared
from robustlab.outcome import Outcome, Picture
from robustlab.registry import probe

__all__ = ["first_layer"]

ROOM = 33  # pixels of a filter
SPECTRUM = 32
DRAWN = 256  # filters of a grid; more are counted and not drawn


@probe("first_layer", scope="set", version=2)
def first_layer(backbone: Backbone, data: Data) -> Outcome:
    """The first convolution's filters and their spectra: which are dead, alike, coarse or fine.

    Images take no part in it: what it counts are filters, all there are, so that a run's summary,
    whose intervals are over images, has no row of it.
    Arrays, one value a filter unless said: ``norm``, ``dead``,
    ``frequency`` (cycles a pixel), ``orientation`` (degrees; 90 upright), ``coherence``,
    ``above_nyquist``, ``colour``, ``hue``; ``channel_norm`` and ``channel_dead`` [channels],
    ``pairs`` [k, 2] of filters alike and ``cosine`` [k], ``order`` of the grids, ``counts`` and
    ``edges`` of the histogram of weights, ``weight`` float32 [filters, channels, kh, kw].
    """
    layer = find_convolutions(backbone)[0]
    facts = describe(layer.weight, layer.stride, layer.groups)
    counts, edges = histogram(layer.weight)
    ranked = order(facts)
    return Outcome(
        {"id": np.array(data.ids)},
        arrays={
            "layer": np.array(layer.name),
            "stride": np.array(layer.stride, np.int32),
            "weight": layer.weight.astype(np.float32),
            **vars(facts),
            "order": ranked.astype(np.int32),
            "counts": counts,
            "edges": edges,
        },
        pictures=_pictures(layer.weight, facts, ranked[:DRAWN], layer.name),
        notes=[*_notes(len(layer.weight), layer.weight.shape[1]), *told_of_remade([layer])],
        cost={"forward": 2.0, "backward": 0.0},
    )


def _notes(filters: int, channels: int) -> list[str]:
    told = []
    if filters > DRAWN:
        told.append(f"Of {filters} filters {DRAWN} are drawn; the numbers are of all.")
    if channels not in (1, 3):
        told.append(f"The filters have {channels} channels; drawn is their mean over channels.")
    return told


def _pictures(
    weight: NDArray[np.float64], facts: Facts, ranked: NDArray[np.intp], name: str
) -> list[Picture]:
    shown = _seen(weight)
    largest = float(np.abs(shown).max(initial=0.0))
    joint = [fitting(centred(shown[i], largest), ROOM) for i in ranked]
    # Alone, a dead filter would show its rounding errors, blown up.
    ends = [np.inf if facts.dead[i] else float(np.abs(shown[i]).max()) for i in ranked]
    alone = [fitting(centred(shown[i], end), ROOM) for i, end in zip(ranked, ends, strict=True)]
    return [
        Picture(
            "together",
            squared(joint, wide=1.5),
            f"The filters of {name} on one scale, mid grey is zero: strong ones stand out.",
        ),
        Picture(
            "alone",
            squared(alone, wide=1.5),
            f"The same filters of {name}, each on its own scale; dead ones are left grey.",
        ),
        Picture(
            "spectra",
            squared(_spectra(weight, facts, ranked), wide=1.5),
            "Their Fourier magnitudes, each on its own scale, dark to bright: frequency zero in "
            "the middle, half a cycle a pixel at the rim.",
        ),
    ]


def _seen(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """[filters, h, w] or, of three channels, [filters, 3, h, w]."""
    return weight if weight.shape[1] == 3 else np.asarray(weight.mean(axis=1), np.float64)


def _spectra(weight: NDArray[np.float64], facts: Facts, ranked: NDArray[np.intp]) -> list[Pixels]:
    found = np.sqrt(spectra(weight[ranked], SPECTRUM))
    tiles = []
    for i, one in zip(ranked, found, strict=True):
        high = np.inf if facts.dead[i] else float(one.max())
        tiles.append(fitting(colours(one, 0.0, high), ROOM))
    return tiles
