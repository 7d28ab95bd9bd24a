"""One site and what takes its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from robustlab.pooling.average import Average
from robustlab.pooling.convolution import DownConv, Extend, Thin, Windowed
from robustlab.pooling.dense import Every
from robustlab.pooling.geometry import Geometry, Pair
from robustlab.pooling.kinds import Kind
from robustlab.pooling.padded import PaddedAverage
from robustlab.pooling.pool import Pooling
from robustlab.pooling.reading import Read
from robustlab.pooling.strided import Sampler, Strided

__all__ = ["Edges", "Exchange", "calls_exchanged", "edges_of", "layer_exchanged", "told"]

_MODES: dict[str, Literal["zeros", "reflect", "replicate", "circular"]] = {
    "zero": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}
_OWN = {torch: own for own, torch in _MODES.items()}


@dataclass(frozen=True)
class Edges:
    """What is seen past the edges of maps.

    Attributes:
        asked: the padding that was asked for, None: every layer keeps its own.
        common: that of all padded convolutions of the network, if it is one and not zero.
    """

    asked: str | None
    common: str | None

    @property
    def window(self) -> str:
        """Of pools, and of convolutions without a padding of their own."""
        return self.asked or self.common or "zero"

    @property
    def sampler(self) -> str:
        """Of filters behind them; mirrored where nothing else is known, as Zhang (2019) does."""
        return self.asked or self.common or "reflect"

    def of(self, conv: nn.Conv2d) -> str:
        """Of a convolution."""
        padded = conv.padding not in ((0, 0), "valid")
        return self.asked or (_OWN[conv.padding_mode] if padded else self.window)


def edges_of(network: nn.Module, asked: str | None) -> Edges:
    """The edges of a network."""
    convs = [one for one in network.modules() if isinstance(one, nn.Conv2d)]
    modes = {one.padding_mode for one in convs if one.padding not in ((0, 0), "valid")}
    common = _OWN[modes.pop()] if len(modes) == 1 else None
    return Edges(asked, common if common != "zero" else None)


@dataclass(frozen=True)
class Exchange:
    """How sites become others.

    Attributes:
        dtype, device: of the network, as keywords of ``Module.to``.
    """

    kind: Kind
    edges: Edges
    to: dict[str, Any]

    def touches(self, read: Read, spread: Pair) -> bool:
        """Whether a site changes at all."""
        if read.what not in ("pool", "conv") or read.geometry is None:
            return False
        if spread != (1, 1) or (self.edges.asked is not None and read.padded):
            return True
        if not read.down:
            return False
        if read.what == "conv":
            return not self.kind.naive
        return not (self.kind.whole and _alike(self.kind, read))

    def sampler(self, read: Read, channels: int, number: int) -> Sampler | nn.Module:
        """What thins the dense map of a site out."""
        assert read.geometry is not None
        stride = read.geometry.stride
        if self.kind.dense:
            return Every()
        if not read.down:
            return Strided()
        if read.what == "conv" and self.kind.whole and self.kind.window is not None:
            return Windowed(self.kind.window, stride, self.edges.window)
        made = self.kind.sampler(channels, stride, number)
        return made.to(**self.to) if isinstance(made, nn.Module) else made

    def pool(self, read: Read, sampler: Sampler | nn.Module, spread: Pair) -> Pooling:
        assert read.geometry is not None
        assert read.window is not None
        geometry = replace(read.geometry, spread=spread)
        own = self.kind.window if read.down else None
        window = own or read.window
        if isinstance(window, PaddedAverage):
            counted = (window.counted[0] * spread[0], window.counted[1] * spread[1])
            window = replace(window, counted=counted)
        return Pooling(window, sampler, geometry, self.edges.window, self.edges.sampler)


def _alike(kind: Kind, read: Read) -> bool:
    """Whether a pool is of the kind already."""
    average = isinstance(read.window, PaddedAverage) and read.window.divisor == 0
    return kind.own or kind.window == read.window or (average and isinstance(kind.window, Average))


def told(new: nn.Module) -> str:
    """What stands at a site now, in one line."""
    if isinstance(new, Pooling):
        kernel = "x".join(map(str, new.geometry.kernel))
        return f"{_word(new.window)} {kernel}, {_thinned(new.sampler, new.geometry, new.padding)}"
    if isinstance(new, DownConv):
        kernel = "x".join(map(str, new.geometry.kernel))
        return f"convolution {kernel}, {_thinned(new.sampler, new.geometry, new.sees)}"
    if isinstance(new, Thin):
        return f"convolution, {_thinned(new.sampler, new.geometry, new.edge)}"
    return str(new)


def _thinned(sampler: Any, geometry: Geometry, padding: str) -> str:
    plain = isinstance(sampler, Strided) or (isinstance(sampler, Every) and geometry.spread[0] > 1)
    dense = "" if plain else "dense, "
    spread = (
        "" if geometry.spread == (1, 1) else f", spread by {'x'.join(map(str, geometry.spread))}"
    )
    stride = "x".join(map(str, geometry.stride))
    return f"{dense}{_word(sampler)}, stride {stride}{spread}, padding {padding}"


def _word(thing: Any) -> str:
    """``max``, ``lp2``, ``blur3``, ``polyphase-l2``."""
    numbers = [getattr(thing, key, "") for key in ("power", "sharpness")]
    number = next((f"{one:g}" for one in numbers if one != ""), "")
    taps = getattr(thing, "taps", 1)
    if thing.name == "blur":
        return f"blur{taps}"
    blur = f"blur{taps}+" if taps > 1 else ""
    norm = f"-{thing.norm}" if hasattr(thing, "norm") else ""
    return f"{blur}{thing.name}{number}{norm}"


def layer_exchanged(
    layer: nn.Module, read: Read, exchange: Exchange, spread: Pair, channels: int, number: int
) -> nn.Module:
    """What takes the place of a layer, its parameters kept."""
    if read.what == "pool":
        return exchange.pool(read, exchange.sampler(read, channels, number), spread)
    assert isinstance(layer, nn.Conv2d)
    plain = not read.down or exchange.kind.naive
    if plain and spread == (1, 1):
        layer.padding_mode = _MODES[exchange.edges.of(layer)]
        return layer
    sampler = exchange.sampler(read, channels, number)
    edges = exchange.edges
    return DownConv(layer, sampler, edges.of(layer), edges.sampler, spread)


def calls_exchanged(
    read: Read, exchange: Exchange, spread: Pair, channels: int, number: int
) -> tuple[nn.Module, nn.Module]:
    """What stands before and behind a dense convolution that is written as a call."""
    assert read.geometry is not None
    geometry: Geometry = replace(read.geometry, spread=spread)
    sampler = exchange.sampler(read, channels, number)
    if exchange.kind.naive:
        sampler = Strided()
    edges = exchange.edges
    before = Extend(geometry, sampler, edges.window)
    return before, Thin(geometry, sampler, edges.sampler)
