"""Full maps over all shifts within a radius: what the network answers at each of (2r + 1)^2.

Honest and quick. Quick: an image's shifts are windows of one picture and share their first layers
(`shift_shared`); they run in batches on a folded, channels-last copy, whose maxima are slices and
whose convolutions leave out what a stride throws away (`shift_pools`, `shift_thinned`); and where
the network's answers to circular shifts repeat after some pixels, which is found and tested on the
network (`shift_period`), only one period is computed, in any mode, of the shifts that are rolls of
the image to the last bit.

Honest: what is kept are the predictions of the original network. Where the two largest logits lie
so close that rounding might have chosen, the original decides, on that window alone, so that no
prediction hangs on its batch. And each image is looked at by the original at one more shift, drawn
for it, outside of what was computed where a period was used; if the logits disagree, that image is
computed anew, every shift of it, on the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.fastpath import search_copy
from robustlab.adversarial.images import load_pixels, working_dtype
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import CellFailed
from robustlab.invariance.shift_kept import Embedded, Eye, Maps
from robustlab.invariance.shift_period import agreement, find_period, spread, total_stride
from robustlab.invariance.shift_pools import sliced_pools
from robustlab.invariance.shift_shared import Shared, share, windows
from robustlab.invariance.shift_thinned import thinned
from robustlab.invariance.shift_wrapped import wrap
from robustlab.invariance.shifts import ground
from robustlab.randomness import SampleRandom

__all__ = ["Mapper", "Maps"]

Array = NDArray[Any]

_BLOCK_BYTES = 32 << 20  # what the logits of the images at work may take
_BLOCK = 32  # images at work, at most


class Mapper:
    """Computes `Maps` of one network.

    Args:
        backbone: frozen, on any device, of any precision.
        radius, mode: see `shifts.ground`.
        batch: windows at a time; not part of the result.
        quick: whether to share, fold and use periods; without, every shift goes through the
            original network.

    Attributes:
        stride: pixels between two values of the coarsest map.
        period: after how many pixels the answers to circular shifts repeat; 0: they do not.
    """

    def __init__(
        self, backbone: Backbone, radius: int, mode: str, *, batch: int = 256, quick: bool = True
    ) -> None:
        self.backbone, self.radius, self.mode = backbone, radius, mode
        self.batch, self.quick = batch, quick
        self.size = 2 * radius + 1
        self.window = backbone.input_shape[1:]
        self.classes = len(backbone.classes)
        self.original = Eye(backbone.network, backbone.dtype, self.classes)
        self.stride = total_stride(backbone)

    @cached_property
    def period(self) -> int:
        return find_period(self.backbone, self.stride)

    @cached_property
    def way(self) -> tuple[Shared, Eye]:
        """The network that windows run on, cut where they stop to share."""
        whole = Shared(self.backbone.network, self.window)
        if not self.quick or self.backbone.dtype not in (torch.float32, torch.float64):
            return whole, self.original
        copied, _ = search_copy(self.backbone.network, self.backbone.input_shape)
        if self.backbone.device.type == "cpu":
            copied = sliced_pools(copied)
        found = share(copied, self.window, self.radius)
        if found is None and self.mode != "circular":  # there one period is less
            found = wrap(copied, self.window, self.radius)
        found = found or Shared(copied, self.window)
        found.rest = thinned(found.rest)
        return found, Eye(found.rest, self.backbone.dtype, self.classes)

    @cached_property
    def embedded(self) -> int:
        """Length of the input of the linear layer that the logits come out of; 0: of none."""
        with self.original.watching() as seen, torch.no_grad():
            self.original(torch.zeros(1, *self.backbone.input_shape, device=self.backbone.device))
        return seen[0].shape[1] if seen else 0

    def __call__(self, data: Data) -> Maps:
        """Maps of all images.

        Raises:
            BadRequest: a shift larger than an image's canvas leaves; nothing is computed then.
            CellFailed: logits that are no numbers.
        """
        step = max(1, min(_BLOCK, _BLOCK_BYTES // (16 * self.size**2 * self.classes)))
        starts = range(0, len(data), step)
        blocks = [np.arange(i, min(i + step, len(data))) for i in starts]
        if self.mode in ("canvas", "crop"):  # all that may be refused is, before anything is run
            for rows in blocks:
                self._picture(data, rows)
        found = Maps.empty(len(data), self.size, self.classes, self.embedded)
        _ = self.way, self.period  # found out with gradients allowed
        with torch.inference_mode():
            for rows in blocks:
                self._block(data, rows, found)
        return found

    def _picture(self, data: Data, rows: Array) -> Tensor:
        x = load_pixels(data, rows, self.backbone)[0]
        return ground(x, self.radius, self.mode, self.window, int(rows[0]))

    def _block(self, data: Data, rows: Array, found: Maps) -> None:
        picture = self._picture(data, rows)
        first, inverse = self._distinct(picture)
        logits, embedded = self._through(*self.way, picture, first)
        found.passes += len(first)
        logits = logits[inverse]
        if embedded is not None:
            embedded.change = embedded.change[inverse]
        # Copies too: the original may round a shift and its copy to either side.
        every = np.arange(inverse.size)
        logits = self._untied(picture, every, logits.flatten(0, 1), rows, found).view_as(logits)
        ids = [data.ids[row] for row in rows]
        self._check(picture, logits, embedded, first, ids, rows, found)
        found.write(rows, logits, embedded, torch.tensor(data.labels[rows]))

    def _distinct(self, picture: Tensor) -> tuple[Array, Array]:
        """Which (image, shift) to compute, int64 [u], numbered image by image; and for each of all
        of them which one it is, [n, S * S]. Unshifted images come first.
        """
        n, count = len(picture), self.size**2
        key = np.broadcast_to(np.arange(count) + count, (n, count)).copy()
        if self.quick and 0 < self.period < self.size:
            grid = np.arange(self.size) - self.radius
            cell = grid % self.period
            cells = (cell[:, None] * self.period + cell).ravel()
            key = np.where(self._rolls(picture).reshape(n, -1), cells - count, key)
        near = np.abs(np.arange(self.size) - self.radius)
        order = np.argsort(np.maximum(near[:, None], near).ravel(), kind="stable")
        # Keys of different images differ; np.unique finds the first in the order, the shortest.
        ordered = key[:, order] + 4 * count * np.arange(n)[:, None]
        _, first, inverse = np.unique(ordered, return_index=True, return_inverse=True)
        rank = np.argsort(first % count != 0, kind="stable")  # the unshifted first
        turned = np.empty_like(rank)
        turned[rank] = np.arange(len(rank))
        chosen = first[rank]
        back = np.empty((n, count), dtype=np.int64)
        back[:, order] = turned[inverse.reshape(n, count)]
        return chosen // count * count + order[chosen % count], back

    def _rolls(self, picture: Tensor) -> Array:
        """Whether a window is a roll of the unshifted image to the last bit, bool [n, S, S]."""
        if self.mode == "circular":
            return np.ones((len(picture), self.size, self.size), dtype=bool)
        r, (height, width) = self.radius, self.window
        rolled = ground(picture[:, :, r : r + height, r : r + width], r, "circular")
        other = (picture != rolled).any(dim=1).cpu().numpy()
        total = np.zeros((len(other), other.shape[1] + 1, other.shape[2] + 1), dtype=np.int64)
        total[:, 1:, 1:] = other.cumsum(axis=1).cumsum(axis=2)
        inside = (
            total[:, height:, width:]
            - total[:, :-height, width:]
            - total[:, height:, :-width]
            + total[:, :-height, :-width]
        )
        return np.asarray(inside[:, ::-1, ::-1] == 0)  # window (top, left) is shift r - top

    def _cut(self, picture: Tensor, which: Array) -> Tensor:
        """The shifted images of (image, shift) numbers."""
        return windows(picture[:, None, None], self.window, *self._where(which))

    def _where(self, which: Array) -> tuple[Tensor, Tensor, Tensor]:
        """Image and first pixel in its picture, down and across, of (image, shift) numbers."""
        image, shift = np.divmod(which, self.size**2)
        top, left = 2 * self.radius - shift // self.size, 2 * self.radius - shift % self.size
        device = self.backbone.device
        made = [torch.as_tensor(one, device=device) for one in (image, top, left)]
        return made[0], made[1], made[2]

    def _through(
        self, shared: Shared, eye: Eye, picture: Tensor, which: Array
    ) -> tuple[Tensor, Embedded | None]:
        """Logits of windows; the first n of them are the unshifted images."""
        features = shared.features(picture.to(eye.dtype))
        image = which // self.size**2
        logits, changes, still = [], [], None
        n = len(picture)
        with eye.watching() as seen:
            firsts = [0, *range(n, len(which), self.batch)]
            for begin, end in zip(firsts, [*firsts[1:], len(which)], strict=True):
                part = which[begin:end]
                cut = shared.cut(features, *self._where(part))
                logits.append(eye(cut.contiguous(), seen).cpu())
                if self.embedded and seen:
                    inputs = seen[0].to(working_dtype(self.backbone))
                    still = inputs if still is None else still
                    changes.append((inputs - still[image[begin:end]]).norm(dim=1).cpu())
        joined = torch.cat(logits)
        if not bool(joined.isfinite().all()):
            raise CellFailed(f"{self.backbone.name} gives logits that are no numbers")
        return joined, None if still is None else Embedded(still.cpu(), torch.cat(changes))

    def _untied(
        self, picture: Tensor, which: Array, logits: Tensor, rows: Array, found: Maps
    ) -> Tensor:
        """Near ties decided by the original network, each window alone."""
        if logits.shape[1] < 2:
            return logits
        top = logits.topk(2, dim=1).values
        # Two logits may both be off by the tolerance, towards each other.
        least = 4 * agreement(self.backbone.dtype) * spread(logits)
        close = (top[:, 0] - top[:, 1] <= least).nonzero().flatten().tolist()
        for row in close:
            cut = self._cut(picture, which[row : row + 1])
            logits[row] = self.original(cut.contiguous())[0].cpu()
            found.redecided[rows[which[row] // self.size**2]] += 1
        found.passes += len(close)
        return logits

    def _check(
        self,
        picture: Tensor,
        logits: Tensor,
        embedded: Embedded | None,
        first: Array,
        ids: Sequence[str],
        rows: Array,
        found: Maps,
    ) -> None:
        """The original at one more shift of each image; what disagrees is computed anew."""
        count = self.size**2
        own = np.zeros(len(ids) * count, dtype=bool)
        own[first] = True
        drawn = SampleRandom(0, ids, "shift check").uniform((1,))[:, 0]
        which = np.empty(len(ids), dtype=np.int64)
        for image, number in enumerate(drawn):
            mine = own[image * count : (image + 1) * count]
            copied = np.flatnonzero(~mine) if not mine.all() else np.arange(count)
            which[image] = image * count + copied[int(number * len(copied))]
        cut = self._cut(picture, which)
        true = self.original(cut.contiguous()).cpu()
        found.passes += len(which)
        known = logits.flatten(0, 1)[which]
        apart = (true - known).abs().amax(dim=1)
        scale = spread(true)
        found.checked[rows] = (apart / scale).nan_to_num(0.0).numpy()
        for image in (~(apart <= agreement(self.backbone.dtype) * scale)).nonzero().flatten():
            self._anew(picture, int(image), logits, embedded, rows, found)

    def _anew(
        self,
        picture: Tensor,
        image: int,
        logits: Tensor,
        embedded: Embedded | None,
        rows: Array,
        found: Maps,
    ) -> None:
        """All shifts of one image on the original network."""
        one, count = picture[image : image + 1], self.size**2
        middle = count // 2
        which = np.array([middle, *(k for k in range(count) if k != middle)])
        whole = Shared(self.original.network, self.window)
        made, mine = self._through(whole, self.original, one, which)
        mine_rows = rows[image : image + 1]
        found.redecided[mine_rows] = 0
        logits[image, which] = self._untied(one, which, made, mine_rows, found)
        if embedded is not None and mine is not None:
            embedded.still[image], embedded.change[image, which] = mine.still[0], mine.change
        found.anew[rows[image]] = True
        found.passes += count
