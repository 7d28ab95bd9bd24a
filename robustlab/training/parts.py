"""The images of a training: the three parts, their pixel statistics, and the order of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from robustlab.data import Data, load_data
from robustlab.data.sources import with_split
from robustlab.errors import BadRequest
from robustlab.training.recipe import Recipe

__all__ = ["check_apart", "chunks", "epoch_order", "load_parts", "pixel_statistics"]

_PARTS = ("train", "val", "test")
_VALUES = 2**21  # pixel values looked at together: bounds the memory, and fills a processor
_MOST = 1024  # images looked at together


def load_parts(recipe: Recipe) -> dict[str, Data]:
    """``train``, ``val`` and ``test`` as the recipe's ``[data]`` says.

    Raises:
        BadRequest: a source that cannot be read, parts of different classes, or a single class.
    """
    try:
        parts = {part: load_data(_source(recipe, part)) for part in _PARTS}
        parts = _taken(parts, recipe.data.take, recipe.seed)
    except BadRequest as error:
        raise error.inside(f"recipe {recipe.name}, [data]") from None
    train = parts["train"]
    for part in ("val", "test"):
        if parts[part].classes != train.classes:
            raise BadRequest(
                f"recipe {recipe.name}, [data]: {part} has the classes "
                f"{_few(parts[part].classes)}, train has {_few(train.classes)}; all parts need "
                "the same classes in the same order"
            )
    if len(np.unique(train.labels)) < 2:
        raise BadRequest(
            f"recipe {recipe.name}, [data]: all {len(train)} training images are of one class; "
            "there is nothing to learn, give images of two classes at least"
        )
    return parts


def check_apart(recipe: Recipe, parts: dict[str, Data]) -> None:
    """Refuse parts that are the same images: the figures would be of what was learnt by heart."""
    for first, second in combinations(_PARTS, 2):
        if parts[first].fingerprint == parts[second].fingerprint:
            raise BadRequest(
                f"recipe {recipe.name}, [data]: {first} and {second} are the same images; what "
                "chooses or judges a network must not be what it learnt from, give others"
            )


def _source(recipe: Recipe, part: str) -> str:
    given: str = getattr(recipe.data, part)
    return given or with_split(recipe.data.source, part)


def _taken(parts: dict[str, Data], take: int, seed: int) -> dict[str, Data]:
    if not take:
        return parts
    share = take / len(parts["train"])
    counts = {part: max(1, round(share * len(data))) for part, data in parts.items()}
    return {part: data.take(counts[part], seed) for part, data in parts.items()}


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")


def chunks(data: Data) -> Iterator[slice]:
    """Slices that together go through the data, each small enough to be held as floats."""
    size = max(1, min(_MOST, _VALUES // math.prod(data.shape)))
    return (slice(start, start + size) for start in range(0, len(data), size))


def pixel_statistics(data: Data) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels a channel, on the [0, 1] scale, streamed.

    Of 8-bit images they are exact: sums of whole numbers, which float64 holds up to 2^53.

    Raises:
        BadRequest: a channel in which all pixels are equal.
    """
    channels = data.shape[0]
    first, second = np.zeros(channels), np.zeros(channels)
    for rows in chunks(data):
        levels = data.batch_8bit(rows) if data.is_8bit else data.batch(rows)
        pixels = levels.astype(np.float64)
        first += pixels.sum(axis=(0, 2, 3))
        second += (pixels * pixels).sum(axis=(0, 2, 3))
    n = len(data) * data.shape[1] * data.shape[2]
    variance = (n * second - first * first) / n**2
    if not (variance > 0).all():
        raise BadRequest(
            f"channel {int(np.argmin(variance))} of {data.name} is the same in every pixel and "
            "cannot be brought to a standard deviation of 1; give [data] normalise = false"
        )
    scale = 255 if data.is_8bit else 1
    mean, std = first / n / scale, np.sqrt(variance) / scale
    return tuple(mean.tolist()), tuple(std.tolist())


def epoch_order(labels: Tensor, balanced: bool, generator: torch.Generator) -> Tensor:
    """Rows of one epoch, int64 [n]: each once, or balanced.

    Balanced: rounds of one image of each class in a random order. A class is gone through in
    shuffled passes, so small ones repeat, and of large ones each epoch shows another part.
    """
    if not balanced:
        return torch.randperm(len(labels), generator=generator)
    members = [(labels == one).nonzero().squeeze(1) for one in np.unique(labels.numpy())]
    rounds = math.ceil(len(labels) / len(members))
    columns = [_repeated(rows, rounds, generator) for rows in members]
    grid = torch.stack(columns, dim=1)
    places = torch.rand(grid.shape, generator=generator).argsort(dim=1)
    return grid.gather(1, places).flatten()[: len(labels)]


def _repeated(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    passes = range(math.ceil(count / len(rows)))
    drawn = [rows[torch.randperm(len(rows), generator=generator)] for _ in passes]
    return torch.cat(drawn)[:count]
