"""Whether maps get thinner anywhere else than at the known sites: by what a larger image adds.

The network is watched on its image and on one larger by `GROWTH` pixels. Of a map of stride s the
larger image has ``GROWTH / s`` cells more, whatever was cropped or not padded before. Where it has
fewer than the maps that it was made from, and no known site explains it, something left values out:
a mean over blocks, every second row of ``unbind``, a product with a narrow matrix. Where a network
takes one size only, maps of half the size are told by their size.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from robustlab.hooks import GROWTH
from robustlab.pooling.calls import read_call
from robustlab.pooling.geometry import Pair
from robustlab.pooling.picking import plain
from robustlab.pooling.reading import Read, Shape, Unreadable, read_module
from robustlab.pooling.tracing import known_layer

__all__ = ["check_density"]

# They move values or take maps apart and lose none: what is made of the parts is judged.
_MOVING = """
    reshape view flatten unflatten permute transpose movedim moveaxis swapaxes contiguous unbind
    split chunk tensor_split getitem select unsqueeze squeeze
"""
_GROWING = ("interpolate", "upsample", "conv_transpose", "convtranspose", "pixel_shuffle")
_CROPPED = 0.7  # of the places that a larger image adds, a crop keeps about as many
_GLOBAL: Pair = (0, 0)


@dataclass(frozen=True)
class _Call:
    """One call: its name, who made it, calls whose results it took, shapes of the first thing that
    it took and gave, its stride.
    """

    name: str
    owner: str
    taken: tuple[int, ...]
    given: Shape
    shape: Shape
    stride: Pair | None  # of a known site; `_GLOBAL` where no place is left

    @property
    def moves(self) -> bool:
        return self.name.strip("_") in _MOVING.split()

    @property
    def grows(self) -> bool:
        return any(word in self.name.lower().replace("pixelsh", "pixel_sh") for word in _GROWING)


class _Watching(TorchFunctionMode):
    """Every call that gives a tensor, with known layers as one call each."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.network = network
        self._made: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._within: list[str] = [""]
        self._known = 0
        self._constant = {id(one) for m in network.modules() for one in _tensors(_held(m))}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not self._known:
            with torch._C.DisableTorchFunction():
                self._tell(func, args, kwargs or {}, made)
        return made

    def _tell(self, func: Any, args: Any, kwargs: Any, made: Any) -> None:
        rest = [plain(one) for one in args[1:]]
        named = {key: plain(value) for key, value in kwargs.items() if key != "input"}

        def read(given: Shape, result: Shape) -> Read | None:
            return read_call(func, rest, named, given, result)

        self.keep(getattr(func, "__name__", str(func)), (args, kwargs), made, read)

    def keep(
        self, name: str, given: Any, made: Any, read: Callable[[Shape, Shape], Read | None]
    ) -> None:
        """One call; what gives no tensor is none."""
        results, taken = list(_tensors(made)), list(_tensors(given))
        if not results:
            return
        places = dict.fromkeys(self._place(one) for one in taken)
        before = _shape(taken[0]) if taken else ()
        after, found = _shape(results[0]), None
        with contextlib.suppress(Unreadable):  # of the steps, which are read with their names
            found = read(before, after) if before else None
        known = tuple(one for one in places if one >= 0)
        self.calls.append(_Call(name, self._within[-1], known, before, after, _stride(found)))
        for one in results:
            self._made[id(one)] = weakref.ref(one), len(self.calls) - 1

    def _place(self, one: Tensor) -> int:
        """The call that made a tensor, -1 for none. What no call was seen to make comes out of
        foreign code, and may be made of whatever was made last.
        """
        held = self._made.get(id(one))
        if held is not None and held[0]() is one:
            return held[1]
        if id(one) in self._constant or not self.calls:
            return -1
        last = len(self.calls) - 1
        self.calls.append(_Call("foreign code", self._within[-1], (last,), (), _shape(one), None))
        self._made[id(one)] = weakref.ref(one), last + 1
        return last + 1

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Watch one pass of the network."""
        handles: list[Any] = []
        for name, module in self.network.named_modules():
            known = known_layer(module)

            def enter(one: nn.Module, given: Any, name: str = name, known: bool = known) -> None:
                self._within.append(name)
                self._known += known

            def leave(one: nn.Module, given: Any, made: Any, known: bool = known) -> None:
                self._within.pop()
                self._known -= known
                if known and not self._known:
                    with torch._C.DisableTorchFunction():
                        self.keep(type(one).__name__, given, made, partial(read_module, one))

            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
        try:
            with self, torch.no_grad():
                yield
        finally:
            for handle in handles:
                handle.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _held(module: nn.Module) -> list[Any]:
    """What a module holds, its weights among it."""
    return [module._parameters, module._buffers, *vars(module).values()]


def _shape(one: Tensor) -> Shape:
    """Of a complex one, as of a spectrum, none: frequencies are no places."""
    return () if one.is_complex() else tuple(one.shape)


def _stride(read: Read | None) -> Pair | None:
    if read is None:
        return None
    if read.geometry is not None:
        return read.geometry.stride
    return _GLOBAL if read.what in ("global", "flatten") else None


@dataclass(frozen=True)
class _Map:
    """The last map that a tensor was made of: its size, and that on the larger image."""

    size: Pair
    larger: Pair

    @property
    def growth(self) -> Pair:
        return self.larger[0] - self.size[0], self.larger[1] - self.size[1]

    @property
    def added(self) -> int:
        """Places that the larger image adds."""
        return self.larger[0] * self.larger[1] - self.size[0] * self.size[1]


def check_density(network: nn.Module, images: Tensor) -> None:
    """Every place where maps get thinner is a site that `reading` or `calls` knows.

    Args:
        images: one image that the network takes, [1, C, H, W].

    Raises:
        Unreadable: one is not; with the call, its module and the sizes.
    """
    calls = _watched(network, images)
    height, width = images.shape[2:]
    larger = images.new_full((1, images.shape[1], height + GROWTH, width + GROWTH), 0.5)
    beside = _watched(network, larger)
    image = _Map((height, width), (height + GROWTH, width + GROWTH))
    maps: list[_Map | None] = []
    for place, call in enumerate(calls):
        other = beside[place] if place < len(beside) else None
        if other is not None and (other.name, other.taken) != (call.name, call.taken):
            beside, other = [], None  # the larger image went another way
        given = [one for k in call.taken if (one := maps[k]) is not None]
        source = max(given, key=lambda one: (one.added, one.size), default=None)
        if place == 0:
            source = image
        maps.append(_judged(call, other, source))


def _watched(network: nn.Module, images: Tensor) -> list[_Call]:
    """Calls of one pass, the image as the first; up to where the network fails."""
    watching = _Watching(network)
    with contextlib.suppress(Exception), watching.inside():
        with torch._C.DisableTorchFunction():
            watching.keep("image", (), images, lambda *_: None)
        network(images)
    return watching.calls


def _judged(call: _Call, other: _Call | None, source: _Map | None) -> _Map | None:
    """The map that the result stands for, if it is one or made of one."""
    if source is None or call.stride == _GLOBAL or not call.shape:
        return None if call.shape else source
    if call.shape[0] != 1:  # windows became images
        return source
    grown = _grown(call.shape, other.shape) if other is not None else []
    if other is None or not grown:
        return _by_size(call, source)
    if len(call.shape) == 4 and grown in ([2, 3], [1, 2]):
        return _by_growth(call, other, source, grown)
    if len(grown) == 1 and len(call.shape) in (3, 4) and not call.moves:
        more = other.shape[grown[0]] - call.shape[grown[0]]
        if more not in source.growth and more < _CROPPED * source.added:
            _refuse(call, source, f"{call.shape[grown[0]]} places")
    return source


def _grown(shape: Shape, larger: Shape) -> list[int]:
    if len(shape) != len(larger):
        return []
    return [axis for axis, (a, b) in enumerate(zip(shape, larger, strict=True)) if a != b]


def _by_growth(call: _Call, other: _Call, source: _Map, axes: Sequence[int]) -> _Map:
    rows, columns = axes
    made = _Map((call.shape[rows], call.shape[columns]), (other.shape[rows], other.shape[columns]))
    if call.grows or call.name == "image":
        return made
    stride = call.stride or (1, 1)
    expected = [more // step for more, step in zip(source.growth, stride, strict=True)]
    if any(a > e + 1 for a, e in zip(made.growth, expected, strict=True)):
        return source  # places by places, as attention has them
    if any(a < e for a, e in zip(made.growth, expected, strict=True)):
        if call.moves:
            return source
        _refuse(call, source, "x".join(map(str, made.size)))
    return made


def _by_size(call: _Call, source: _Map) -> _Map | None:
    """Of a map whose size does not grow with the image, or whose growth is not known."""
    if len(call.shape) != 4:
        return source if len(call.shape) > 2 else None
    made = call.shape[2], call.shape[3]
    apart = len(call.given) == 4 and any(
        a > b for a, b in zip(call.given[2:], source.size, strict=True)
    )
    if apart:  # places by places, as attention has them
        return source
    if call.stride is not None:
        _check_halves(call, source, call.given[-2:])
        return _Map(made, made)
    fits = all(out <= size for out, size in zip(made, source.size, strict=True))
    if not fits or call.moves or call.grows:
        return source
    if made == (1, 1):
        return None
    _check_halves(call, source, made)
    return source if source.size == made else _Map(made, made)


def _check_halves(call: _Call, source: _Map, size: Sequence[int]) -> None:
    if any(1 < 2 * out - 1 <= before for out, before in zip(size, source.size, strict=True)):
        _refuse(call, source, "x".join(map(str, size)))


def _refuse(call: _Call, source: _Map, made: str) -> None:
    where = f" in {call.owner!r}" if call.owner else ""
    size = "x".join(map(str, source.size))
    raise Unreadable(
        f"{call.name}{where} is reached by {made} out of maps of {size}, and no pooling layer or "
        "call between them says how, so it cannot be exchanged; write it as a layer, as "
        "nn.AvgPool2d(2)"
    )
