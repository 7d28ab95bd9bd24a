"""`anatomy`: what a network is, layer by layer, without a single number computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import nn

from robustlab.arithmetic.recorder import Record, record
from robustlab.arithmetic.table import COLUMNS, layer_table
from robustlab.backbones import Backbone, load_backbone
from robustlab.errors import BadRequest

__all__ = ["CONVENTION", "Anatomy", "anatomy", "watched"]

CONVENTION = (
    "FLOPs are twice the multiply-adds of convolutions and matrix products; biases, normalisation, "
    "activations and pooling are counted apart, as other operations."
)
DEFAULT = (3, 224, 224)
_SIZES = (28, 32, 64, 96, 128, 224, 227, 256, 299, 384)


@dataclass(frozen=True)
class Anatomy:
    """A network's layers and their sums, for one image.

    `layers` has one row for each call of a module without modules of its own and for each operator
    that another module calls itself (``layer1.0:add``), in the order in which they run:

    ======================== ======================================================================
    layer, call              name, and which call of it (a layer used twice has two rows)
    kind, type               what it does; the module's class or torch's operator
    input_shape              without the batch, (C, H, W) of a map
    output_shape             the same of its result
    kernel, stride, padding, of its windows, (rows, columns) each
    dilation, groups
    exact_rows,              (W - F + 2P) / S + 1 before rounding, F the span of a dilated kernel
    exact_columns
    rounding, fits           exact, floor or ceil; whether both sizes came out whole
    dropped_rows,            rows and columns behind the last window, padding not counted
    dropped_columns
    parameters               each counted where it is first used
    weights                  values that inputs are multiplied by: biases are none
    multiply_adds, flops     of convolutions and matrix products; flops are twice as many; what is
                             computed of weights alone (a table of positions) is not counted
    other_operations         one for each bias added and each value summed, multiplied or activated,
                             two for each normalised, one for each that a pooling window reads
    connections              inputs that all units look at, a bias counted as one
    units                    values of the result: the lectures' neurons
    activation_bytes         what they take in the network's precision
    field_rows,              receptive field in pixels: from the first to the last pixel that the
    field_columns            units of one place, all channels together, see on any path
    stride_rows,             effective stride: pixels from one place to the next
    stride_columns
    centre_row,              middle of what the first place sees, in pixels from the first pixel's
    centre_column            middle
    aligned                  whether all paths to a place are centred at the same pixel
    fully_connected_weights, weights of the same layer with every input connected to every unit, and
    locally_connected_weights with the same windows but no sharing; biases apart
    sources                  rows that it reads
    status                   complete; partial: multiply-adds or field not known; unavailable: both
    note                     why not, and what an inexact size means
    ======================== ======================================================================

    What is not known is missing (`pandas.NA`), never a guess. Past the edge of a map it is taken to
    go on, so a field may be larger than the image.

    Attributes:
        parameters: of the whole network, shared ones once, also of parts that did not run.
        input_shape: (C, H, W).
        real: whether values had to be computed to follow the network.
    """

    name: str
    input_shape: tuple[int, int, int]
    layers: pd.DataFrame
    parameters: int
    real: bool = False
    convention: str = field(default=CONVENTION, repr=False)

    @property
    def status(self) -> str:
        """``complete``, or the gravest word among the layers."""
        words = set(self.layers["status"])
        return next(w for w in ("unavailable", "partial", "complete") if w in words or w[0] == "c")

    @property
    def multiply_adds(self) -> int | None:
        """Of one image; None where those of a layer are not known."""
        column = self.layers["multiply_adds"]
        return None if column.isna().any() else int(column.sum())

    @property
    def flops(self) -> int | None:
        """Twice the multiply-adds; see `convention`."""
        return None if self.multiply_adds is None else 2 * self.multiply_adds

    @property
    def units(self) -> int:
        """Units of the layers that have weights: the lectures' number of neurons."""
        weighted = self.layers["weights"].fillna(0) > 0
        return int(self.layers["units"][weighted].sum())

    @property
    def activation_bytes(self) -> int:
        """All results of all layers together, as if none were freed."""
        return int(self.layers["activation_bytes"].sum())

    def __repr__(self) -> str:
        size = "x".join(map(str, self.input_shape))
        work = "unknown" if self.multiply_adds is None else f"{self.multiply_adds:,}"
        return (
            f"Anatomy({self.name!r} at {size}: {self.parameters:,} parameters, "
            f"{work} multiply-adds, {len(self.layers)} layers, {self.status})"
        )


def anatomy(
    module_or_backbone: nn.Module | Backbone | str, input_shape: Sequence[int] = DEFAULT
) -> Anatomy:
    """The layers of a network, each with its size, cost and receptive field.

    Sizes by (W - F + 2P) / S + 1, fields by the recursion of Araujo, Norris and Sim (2019), carried
    through branches by intervals. Works on any module: torch's operators are watched while one
    image without numbers runs through. The module is left as it was.

    Args:
        module_or_backbone: a module, a `Backbone`, or a reference as ``"lenet5-max@digits"``.
        input_shape: (C, H, W) of one image; a backbone has its own, which the default stands for.

    Raises:
        BadRequest: no network, no such shape, or one that the network cannot take; it names a size
            that works where one is found.
    """
    if isinstance(module_or_backbone, str):
        module_or_backbone = load_backbone(module_or_backbone)
    shape = _shape(input_shape)
    if isinstance(module_or_backbone, Backbone):
        backbone = module_or_backbone
        shape = backbone.input_shape if shape == DEFAULT else shape
        return _of(backbone.network, shape, backbone.name, backbone.network is not backbone.module)
    if not isinstance(module_or_backbone, nn.Module):
        raise BadRequest(
            f"anatomy takes an nn.Module, a Backbone or a reference, "
            f"not {type(module_or_backbone).__name__}"
        )
    return _of(module_or_backbone, shape, type(module_or_backbone).__name__, wrapped=False)


def _shape(given: Any) -> tuple[int, int, int]:
    numbers = tuple(given) if isinstance(given, list | tuple) else ()
    whole = all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in numbers)
    if len(numbers) != 3 or not whole:
        raise BadRequest(
            f"input_shape is {given!r}; give (channels, height, width), as (3, 32, 32)"
        )
    return numbers


def _of(network: nn.Module, shape: tuple[int, int, int], name: str, wrapped: bool) -> Anatomy:
    found = watched(network, shape, name)
    layers = layer_table(network, found)
    if wrapped:
        names = [_unwrapped(layer) for layer in layers["layer"]]
        layers["layer"] = pd.Series(names, dtype=COLUMNS["layer"])
    parameters = sum(one.numel() for one in network.parameters())
    return Anatomy(name, shape, layers, parameters, found.real)


def _unwrapped(layer: str) -> str:
    """Names as those of the network that stands behind the lab's own normalisation."""
    return layer.removeprefix("module.") if layer != "module" else "network"


def watched(network: nn.Module, shape: tuple[int, int, int], name: str) -> Record:
    """One pass, watched; `BadRequest` where the network cannot take such an image."""
    try:
        found = record(network, shape)
    except Exception as error:
        size = "x".join(map(str, shape))
        told = str(error).strip().split("\n")[0]
        raise BadRequest(
            f"{name} cannot take images of {size}: {told}{_hint(network, shape)}"
        ) from error
    if not found.events:
        raise BadRequest(
            f"{name} does nothing with an image that torch could be asked about; "
            "give the module that holds the layers"
        )
    return found


def _hint(network: nn.Module, shape: tuple[int, int, int]) -> str:
    """The nearest shape that works, among common sizes and numbers of channels."""
    sizes = sorted(_SIZES, key=lambda size: abs(size - shape[1]))
    for channels in dict.fromkeys((shape[0], 3, 1)):
        for size in [*dict.fromkeys((shape[1], *sizes))]:
            try:
                record(network, (channels, size, size))
            except Exception:  # whatever the network raises on it, it is no hint
                continue
            return f"; pass input_shape=({channels}, {size}, {size}), which it takes"
    return "; no common size works, pass the input_shape that it was trained with"
