"""The answers of a retrieval as columns, arrays and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.data import Data
from robustlab.filters.sheets import BOX, Pixels, fitting, grid
from robustlab.outcome import Metric

__all__ = ["Told"]

ROOM = 48
DRAWN = 8  # queries of the picture


class Told:
    """The answers as columns, arrays and a picture."""

    def __init__(
        self,
        data: Data,
        chosen: NDArray[np.intp],
        before: tuple[NDArray[np.int32], NDArray[np.float32]],
        after: tuple[NDArray[np.int32], NDArray[np.float32]],
        prediction: NDArray[np.int64],
        found: Mapping[str, Any] | None,
    ) -> None:
        self.data, self.chosen = data, chosen
        self.before, self.after = before, after
        self.prediction, self.found = prediction, found

    def _spread(self, values: NDArray[Any], other: Any) -> NDArray[Any]:
        """Of the chosen images to all of them."""
        full = np.full((len(self.data), *values.shape[1:]), other, values.dtype)
        full[self.chosen] = values
        return full

    def samples(self) -> dict[str, NDArray[Any]]:
        labels, own = self.data.labels, self.data.labels[self.chosen]
        measured = self._spread(np.ones(len(self.chosen), bool), False)
        columns = {"same_class_before": _shares(labels[self.before[0]], own)}
        if self.found is not None:
            kept = [np.isin(b, a) for b, a in zip(self.before[0], self.after[0], strict=True)]
            columns |= {
                "same_class_after": _shares(labels[self.after[0]], own),
                "wrong_class_after": _shares(labels[self.after[0]], self.prediction),
                "kept": np.mean(kept, axis=1),
            }
        told = {name: self._spread(values, np.nan) for name, values in columns.items()}
        if self.found is not None:
            told["fooled"] = self._spread(self.found["fooled"], False)
        return {"id": np.array(self.data.ids), "measured": measured, **told}

    def metrics(self) -> dict[str, Metric]:
        found = {"same_class_before": Metric("same_class_before", among="measured", share=True)}
        if self.found is None:
            return found
        found["fooled"] = Metric("fooled", among="measured")
        for name in ("same_class_before", "same_class_after", "wrong_class_after", "kept"):
            found[f"{name}[fooled]"] = Metric(name, among="fooled", share=True)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {
            "before": self._spread(self.before[0], -1),
            "distance_before": self._spread(self.before[1], np.nan),
        }
        if self.found is not None:
            arrays["after"] = self._spread(self.after[0], -1)
            arrays["distance_after"] = self._spread(self.after[1], np.nan)
            arrays["prediction_after"] = self._spread(self.prediction, -1)
        return arrays

    def drawn(self) -> list[int]:
        """Places among the chosen: the first image, then those that were fooled."""
        fooled = np.ones(len(self.chosen), bool) if self.found is None else self.found["fooled"]
        rest = [int(i) for i in np.argsort(~fooled, kind="stable") if i]
        return [0, *rest][:DRAWN]

    def picture(self) -> Pixels:
        """A row a query: the image, its neighbours; the adversarial image, its neighbours."""
        rows: list[list[Pixels | None]] = []
        for i in self.drawn():
            clean = self.data.batch_8bit([int(self.chosen[i])])[0]
            row: list[Pixels | None] = [_tile(clean), None]
            row += [self._neighbour(i, int(r)) for r in self.before[0][i]]
            if self.found is not None:
                row += [None, _tile(self.found["pixels"][i]), None]
                row += [self._neighbour(i, int(r)) for r in self.after[0][i]]
            rows.append(row)
        return grid(rows, gap=3)

    def _neighbour(self, query: int, row: int) -> Pixels:
        """Framed where its class is not the image's."""
        tile = _tile(self.data.batch_8bit([row])[0])
        if self.data.labels[row] == self.data.labels[self.chosen[query]]:
            return tile
        framed = np.repeat(tile[..., None], 3, axis=2) if tile.ndim == 2 else tile.copy()
        for place in (slice(None, 2), slice(-2, None)):
            framed[place] = BOX
            framed[:, place] = BOX
        return framed

    def caption(self, layer: str, attack: str, eps: str, norm: str) -> str:
        ids = ", ".join(self.data.ids[int(self.chosen[i])] for i in self.drawn())
        after = "" if self.found is None else f"; then under {attack} (eps {eps}, {norm}), and its"
        return (
            f"A row an image ({ids}): the image and its nearest in {layer}{after}"
            f"{' nearest' if after else ''}. A frame marks another class than the image's."
        )


def _tile(levels: NDArray[np.uint8]) -> Pixels:
    return fitting(levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0], ROOM)


def _shares(labels: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray((labels == own[:, None]).mean(axis=1), np.float64)
