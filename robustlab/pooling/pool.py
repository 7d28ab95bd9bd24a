"""`Pooling`: one layer for all kinds, a dense window followed by a sampler."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from robustlab.errors import BadRequest
from robustlab.pooling.average import Average
from robustlab.pooling.geometry import Geometry, Pair, check_padding
from robustlab.pooling.maximum import Max
from robustlab.pooling.padded import PaddedAverage
from robustlab.pooling.polyphase import Polyphase
from robustlab.pooling.strided import Sampler, Strided
from robustlab.pooling.window import Window

__all__ = ["Pooling", "dense_edges", "refuse_rest"]


def dense_edges(g: Geometry, x: Tensor, *, plain: bool = False) -> tuple[Pair, Pair, Pair]:
    """Values to add (above, below) and (left, right), and the number of windows each way.

    Dense windows stand at H' * stride places for the H' of the plain layer, so that a sampler finds
    whole strides, less those that would see nothing of the map; with ``plain`` at the H' places of
    the plain layer alone.
    """
    edges, counts = [], []
    for axis in (0, 1):
        spread, stride, padding = (one[axis] for one in (g.spread, g.stride, g.padding))
        size = x.shape[axis - 2] // spread
        out = g.out(size, axis)
        places = spread * (out if plain else min(out * stride, size + padding))
        step = stride if plain else 1
        before = spread * padding
        end = (places - 1) * step - before + spread * (g.reach(axis) - 1) + 1
        edges.append((before, end - x.shape[axis - 2]))
        counts.append(places)
    return edges[0], edges[1], (counts[0], counts[1])


def refuse_rest(geometry: Geometry, x: Tensor, sampler: object) -> None:
    """`BadRequest` where the sampler is exact on circular maps alone and the map has a rest."""
    for axis, word in ((0, "rows"), (1, "columns")):
        size, rest = divmod(x.shape[axis - 2], geometry.spread[axis])
        stride = geometry.stride[axis]
        wanted = getattr(sampler, "exact", False) and stride > 1
        if rest or (wanted and not geometry.fits(size, axis)):
            raise BadRequest(
                f"a map of {size} {word} does not divide into {geometry.out(size, axis)} strides "
                f"of {stride}, which {getattr(sampler, 'name', 'this')} sampling needs; take an "
                "input size whose maps divide at every site, or another kind"
            )


def _refuse_ties(window: Window, sampler: Polyphase, geometry: Geometry) -> None:
    """`BadRequest` where all components are equally large whatever the map."""
    overlaps = any(k > 1 for k in geometry.kernel)
    if sampler.norm == "linf" and sampler.taps == 1 and isinstance(window, Max) and overlaps:
        raise BadRequest(
            "polyphase-linf behind a max is tied by construction: the largest value stands in "
            "several components; take polyphase or polyphase-l1"
        )
    pairs = zip(geometry.kernel, geometry.stride, strict=True)
    average = isinstance(window, Average | PaddedAverage) and all(k % s == 0 for k, s in pairs)
    if sampler.norm == "l1" and max(geometry.stride) > 1 and (average or sampler.taps > 1):
        raise BadRequest(
            f"polyphase-l1 behind {'an average' if average else 'a blur'} is tied by construction: "
            "of a map without negative values every component has the same sum; take polyphase"
        )


class Pooling(nn.Module):
    """A window over every place of a map, then every stride-th of its values: [n, C, H, W] to
    [n, C, H', W'] with H' as `torch.nn.MaxPool2d` of the same geometry gives it.

    The windows stand densely, at H' * stride places, so that the first of each stride are those of
    the plain layer; the sampler decides what becomes of the others.

    Args:
        window: what is made of each window.
        sampler: what thins the dense map out.
        geometry: of the plain layer.
        padding: one of `PADDINGS`: what windows and sampler see past the edge.
        edge: what the sampler sees there, if something else.

    Raises:
        BadRequest: an unknown padding, or a choice of components that is tied by construction; on
            maps that do not divide by the stride, where the sampler needs it.
    """

    def __init__(
        self,
        window: Window,
        sampler: Sampler | nn.Module,
        geometry: Geometry,
        padding: str = "zero",
        edge: str | None = None,
    ) -> None:
        super().__init__()
        check_padding(padding)
        check_padding(edge or padding)
        if isinstance(sampler, Polyphase):
            _refuse_ties(window, sampler, geometry)
        self.window = window
        self.sampler: Callable[..., Tensor] = sampler
        self.geometry = geometry
        self.padding = padding
        self.edge = edge or padding

    def forward(self, x: Tensor) -> Tensor:
        geometry, plain = self.geometry, isinstance(self.sampler, Strided)
        refuse_rest(geometry, x, self.sampler)
        rows, columns, count = dense_edges(geometry, x, plain=plain)
        dense = self.window(
            x,
            rows,
            columns,
            self.padding,
            kernel=geometry.kernel,
            stride=geometry.stride if plain else (1, 1),
            dilation=geometry.steps,
            count=count,
            training=self.training,
        )
        # Behind a plain stride nothing is left to thin out: the windows stand at the stride.
        return dense if plain else self.sampler(dense, geometry.stride, self.edge)

    def edged(self, padding: str) -> None:
        """See ``padding`` past the edge from now on; ``"valid"`` leaves all as it is."""
        if padding != "valid":
            check_padding(padding)
            self.padding = self.edge = padding

    def extra_repr(self) -> str:
        g = self.geometry
        return (
            f"{self.window}, {self.sampler}, kernel={g.kernel}, stride={g.stride}, "
            f"padding={g.padding} {self.padding}, edge={self.edge}"
        )
