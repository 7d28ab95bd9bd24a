"""One shift measured at every layer: errors, shares changed, and which cells may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustlab.hooks import Layer, feature_maps, observe
from robustlab.invariance.layer_errors import (
    Roll,
    Shift,
    aligned_error,
    best_roll,
    best_roll_near,
    cosine_distance,
    fractional_error,
    inside,
    moved,
    share_changed,
    vector_error,
)
from robustlab.invariance.layer_reach import Reach
from robustlab.invariance.layer_strides import Stride
from robustlab.invariance.shifts import shifted

__all__ = ["MEASURES", "Borders", "Ruler", "border_pixels"]

# What is measured at each layer; see `Ruler.measure`.
MEASURES = (
    *("aligned", "best_roll", "fractional", "in_place", "cosine", "changed", "changed_at_all"),
)


def border_pixels(shift: Roll, size: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Bool [H, W] twice: pixels that are synthetic after the shift, pixels that leave the frame."""
    back = (-shift[0], -shift[1])
    return ~inside(shift, size, device), ~inside(back, size, device)


@dataclass(frozen=True)
class Borders:
    """Which cells of a map see what a shift without wrapping does at the borders, bool [h, w].

    ``seen``: cells after the shift that depend on no synthetic pixel; ``stays``: cells before it
    that depend on no pixel that leaves. A cell is compared where both hold: then both of the pair
    look at the same pixels, and the network's own padding is the same for both.
    """

    seen: Tensor
    stays: Tensor

    def kept(self, roll: Roll) -> Tensor:
        return self.seen & moved(self.stays, roll) & inside(roll, self.seen.shape, self.seen.device)


def _whole(shift: Shift) -> Roll:
    return int(shift[0]), int(shift[1])


class Ruler:
    """Measures one network's layers against shifts of one mode.

    Args:
        network: from images [n, C, H, W] to an output.
        layers, strides: of `find_layers` and `measure_strides`.
        means: mean vector of each vector layer over the images, by name.
        tolerance: see `share_changed`.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[Layer],
        strides: Sequence[Stride],
        mode: str,
        means: Mapping[str, Tensor],
        tolerance: float = 0.0,
    ) -> None:
        self.network, self.mode, self.means = network, mode, means
        self.layers = {x.name: x for x in layers}
        self.strides = dict(zip(self.layers, strides, strict=True))
        self.tolerance = tolerance
        self.reach = Reach(network, layers)
        self.unforeseen = 0  # values that changed without depending on a changed pixel, it seemed
        self._borders: dict[Shift, dict[str, Borders]] = {}

    def measure(
        self, images: Tensor, clean: Mapping[str, Tensor], shift: Shift
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor], Tensor]:
        """Every measure at every layer for one shift.

        Args:
            images: [n, C, H, W]; clean: their features, of `feature_maps`.
            shift: (dy, dx) in pixels; parts of pixels in mode ``"circular"`` alone.

        Returns:
            measure -> layer -> float64 [n]; the roll that `best_roll` found, layer -> [n, 2]; the
            network's output on the shifted images.
        """
        after = shifted(images, *shift, self.mode)
        reached = self.reach(after, (after != images).any(dim=1))
        borders = {} if self.mode == "circular" else self.borders(images[:1], shift)
        found: dict[str, dict[str, Tensor]] = {name: {} for name in MEASURES}
        rolls: dict[str, Tensor] = {}

        def see(name: str, module: nn.Module, output: Tensor) -> None:
            layer = self.layers.get(name)
            if layer is None:
                return
            pair = layer.standard(output), clean[name]
            if layer.kind == "vector":
                found["in_place"][name] = vector_error(*pair, self.means[name])
                found["cosine"][name] = cosine_distance(*pair)
            else:
                self._maps(found, rolls, name, pair, shift, borders.get(name))
            self._changes(found, name, pair, reached[name], borders.get(name))

        output = observe(self.network, after, see)
        return found, rolls, output

    def _maps(
        self,
        found: dict[str, dict[str, Tensor]],
        rolls: dict[str, Tensor],
        name: str,
        pair: tuple[Tensor, Tensor],
        shift: Shift,
        border: Borders | None,
    ) -> None:
        roll = self.roll(name, shift)
        stride = self.strides[name]
        if border is None and 0 not in stride:
            parts = shift[0] / stride[0], shift[1] / stride[1]
            found["fractional"][name] = fractional_error(*pair, parts)
        if roll is not None:
            kept = None if border is None else border.kept(roll)
            found["aligned"][name] = aligned_error(*pair, roll, kept)
        seen = None if border is None else border.seen
        found["in_place"][name] = aligned_error(*pair, (0, 0), seen)
        best = self._best(name, pair, shift, border)
        if best is not None:
            found["best_roll"][name], rolls[name] = best

    def _best(
        self, name: str, pair: tuple[Tensor, Tensor], shift: Shift, border: Borders | None
    ) -> tuple[Tensor, Tensor] | None:
        """Error at the best roll, and the roll: of all where maps wrap, else of the near ones."""
        if border is None:
            return best_roll(*pair)
        if 0 in self.strides[name]:
            return None
        rows, columns = (s / t for s, t in zip(shift, self.strides[name], strict=True))
        return best_roll_near(*pair, (rows, columns), border.seen, border.stays)

    def roll(self, name: str, shift: Shift) -> Roll | None:
        """By how many cells the layer's maps should move; None where that is no whole number."""
        stride = self.strides[name]
        if 0 in stride or shift[0] % stride[0] or shift[1] % stride[1]:
            return None
        return int(shift[0] // stride[0]), int(shift[1] // stride[1])

    def _changes(
        self,
        found: dict[str, dict[str, Tensor]],
        name: str,
        pair: tuple[Tensor, Tensor],
        reached: Tensor,
        border: Borders | None,
    ) -> None:
        after, before = pair
        # What rounding alone does is no change, in the network's own precision.
        least = max(self.tolerance, 8 * torch.finfo(after.dtype).eps)
        largest = before.double().abs().flatten(1).amax(dim=1)
        largest = largest.reshape(-1, *[1] * (before.ndim - 1))
        changed = (after.double() - before.double()).abs() > least * largest
        self.unforeseen += int((changed & ~reached).sum())
        concerned = reached | changed
        if border is not None:
            concerned = concerned & border.seen
        found["changed"][name] = share_changed(after, before, concerned, least)
        found["changed_at_all"][name] = share_changed(after, before, concerned)

    def borders(self, image: Tensor, shift: Shift) -> dict[str, Borders]:
        """The cells that a shift's borders reach, for each map; the same for every image."""
        if shift not in self._borders:
            pixels = torch.stack(border_pixels(_whole(shift), image.shape[2:], image.device))
            reached = self.reach(image.expand(2, -1, -1, -1), pixels)
            self._borders[shift] = {
                name: Borders(*(~one.any(dim=1)))
                for name, one in reached.items()
                if self.layers[name].kind == "map"
            }
        return self._borders[shift]

    def known_borders(self, shift: Shift) -> Mapping[str, Borders]:
        """What `borders` has measured for a shift; empty in circular mode."""
        return self._borders.get(shift, {})

    def unrelated(
        self, images: Tensor, clean: Mapping[str, Tensor], shifts: Sequence[Shift]
    ) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """The same errors between each image and another one: in place, and at the best roll.

        What no map that has forgotten its image would be above. For each shift over the same cells,
        and at the best of the same rolls, as the error that it stands beside.

        Args:
            images: the others; clean: features of the images themselves.
        """
        others, _ = feature_maps(self.network, images, list(self.layers.values()))
        if self.mode == "circular":  # all cells and all rolls, whatever the shift
            return [self._unrelated(others, clean, shifts[0], {})] * len(shifts)
        return [self._unrelated(others, clean, s, self.borders(images[:1], s)) for s in shifts]

    def _unrelated(
        self,
        others: Mapping[str, Tensor],
        clean: Mapping[str, Tensor],
        shift: Shift,
        borders: Mapping[str, Borders],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        in_place: dict[str, Tensor] = {}
        best: dict[str, Tensor] = {}
        for name, other in others.items():
            border = borders.get(name)
            if self.layers[name].kind == "vector":
                in_place[name] = vector_error(other, clean[name], self.means[name])
                continue
            seen = None if border is None else border.seen
            in_place[name] = aligned_error(other, clean[name], (0, 0), seen)
            found = self._best(name, (other, clean[name]), shift, border)
            if found is not None:
                best[name] = found[0]
        return in_place, best
