"""Feature maps at every layer of any module, seen by hooks that are always taken off again.

A layer is the output of a module, in the order in which outputs are ready: leaves and those
containers whose output is a tensor of its own (a sum, a functional activation). A module used twice
gives two layers, ``relu`` and ``relu#2``. What is 4-D is a map [n, C, h, w]; channels last
[n, h, w, C] are recognised by which axes grow with the image, and turned. What is 2-D, or a map of
one cell, is a vector. Anything else (tokens, tuples) is passed over and named.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["GROWTH", "Layer", "counted", "feature_maps", "find_layers", "listening", "observe"]

GROWTH = 96  # pixels; every stride that divides it is found by it

See = Callable[[str, nn.Module, Tensor], Tensor | None]


@dataclass(frozen=True)
class Layer:
    """One layer of a network on images of one size.

    Attributes:
        name: the module's name, ``#2`` behind it at its second use; ``output`` is the whole.
        module: the module's class.
        kind: ``"map"`` or ``"vector"``.
        shape: (C, h, w) of a map, (d,) of a vector.
        channels_last: whether the module gives [n, h, w, C].
        growth: by how many cells, rows and columns, the map grows on an image `GROWTH` pixels
            larger; (0, 0) where the network does not take one, or the map does not grow.
    """

    name: str
    module: str
    kind: Literal["map", "vector"]
    shape: tuple[int, ...]
    channels_last: bool = False
    growth: tuple[int, int] = (0, 0)

    @property
    def size(self) -> int:
        """Values an image."""
        return math.prod(self.shape)

    def standard(self, output: Tensor) -> Tensor:
        """The module's output as [n, C, h, w] or [n, d]."""
        if self.kind == "vector":
            return output.flatten(1)
        return output.permute(0, 3, 1, 2) if self.channels_last else output


@contextmanager
def listening(network: nn.Module, see: See) -> Iterator[None]:
    """Call ``see(name, module, output)`` for every layer of the passes made inside the block.

    ``see`` must not keep the tensor without copying it: a later layer may work in place. A tensor
    that it gives back goes on in the place of the layer's output. Names are counted anew in each
    pass. Hooks are taken off at the end of the block, on an error too.
    """
    counts: dict[str, int] = {}
    alive: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def begin(module: nn.Module, given: Any) -> None:
        counts.clear()
        alive.clear()

    def hook(name: str) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def seen(module: nn.Module, given: Any, output: Any) -> Tensor | None:
            if not isinstance(output, Tensor) or _known(alive, output):
                return None
            alive[id(output)] = weakref.ref(output), output._version
            counts[name] = counts.get(name, 0) + 1
            called = name if counts[name] == 1 else f"{name}#{counts[name]}"
            instead = see(called, module, output)
            if instead is not None:
                alive[id(instead)] = weakref.ref(instead), instead._version
            return instead

        return seen

    with ExitStack() as stack:
        stack.callback(network.register_forward_pre_hook(begin).remove)
        for name, module in _named(network):
            stack.callback(module.register_forward_hook(hook(name)).remove)
        yield


def _known(alive: dict[int, tuple[weakref.ref[Tensor], int]], output: Tensor) -> bool:
    """Whether a module hands on what another has given: a container, an identity, dropout at rest.

    An activation in place gives the same tensor with other values, which its version tells.
    """
    held = alive.get(id(output))
    return held is not None and held[0]() is output and held[1] == output._version


def _named(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules by name; of a normalisation put in front of a network the network's own names."""
    inner = "module" if type(network).__name__ == "Normalised" else ""
    for name, module in network.named_modules():
        own = name.removeprefix(inner).removeprefix(".") if inner else name
        yield own or "output", module


def observe(network: nn.Module, x: Tensor, see: See) -> Tensor:
    """One pass without gradients that calls ``see`` at every layer; gives the network's output."""
    # Tensors of inference mode have no versions, by which work in place is told.
    with torch.inference_mode(False), torch.no_grad(), listening(network, see):
        output: Tensor = network(x.clone() if x.is_inference() else x)
    return output


def find_layers(network: nn.Module, x: Tensor, limit: int = 0) -> tuple[list[Layer], list[str]]:
    """The layers in order of execution, and the names of what was passed over.

    Args:
        x: images [n, C, H, W] with n of at least 2, so that the axis of images is told by its size.
        limit: at most so many layers, evenly spread, the first and the last among them; 0: all.
    """
    found: list[Layer] = []
    other: list[str] = []
    larger = _larger_shapes(network, x)

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        layer = _layer(name, module, output, x, larger.get(name))
        if layer is None:
            other.append(name)
        else:
            found.append(layer)

    observe(network, x, see)
    return _spread(found, limit), other


def _larger_shapes(network: nn.Module, x: Tensor) -> dict[str, tuple[int, ...]]:
    """Shapes of outputs on one larger image, as far as the network takes it: a head that takes one
    size only stops the pass, the maps in front of it have been seen.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    larger = x.new_zeros(1, x.shape[1], *(side + GROWTH for side in x.shape[2:]))
    with contextlib.suppress(Exception):
        observe(network, larger, lambda name, _, output: shapes.update({name: output.shape[1:]}))
    return shapes


def _layer(
    name: str, module: nn.Module, output: Tensor, x: Tensor, larger: tuple[int, ...] | None
) -> Layer | None:
    shape, kind = tuple(output.shape), type(module).__name__
    if not output.is_floating_point() or shape[0] != len(x) or 0 in shape:
        return None
    if len(shape) == 2:
        return Layer(name, kind, "vector", shape[1:])
    if len(shape) != 4:
        return None
    same = larger is not None and len(larger) == 3
    a, b, c = (
        (y - z for y, z in zip(larger, shape[1:], strict=True)) if same and larger else (0,) * 3
    )
    if a or b or c:
        last = c == 0 and a > 0 and b > 0
    else:  # nothing grows: of a square image the two equal sides are height and width
        last = x.shape[2] == x.shape[3] and shape[1] == shape[2] != shape[3]
    if last:
        return _as_map(name, kind, (shape[3], shape[1], shape[2]), True, (a, b))
    return _as_map(name, kind, (shape[1], shape[2], shape[3]), False, (b, c))


def _as_map(
    name: str, kind: str, shape: tuple[int, int, int], last: bool, growth: tuple[int, int]
) -> Layer:
    if shape[1:] == (1, 1):
        return Layer(name, kind, "vector", shape[:1], last)
    return Layer(name, kind, "map", shape, last, growth)


def _spread(found: list[Layer], limit: int) -> list[Layer]:
    if not limit or len(found) <= limit:
        return found
    places = {round(i * (len(found) - 1) / max(1, limit - 1)) for i in range(limit)}
    return [found[i] for i in sorted(places | {len(found) - 1})][-limit:]


@contextmanager
def counted(network: nn.Module) -> Iterator[list[int]]:
    """The number of images in each pass of the network, and of copies made of it meanwhile."""
    passes: list[int] = []
    handle = network.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    try:
        yield passes
    finally:
        handle.remove()


def feature_maps(
    network: nn.Module, x: Tensor, layers: Sequence[Layer]
) -> tuple[dict[str, Tensor], Tensor]:
    """One pass without gradients: copies of what some layers give, and the network's output.

    Returns:
        name -> [n, C, h, w] or [n, d], in order of execution; the output.
    """
    wanted = {layer.name: layer for layer in layers}
    kept: dict[str, Tensor] = {}

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        if name in wanted:
            kept[name] = wanted[name].standard(output).clone()

    output = observe(network, x, see)
    return kept, output
