"""One forward pass watched from two sides: modules by hooks, operators by torch's dispatcher.

In inference mode the dispatcher is handed whole operators (a convolution, a pooling, a view),
whether a module, a function or a loop of the user's own calls them. So nothing need be traced, and
what runs twice is seen twice. Weights and images lie on the meta device: shapes, no numbers.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from robustlab.arithmetic.operation import Found, Operation
from robustlab.arithmetic.rules import apply, rule_of, unknown
from robustlab.arithmetic.seen import Seen, image, lost

__all__ = ["Call", "Event", "Record", "Unfolding", "record", "still"]

# These take of the image its shape alone: what they make does not depend on it.
CONSTANT = {f"{kind}_like" for kind in ("zeros", "ones", "full", "empty", "rand", "randn")}
CONSTANT |= {"new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided"}


@dataclass
class Event:
    """One operator that depends on the image.

    Attributes:
        path, call: the innermost module, and which call of it.
        sources: numbers of the events that it reads, through changes of shape.
        parameters: names of those it reads.
    """

    op: str
    path: str
    call: int
    found: Found
    given: tuple[int, ...]
    made: tuple[int, ...]
    bytes: int
    sources: frozenset[int]
    parameters: frozenset[str]


@dataclass(frozen=True)
class Unfolding:
    """Windows along one dimension of a tensor, as `Tensor.unfold` took them."""

    shape: tuple[int, ...]  # of the tensor
    dim: int
    size: int
    step: int
    out: int  # how many windows


@dataclass
class Call:
    """One call of a module."""

    path: str
    number: int
    kind: str
    first: int
    given: tuple[int, ...] = ()
    made: tuple[int, ...] = ()
    bytes: int = 0
    seen: Seen | None = None
    untold: bool = False  # its result does not depend on the image, as far as torch was asked
    inner: int = 0  # modules inside of it
    last: int = 0
    unfoldings: list[Unfolding] = field(default_factory=list)


@dataclass
class Record:
    """What one forward pass did."""

    events: list[Event] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    real: bool = False  # whether numbers had to be computed


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what depends on the image through every operator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = Record()
        self.seen: Any = WeakIdKeyDictionary()
        self.source: Any = WeakIdKeyDictionary()
        self.names: Any = WeakIdKeyDictionary()
        self.root: Any = WeakIdKeyDictionary()
        self.views: dict[int, list[weakref.ref[Tensor]]] = {}
        self.roots = itertools.count()
        self.stack: list[Call] = []
        self.counts: dict[str, int] = {}

    # Modules --------------------------------------------------------------------------------------

    def enter(self, path: str, module: nn.Module, args: Sequence[Any], kwargs: Any) -> None:
        self.counts[path] = self.counts.get(path, 0) + 1
        call = Call(path, self.counts[path], type(module).__name__, len(self.record.events))
        call.inner = len([*module.children()])
        tensors = _tensors([*args, *kwargs.values()])
        call.given = tuple(tensors[0].shape) if tensors else ()
        self.stack.append(call)
        self.record.calls.append(call)

    def leave(self, given: Any, out: Any) -> None:
        call = self.stack.pop()
        call.last = len(self.record.events)
        made = _tensors([out])
        if not made:
            return
        call.made = tuple(made[0].shape)
        call.bytes = made[0].numel() * made[0].element_size()
        call.seen = self.seen.get(made[0])
        asked = any(one in self.seen for one in _tensors([given]))
        call.untold = call.seen is None and asked

    # Operators ------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[-1]
        plain = name.rstrip("_") if not name.endswith("__") else name
        rule = rule_of(func, plain)
        given = _given(func, args, kwargs)
        if rule is None or isinstance(given.get("padding"), str):
            with self:
                apart = func.decompose(*args, **kwargs)
            if apart is not NotImplemented:
                return apart
        out = func(*args, **kwargs)
        made = _tensors([out])
        if made:
            operation = Operation(plain, given, made, self.seen.get)
            self._note(operation, rule or unknown, inplace=func._schema.is_mutable)
        return out

    def _note(self, operation: Operation, rule: Any, inplace: bool) -> None:
        tensors = operation.tensors
        parameters = frozenset(
            itertools.chain.from_iterable(self.names.get(one, ()) for one in tensors)
        )
        if not operation.following or operation.name in CONSTANT:
            for made in operation.out:  # weights made of weights; buffers begun empty
                self.names[made] = parameters
                self._alias(made, tensors)
            return
        found = apply(rule, operation)
        if operation.name == "unfold" and self.stack and (one := _unfolding(operation)):
            self.stack[-1].unfoldings.append(one)
        sources = frozenset(
            itertools.chain.from_iterable(self.source.get(one, ()) for one in tensors)
        )
        if not found.quiet:
            made = operation.out[0]
            call = self.stack[-1] if self.stack else Call("", 1, "", 0)
            self.record.events.append(
                Event(
                    operation.name,
                    call.path,
                    call.number,
                    found,
                    tuple(operation.following[0].shape),
                    tuple(made.shape),
                    made.numel() * made.element_size(),
                    sources,
                    parameters,
                )
            )
            sources = frozenset([len(self.record.events) - 1])
        for made, seen in zip(operation.out, found.seen, strict=True):
            if inplace:
                self._written(made, seen)
            self.seen[made] = seen
            self.source[made] = sources
            self._alias(made, tensors)

    # Memory that several tensors share ------------------------------------------------------------

    def _alias(self, made: Tensor, tensors: Sequence[Tensor]) -> None:
        """Remember which tensors are views of one another."""
        base = next((one for one in tensors if one is not made and _shares(one, made)), None)
        if base is None or made in self.root:
            return
        if base not in self.root:
            self.root[base] = next(self.roots)
            self.views[self.root[base]] = [weakref.ref(base)]
        self.root[made] = self.root[base]
        self.views[self.root[base]].append(weakref.ref(made))

    def _written(self, made: Tensor, seen: Seen) -> None:
        """Written in place: other views of the same memory no longer see what they saw."""
        for ref in self.views.get(self.root.get(made, -1), ()):
            other = ref()
            if other is None or other is made:
                continue
            before = self.seen.get(other)
            same = before is not None and before.fields == seen.fields and not seen.lost
            if not same:
                self.seen[other] = lost("it is written piece by piece")


def _unfolding(operation: Operation) -> Unfolding | None:
    given = operation.given
    if "dimension" not in given:
        return None
    shape = tuple(given["self"].shape)
    dim = int(given["dimension"]) % len(shape)
    out = operation.out[0].shape[dim]
    return Unfolding(shape, dim, int(given["size"]), int(given["step"]), out)


def _shares(one: Tensor, other: Tensor) -> bool:
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


def _tensors(values: Any) -> list[Tensor]:
    """All tensors in lists, tuples and dictionaries, in order."""
    found: list[Tensor] = []
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple | dict):
            found += _tensors(value)
    return found


def _given(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """Arguments by name, defaults filled in."""
    arguments = func._schema.arguments
    bound = {one.name: one.default_value for one in arguments if one.has_default_value()}
    bound |= {one.name: value for one, value in zip(arguments, args, strict=False)}
    bound |= kwargs
    return bound


def record(module: nn.Module, shape: Sequence[int]) -> Record:
    """Watch one forward pass of one image (C, H, W); the module is left as it was.

    Numbers are computed only where shapes alone will not do, as where a branch is taken by a value.

    Raises:
        RuntimeError: or what else the module raises on such an image.
    """
    try:
        return _run(module, shape, real=False)
    except Exception:  # a value is needed, or the module cannot take the image: the run will tell
        if any(one.is_meta for one in _weights(module).values()):
            raise
        return _run(module, shape, real=True)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return dict(itertools.chain(module.named_parameters(), module.named_buffers()))


def _run(module: nn.Module, shape: Sequence[int], real: bool) -> Record:
    weights = _weights(module)
    floating = next((one for one in weights.values() if one.is_floating_point()), None)
    dtype = torch.float32 if floating is None else floating.dtype
    device = "meta" if not real else "cpu" if floating is None else floating.device
    watch = _Watch()
    watch.record.real = real
    swapped = {} if real else {name: one.detach().to("meta") for name, one in weights.items()}
    parameters = {name for name, _ in module.named_parameters()}
    with still(module), _hooks(module, watch), torch.inference_mode():
        x = torch.zeros((1, *shape), dtype=dtype, device=device)
        for name, one in (weights if real else swapped).items():
            watch.names[one] = frozenset([name]) if name in parameters else frozenset()
        watch.seen[x] = image(x.shape)
        with watch:
            if real:
                module(x)
            else:
                torch.func.functional_call(module, swapped, (x,))
    return watch.record


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """In eval mode, and afterwards in the modes it had."""
    before = {one: one.training for one in module.modules()}
    for one in before:
        one.training = False
    try:
        yield
    finally:
        for one, training in before.items():
            one.training = training


@contextmanager
def _hooks(module: nn.Module, watch: _Watch) -> Iterator[None]:
    with ExitStack() as stack:
        for path, one in module.named_modules():
            for handle in _hooked(path, one, watch):
                stack.callback(handle.remove)
        yield


def _hooked(path: str, module: nn.Module, watch: _Watch) -> list[Any]:
    def before(one: nn.Module, args: Any, kwargs: Any) -> None:
        watch.enter(path, one, args, kwargs)

    def after(one: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        watch.leave([*args, *kwargs.values()], out)

    return [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, with_kwargs=True),
    ]
