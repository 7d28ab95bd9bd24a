"""A training as its page reads it: the card, and the arrays beside it, neither of them trusted.

Whatever is missing, of a wrong kind or beyond all reason is left out, and a sentence says so; no
card that is a card stops the page.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.backbones.cards import read_card
from robustlab.statistics import Rate
from robustlab.verdict import code, plural

__all__ = ["Layers", "Snapshots", "Training", "number", "rate_of", "read_training", "text", "whole"]

Floats = NDArray[np.float64]

LONGEST = 160  # characters of a text that the page repeats
LISTED = 12  # entries of a list that the page repeats
LARGEST = 1e30  # a number beyond this is no loss and no learning rate
UNPACKED = 256 * 2**20  # bytes of arrays that are read at most

# Column of the curve -> what it is, and the largest value that it can hold.
COLUMNS = {
    "train_loss": ("training loss", LARGEST),
    "val_loss": ("validation loss", LARGEST),
    "train_accuracy": ("training accuracy", 1.0),
    "val_accuracy": ("validation accuracy", 1.0),
    "val_robust_accuracy": ("robust validation accuracy", 1.0),
    "val_single_step_accuracy": ("validation accuracy under a single step", 1.0),
    "lr": ("learning rate", LARGEST),
}
_ARRAYS = ("layers", "gradient_norm", "weight_norm", "filters", "filter_epochs")


@dataclass(frozen=True)
class Layers:
    """Names of the layers, input first, and norms of shape [epochs, layers], NaN where frozen."""

    names: tuple[str, ...]
    gradient: Floats | None
    weight: Floats | None


@dataclass(frozen=True)
class Snapshots:
    """First-layer filters, float [snapshots, K, C, h, w], and after which epochs they were taken
    (0: before training)."""

    epochs: tuple[int, ...]
    filters: Floats


@dataclass(frozen=True)
class Training:
    """A card and the arrays beside it, as far as they hold.

    Attributes:
        card: as it was read.
        stem: what the files are called, without their endings.
        curve: column -> float [epochs], NaN where nothing stands.
        epochs: length of the curve.
        kept: the epoch whose weights were kept, counted from 1.
        missing: sentences on what could not be read.
    """

    card: Mapping[str, Any]
    stem: str
    curve: Mapping[str, Floats]
    epochs: int
    kept: int | None
    layers: Layers | None
    snapshots: Snapshots | None
    missing: tuple[str, ...]

    @property
    def name(self) -> str:
        """The network's name."""
        return text(self.card["name"])

    def table(self, *keys: str) -> Mapping[str, Any]:
        """A table of the card by its keys; empty where there is none."""
        found: Any = self.card
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def at(self, column: str, epoch: int | None) -> float | None:
        """The value of a column in one epoch, counted from 1."""
        values = self.curve.get(column)
        if values is None or epoch is None:
            return None
        value = float(values[epoch - 1])
        return value if math.isfinite(value) else None


def read_training(card_path: Path) -> Training:
    """Read ``NAME.json`` and, where it lies beside it, ``NAME.training.npz``.

    Raises:
        BadRequest: the file is no card.
    """
    card = read_card(card_path)
    missing: list[str] = []
    curve = _curve(card.get("curve"), missing)
    epochs = max(map(len, curve.values()), default=0)
    arrays = _arrays(card_path.with_name(f"{card_path.stem}.training.npz"), missing)
    return Training(
        card=card,
        stem=card_path.stem,
        curve=curve,
        epochs=epochs,
        kept=_kept(card.get("best_epoch"), epochs, missing),
        layers=_layers(arrays, missing) if arrays else None,
        snapshots=_snapshots(arrays, missing) if arrays else None,
        missing=tuple(missing),
    )


def text(value: Any) -> str:
    """A value of the card in a few words."""
    if isinstance(value, Mapping):
        return plural(len(value), "keys")
    if isinstance(value, list | tuple):
        plain = len(value) <= LISTED and not any(isinstance(v, list | Mapping) for v in value)
        found = ", ".join(map(text, value)) if plain else plural(len(value), "values")
    elif value is None or isinstance(value, bool):
        found = {None: "none", True: "true", False: "false"}[value]
    else:
        found = f"{value:.6g}" if isinstance(value, float) else str(value)
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 1]}…"


def whole(value: Any) -> int | None:
    """A whole number as counts are, from 0 to a milliard, or None for anything else."""
    right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9
    return value if right else None


def number(value: Any) -> float | None:
    """A number that is not beyond all reason, or None; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST else None


def rate_of(value: Any) -> Rate | None:
    """A rate of the card with its interval, or None where it is not one."""
    if not isinstance(value, Mapping):
        return None
    found = [number(value.get(key)) for key in ("value", "low", "high")]
    share, low, high = (-1.0 if one is None else one for one in found)
    n = whole(value.get("n"))
    return Rate(share, low, high, n) if n and 0 <= low <= share <= high <= 1 else None


def _curve(curve: Any, missing: list[str]) -> dict[str, Floats]:
    """Every known column as far as it is a list of numbers, all of one length."""
    given = curve if isinstance(curve, Mapping) else {}
    lists = {name: given[name] for name in COLUMNS if isinstance(given.get(name), list)}
    epochs = max(map(len, lists.values()), default=0)
    found = {}
    for name, values in lists.items():
        what, largest = COLUMNS[name]
        column = np.full(epochs, np.nan)
        read = [number(one) for one in values]
        column[: len(read)] = [math.nan if one is None else one for one in read]
        column[(column < (-LARGEST if name.endswith("loss") else 0)) | (column > largest)] = np.nan
        gaps = int(np.isnan(column).sum())
        if gaps < epochs:
            found[name] = column
        if gaps:
            missing.append(f"The {what} of {plural(gaps, 'epochs')} of {epochs} is no number.")
    if not found:
        missing.append("The card holds no curve.")
    return found


def _kept(value: Any, epochs: int, missing: list[str]) -> int | None:
    kept = whole(value)
    if kept and kept <= epochs:
        return kept
    if epochs:
        missing.append("Which epoch's weights were kept is not recorded.")
    return None


def _arrays(path: Path, missing: list[str]) -> dict[str, NDArray[Any]]:
    """The known arrays of an archive; pickle is never read."""
    if not path.is_file():
        missing.append(
            "Filters, gradients and weights over the epochs were not recorded: there is no "
            f"{code(text(path.name))} beside the card."
        )
        return {}
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(one.file_size for one in packed.infolist()) > UNPACKED:
                raise ValueError("it is larger than any training's")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in _ARRAYS if name in archive.files}
    except (
        ValueError,
        TypeError,
        OSError,
        EOFError,
        MemoryError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = text(str(error)).rstrip(".")
        missing.append(f"The arrays beside the card cannot be read: {reason}.")
        return {}


def _layers(arrays: Mapping[str, NDArray[Any]], missing: list[str]) -> Layers | None:
    names = arrays.get("layers")
    if names is None or names.ndim != 1 or names.dtype.kind != "U" or not len(names):
        missing.append("The names of the layers are not recorded, nor can their norms be read.")
        return None
    norms: list[Floats | None] = []
    for name, what in (("gradient_norm", "gradient norms"), ("weight_norm", "weight norms")):
        found = arrays.get(name)
        holds = found is not None and found.ndim == 2 and found.dtype.kind in "fiu"
        if found is not None and holds and len(found) and found.shape[1] == len(names):
            norms.append(np.where(np.asarray(found) < 0, np.nan, found).astype(np.float64))
        else:
            missing.append(f"The {what} of the layers are not recorded, or not one a layer.")
            norms.append(None)
    if all(one is None for one in norms):
        return None
    return Layers(tuple(map(text, names.tolist())), *norms)


def _snapshots(arrays: Mapping[str, NDArray[Any]], missing: list[str]) -> Snapshots | None:
    filters, epochs = arrays.get("filters"), arrays.get("filter_epochs")
    if filters is None or epochs is None:
        missing.append("No filters of the first layer were recorded.")
        return None
    right = filters.ndim == 5 and filters.dtype.kind == "f" and filters.size
    if not right or epochs.dtype.kind not in "iu" or epochs.shape != filters.shape[:1]:
        missing.append("The filters of the first layer are not of the shape that they should have.")
        return None
    return Snapshots(tuple(epochs.tolist()), filters.astype(np.float64))
