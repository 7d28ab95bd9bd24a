"""The lecture's demonstration: a row of values moves by one; what changes after pooling it?

Nevin L. Zhang's slides on pooling move (0.1, 1, 0.2, 0.1) on by one value and find all four inputs
changed but only half of the outputs of max pooling. Here the same is asked of average pooling, blur
and polyphase sampling, of the same rows and of every row of one's own images, and beside what
changed in its place stands what is still different once the outputs are moved along as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.outcome import Metric, Outcome
from robustlab.registry import probe

__all__ = ["KINDS", "LECTURE", "Kind", "demonstration"]

# Goodfellow, Bengio and Courville, Deep Learning (2016), figure 9.8, as the lecture shows it.
# In tenths, so that sums are exact; the first value is the one that comes in when the row moves.
LECTURE = (3, 1, 10, 2, 1)
BATCH = 64
ROUNDING = 1e-9  # two values nearer to each other than this are one


@dataclass(frozen=True)
class Kind:
    """One way to pool rows.

    Attributes:
        name: ``max``, ``avg``, ``blur`` (binomial 1 2 1 over 4) or ``polyphase`` (Chaman and
            Dokmanic 2021: of the samplings, the one of largest l2 norm).
        width: values that an output looks at; odd with stride 1, for an output in each place.
        stride: values from one output to the next.
    """

    name: str
    width: int
    stride: int

    @property
    def label(self) -> str:
        """``max, width 3, stride 1``."""
        return f"{self.name}, width {self.width}, stride {self.stride}"

    def pool(self, x: Tensor) -> Tensor:
        """[n, C, H, W] to [n, C, H, W / stride], along each row.

        With stride 1 there is an output in each place: at the borders max and avg look at the
        values there are, blur at the border's value again.

        Raises:
            ValueError: the stride does not divide W.
        """
        if x.shape[-1] % self.stride:
            raise ValueError(f"{x.shape[-1]} values do not divide by {self.stride}")
        if self.name == "polyphase":
            return self._polyphase(x)
        if self.name == "blur":
            left, right = x[..., :1], x[..., -1:]
            long = torch.cat([left, x, right], dim=-1)
            smooth = (long[..., :-2] + 2 * long[..., 1:-1] + long[..., 2:]) / 4
            return smooth[..., :: self.stride]
        if self.name == "max":
            return self._windows(x, -torch.inf).amax(dim=-1)
        there = self._windows(torch.ones_like(x), 0.0).sum(dim=-1)
        return self._windows(x, 0.0).sum(dim=-1) / there

    @property
    def _sides(self) -> tuple[int, int]:
        left = (self.width - 1) // 2 if self.stride == 1 else 0
        return left, self.width - left - self.stride

    def _windows(self, x: Tensor, beyond: float) -> Tensor:
        padded = functional.pad(x, self._sides, value=beyond)
        return padded.unfold(-1, self.width, self.stride)

    def _polyphase(self, x: Tensor) -> Tensor:
        phases = torch.stack([x[..., i :: self.stride] for i in range(self.stride)])
        chosen = phases.square().sum(dim=-1).argmax(dim=0)
        return phases.gather(0, chosen[None, ..., None].expand(1, *phases.shape[1:]))[0]

    def concerned(self, changed: Tensor) -> Tensor:
        """Outputs that look at a changed input, bool; of polyphase sampling, at it or a neighbour
        among which one is chosen.
        """
        if self.name == "blur":
            return Kind("max", 3, 1).pool(changed.double())[..., :: self.stride] > 0
        return Kind("max", self.width, self.stride).pool(changed.double()) > 0

    @property
    def whole(self) -> slice:
        """Outputs whose window does not hang over a border."""
        if self.name == "blur":
            return slice(1, -1 if self.stride == 1 else None)
        left, right = self._sides if self.stride == 1 else (0, 0)
        return slice(left, -right or None)


KINDS = (
    Kind("max", 3, 1),
    Kind("max", 2, 2),
    Kind("avg", 3, 1),
    Kind("avg", 2, 2),
    Kind("blur", 3, 1),
    Kind("blur", 3, 2),
    Kind("polyphase", 2, 2),
)


@dataclass(frozen=True)
class Counts:
    """Outputs that changed, [n, C, H] a row: in their place, and once they are moved along too."""

    changed: Tensor
    concerned: Tensor
    moved_changed: Tensor
    moved_concerned: Tensor


def one_step(rows: Tensor) -> tuple[Tensor, Tensor]:
    """A window on rows [..., W + 1] before and after their content moves right by one value.

    The value that comes in is the row's own, none is made up.
    """
    return rows[..., 1:], rows[..., :-1]


def differ(first: Tensor, second: Tensor) -> Tensor:
    """Where two rows hold different values, bool."""
    return (first - second).abs() > ROUNDING


def count(kind: Kind, before: Tensor, after: Tensor) -> Counts:
    """Compare the outputs of rows [n, C, H, W] before and after.

    Moved along, output i + k after stands against output i before; k is 1 with stride 1, else 0 or
    1, whichever leaves fewer changes in the row: half a cell is no whole number. Outputs at a
    border are left out of it.
    """
    old, new = kind.pool(before), kind.pool(after)
    concerned = kind.concerned(differ(before, after))
    changed = differ(old, new) & concerned
    tried = [_moved(kind, old, new, concerned, k) for k in ((1,) if kind.stride == 1 else (0, 1))]
    best_changed, best_of = tried[0]
    for other_changed, other_of in tried[1:]:
        better = other_changed * best_of.clamp(min=1) < best_changed * other_of.clamp(min=1)
        best_changed = torch.where(better, other_changed, best_changed)
        best_of = torch.where(better, other_of, best_of)
    return Counts(changed.sum(dim=-1), concerned.sum(dim=-1), best_changed, best_of)


def _moved(
    kind: Kind, old: Tensor, new: Tensor, concerned: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    mine, theirs, counted = (x[..., kind.whole] for x in (old, new, concerned))
    last = mine.shape[-1] - k
    different = differ(mine[..., :last], theirs[..., k:])
    return different.sum(dim=-1), (counted[..., k:] | different).sum(dim=-1)


def refuse(backbone: Backbone, data: Data, **_: Any) -> None:
    """Images too narrow for a row to be moved."""
    _window(data)


@probe("demonstration", scope="set", version=1, check=refuse)
def demonstration(backbone: Backbone, data: Data) -> Outcome:
    """Rows of images moved by one pixel: which inputs change, and which outputs of each pooling.

    The network takes no part in it. The lecture's own row is among the arrays.
    """
    width = _window(data)
    shares: dict[str, list[NDArray[Any]]] = {}
    for first in range(0, len(data), BATCH):
        rows = slice(first, min(first + BATCH, len(data)))
        before, after = one_step(_levels(data, rows)[..., : width + 1])
        inputs = differ(before, after).flatten(1)
        _add(shares, "inputs", inputs.sum(dim=1), torch.full((len(inputs),), inputs.shape[1]))
        for kind in KINDS:
            found = count(kind, before, after)
            _add(shares, kind.label, found.changed, found.concerned)
            _add(shares, f"{kind.label}, moved", found.moved_changed, found.moved_concerned)
    counts = {name: np.concatenate(parts) for name, parts in shares.items()}
    samples = {
        f"changed[{name}]": np.divide(
            c[:, 0], c[:, 1], out=np.full(len(c), np.nan), where=c[:, 1] > 0
        )
        for name, c in counts.items()
    }
    return Outcome(
        samples,
        arrays={"counts": np.stack(list(counts.values()), axis=1), **_examples(data, width)},
        metrics={name: Metric(name, share=True) for name in samples},
        cost={"forward": 0.0, "backward": 0.0},
    )


def _window(data: Data) -> int:
    """Even, so that the strides divide it, and one value less than there are."""
    width = (data.shape[2] - 1) // 2 * 2
    if width < 4:
        raise BadRequest(
            f"images of {data.name} are {data.shape[2]} pixels wide; 'demonstration' needs 5"
        )
    return width


def _levels(data: Data, rows: slice) -> Tensor:
    """8-bit levels, or the values that came as floats, in float64: their sums are exact."""
    return torch.tensor(data.batch_8bit(rows) if data.is_8bit else data.batch(rows)).double()


def _add(shares: dict[str, list[NDArray[Any]]], name: str, changed: Tensor, of: Tensor) -> None:
    both = torch.stack([changed.flatten(1).sum(1) if changed.ndim > 1 else changed] * 2, dim=1)
    both[:, 1] = of.flatten(1).sum(1) if of.ndim > 1 else of
    shares.setdefault(name, []).append(both.numpy().astype(np.int32))


def _examples(data: Data, width: int) -> dict[str, NDArray[Any]]:
    """The lecture's row and one of the first image, with every kind's outputs before and after."""
    own, place = _busiest(_levels(data, slice(0, 1))[0, 0, :, : width + 1])
    found = {"kinds": np.array([k.label for k in KINDS]), "row_id": np.array(data.ids[0])}
    found["row_place"] = np.array(place, np.int32)
    for name, long in (("lecture", torch.tensor(LECTURE).double()), ("row", own)):
        before, after = one_step(long)
        counts = [count(k, before[None, None, None], after[None, None, None]) for k in KINDS]
        found[f"{name}_moved"] = np.array(
            [[int(c.moved_changed), int(c.moved_concerned)] for c in counts], np.int32
        )
        found[f"{name}_input"] = torch.stack([before, after]).numpy()
        outputs = [[_line(k.pool(x[None, None, None])) for x in (before, after)] for k in KINDS]
        found[f"{name}_output"] = np.array(
            [
                [np.pad(y, (0, len(before) - len(y)), constant_values=np.nan) for y in pair]
                for pair in outputs
            ]
        )
    return found


def _line(x: Tensor) -> NDArray[Any]:
    return x.flatten().numpy()


def _busiest(plane: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Seven values of a row, where they change the most, and (row, first column)."""
    long = min(7, plane.shape[1] - (plane.shape[1] + 1) % 2)
    steps = (plane[:, 1:] != plane[:, :-1]).double().unfold(1, long - 1, 1).sum(dim=2)
    steps = steps + plane.unfold(1, long, 1)[:, : steps.shape[1]].std(dim=2) / 1e6
    place = int(steps.argmax())
    row, column = place // steps.shape[1], place % steps.shape[1]
    return plane[row, column : column + long], (row, column)
