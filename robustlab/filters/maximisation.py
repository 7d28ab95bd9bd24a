"""What would drive a unit, a channel or a class most: images made for it.

Erhan et al. (2009); in the parametrisation of Olah et al. (2017): Fourier space, jitter,
decorrelated colours, and a diversity term for several answers. Beside the activation reached stands
the strongest of the data set: an image made only tells something where it reaches further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters.deconvnet import asked_layers
from robustlab.filters.fourier import Painter, colour_mixing
from robustlab.filters.maximise import Target, likeness, maximise, score
from robustlab.filters.projection import layer_output
from robustlab.filters.tiles import BACK, grid, reduced, visible
from robustlab.hooks import counted, find_layers, observe
from robustlab.outcome import Outcome, Picture
from robustlab.registry import probe

__all__ = ["maximisation"]

MOST = 64  # pixels of the longest side of a picture in the grid


@probe("maximisation", scope="set", version=1)
def maximisation(
    backbone: Backbone,
    data: Data,
    *,
    layers: tuple[str, ...] = (),
    kinds: tuple[str, ...] = ("unit", "channel", "class"),
    channels: int = 3,
    classes: int = 5,
    steps: int = 96,
    rate: float = 0.1,
    jitter: int = 1,
    diversity: int = 4,
    weight: float = 1.0,
    seed: int = 0,
    batch: int = 64,
) -> Outcome:
    """Images that drive units, channels and classes most, and how far beyond the data they get.

    Arrays, of t targets: ``kind``, ``layer`` text and ``channel`` int [t]; ``reached`` and
    ``strongest`` float [t], the activation of the image made, as 8-bit pixels, and the largest of
    the data; ``row`` int [t], the image that has it; ``diverse`` float [l, diversity], reached by
    the images of the diversity row of each layer, and ``diverse_likeness`` [l], the mean cosine of
    their Gram matrices there. Column ``strongest``: for how many targets the
    image is the strongest. Pictures: ``maximised``, a row a kind and layer, of each target the
    image made and the strongest of the data; ``diversity``, a row a layer, its middle channel.

    layers: names of layers of units and channels; none: the last map of each size, at most three
    kinds: unit (the middle cell of a map), channel (the mean of a map), class (a logit)
    channels: channels of a layer, evenly spread
    classes: at most so many classes
    steps: steps of Adam
    rate: its step size
    jitter: each step but the last quarter sees the image rolled by up to so many pixels
    diversity: images of the diversity row; 0: none
    weight: how much unlikeness counts in it
    seed: with each target's name it decides the first image and the jitter
    batch: images at a time
    """
    _check(kinds, channels, classes, steps, rate, jitter, diversity, batch)
    first = load_pixels(data, [0], backbone)[0].to(backbone.dtype)
    with counted(backbone.network) as passes:
        targets = _targets(backbone, first, layers, kinds, channels, classes)
        top, rows = _strongest(backbone, data, targets, batch)
        painter = Painter(data.shape, colour_mixing(data), first)
        made = [
            maximise(backbone.network, [t], painter, steps, rate, jitter, seed)[0] for t in targets
        ]
        reached = np.array([_reached(backbone, t, x) for t, x in zip(targets, made, strict=True)])
        rowed = _diverse_targets(targets) if diversity else []
        diverse = [
            maximise(backbone.network, [t] * diversity, painter, steps, rate, jitter, seed, weight)
            for t in rowed
        ]
        spread = [
            [_reached(backbone, t, x) for x in xs] for t, xs in zip(rowed, diverse, strict=True)
        ]
        alike = [_alike(backbone, t, xs) for t, xs in zip(rowed, diverse, strict=True)]
    samples = {"strongest": np.bincount(rows, minlength=len(data))}
    arrays: dict[str, Any] = {
        "kind": np.array([t.kind for t in targets]),
        "layer": np.array([t.layer.name for t in targets]),
        "channel": np.array([t.channel for t in targets]),
        "reached": reached,
        "strongest": top,
        "row": rows,
        "diverse_layer": np.array([t.layer.name for t in rowed], dtype=str),
        "diverse_channel": np.array([t.channel for t in rowed], np.int64),
        "diverse": np.array(spread).reshape(len(rowed), diversity),
        "diverse_likeness": np.array(alike, np.float64),
    }
    pictures = [_maximised(data, targets, made, rows)]
    if diverse:
        tiles = [visible(reduced(x, MOST)) for xs in diverse for x in xs]
        caption = ", ".join(t.name for t in rowed)
        pictures.append(Picture("diversity", grid(tiles, diversity, gap=2), caption))
    runs = len(targets) + diversity * len(rowed)
    return Outcome(
        samples,
        arrays,
        pictures,
        notes=_notes(backbone, targets, reached, top, painter, steps, jitter),
        cost={"forward": float(sum(passes)), "backward": float(steps * runs)},
    )


def _check(
    kinds: Sequence[str],
    channels: int,
    classes: int,
    steps: int,
    rate: float,
    jitter: int,
    diversity: int,
    batch: int,
) -> None:
    for kind in kinds:
        if kind not in ("unit", "channel", "class"):
            raise BadRequest(
                f"unknown kind {kind!r} of 'maximisation'; there is unit, channel, class"
            )
        if list(kinds).count(kind) > 1:
            raise BadRequest(f"kinds of 'maximisation': {kind!r} is given twice; leave one out")
    if not kinds:
        raise BadRequest("'maximisation' has nothing to do: give kinds, as ['class']")
    least = {"channels": (channels, 1), "classes": (classes, 1), "steps": (steps, 1)}
    least |= {"jitter": (jitter, 0), "diversity": (diversity, 0), "batch": (batch, 1)}
    for name, (number, low) in least.items():
        if number < low:
            raise BadRequest(f"{name}={number} of 'maximisation' is below {low}")
    if not rate > 0:
        raise BadRequest(f"rate={rate} of 'maximisation' must be above 0")


def _targets(
    backbone: Backbone,
    first: Tensor,
    names: Sequence[str],
    kinds: Sequence[str],
    channels: int,
    classes: int,
) -> list[Target]:
    found: list[Target] = []
    if set(kinds) & {"unit", "channel"}:
        for layer in asked_layers(backbone, first, names, "maximisation"):
            places = np.linspace(0, layer.shape[0] - 1, min(channels, layer.shape[0]))
            for kind in (k for k in kinds if k != "class"):
                found += [Target(kind, layer, int(c)) for c in places.round()]  # type: ignore[arg-type]
    if "class" in kinds:
        last = find_layers(backbone.network, first.repeat(2, 1, 1, 1))[0][-1]
        found += [Target("class", last, c) for c in range(min(classes, len(backbone.classes)))]
    return found


def _strongest(
    backbone: Backbone, data: Data, targets: Sequence[Target], batch: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The largest score of the data and the first image that has it, in one pass.

    Of a unit every cell of its map counts, not the middle one alone.
    """
    best = np.full(len(targets), -np.inf)
    rows = np.zeros(len(targets), np.int64)
    for begin in range(0, len(data), batch):
        chosen = range(begin, min(begin + batch, len(data)))
        x = load_pixels(data, chosen, backbone)[0].to(backbone.dtype)

        def see(name: str, module: nn.Module, output: Tensor, begin: int = begin) -> None:
            for place, target in enumerate(targets):
                if target.layer.name != name:
                    continue
                values = _everywhere(target, target.layer.standard(output))
                at = int(values.argmax())
                if float(values[at]) > best[place]:
                    best[place], rows[place] = float(values[at]), begin + at

        observe(backbone.network, x, see)
    return best, rows


def _everywhere(target: Target, output: Tensor) -> Tensor:
    values = output[:, target.channel]
    if target.kind == "unit" and values.ndim == 3:
        return values.amax((1, 2))
    return score(target, output)


def _reached(backbone: Backbone, target: Target, pixels: NDArray[np.uint8]) -> float:
    """The score of the image made, once rounded to the pixels of a PNG."""
    x = torch.tensor(pixels[None]).to(backbone.device, backbone.dtype) / 255
    with torch.inference_mode(False), torch.no_grad():
        return float(score(target, layer_output(backbone.network, target.layer, x))[0])


def _alike(backbone: Backbone, target: Target, images: Sequence[NDArray[np.uint8]]) -> float:
    """How like each other the images of a diversity row are at the target's layer."""
    if len(images) < 2:
        return float("nan")
    x = torch.tensor(np.stack(images)).to(backbone.device, backbone.dtype) / 255
    with torch.inference_mode(False), torch.no_grad():
        return float(likeness(layer_output(backbone.network, target.layer, x)))


def _diverse_targets(targets: Sequence[Target]) -> list[Target]:
    """Of each layer the middle one of the channels, else of the units, else of the classes."""
    for kind in ("channel", "unit", "class"):
        own = [t for t in targets if t.kind == kind]
        if own:
            names = dict.fromkeys(t.layer.name for t in own)
            apart = [[t for t in own if t.layer.name == name] for name in names]
            return [held[len(held) // 2] for held in apart]
    return []


def _maximised(
    data: Data,
    targets: Sequence[Target],
    made: Sequence[NDArray[np.uint8]],
    rows: NDArray[np.int64],
) -> Picture:
    """A row a kind and layer; of each target the image made, then the strongest of the data."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, target in enumerate(targets):
        groups.setdefault((target.kind, target.layer.name), []).append(place)
    columns = max(len(places) for places in groups.values())
    tiles: list[NDArray[np.uint8]] = []
    for places in groups.values():
        for place in places:
            strongest = data.batch_8bit([int(rows[place])])[0]
            tiles += [visible(reduced(x, MOST)) for x in (made[place], strongest)]
        blank = np.tile(np.array(BACK, np.uint8), (*tiles[0].shape[:2], 1))
        tiles += [blank] * (2 * (columns - len(places)))
    caption = "; ".join(
        ", ".join(targets[place].name for place in places) for places in groups.values()
    )
    return Picture("maximised", grid(tiles, 2 * columns, gap=2), caption)


def _notes(
    backbone: Backbone,
    targets: Sequence[Target],
    reached: NDArray[np.float64],
    top: NDArray[np.float64],
    painter: Painter,
    steps: int,
    jitter: int,
) -> list[str]:
    colours = (
        "colours mixed as in the data" if painter.mixing is not None else "channels as they are"
    )
    notes = [
        f"{steps} steps of Adam in Fourier space, {colours}. All but those of the last quarter see "
        f"the image rolled by up to {jitter} px; in the first, closed rectifiers pass what would "
        "open them. Reached is the activation of the finished image as 8-bit pixels.",
        "A unit is the middle cell of a map; the strongest of the data is over all its cells.",
    ]
    short = [t.name for t, a, b in zip(targets, reached, top, strict=True) if a <= b]
    if short:
        notes.append(
            f"{backbone.name}: not beyond the strongest of the data: {', '.join(short)}; take more "
            "steps or a larger rate before reading anything into these images."
        )
    return notes
