"""Networks that cannot be traced: watched while they run, so that no site slips by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from robustlab.errors import BadRequest
from robustlab.pooling.calls import read_call
from robustlab.pooling.picking import plain
from robustlab.pooling.reading import Read, read_module
from robustlab.pooling.tracing import Step, known_layer

__all__ = ["Guarded", "watched"]

Tell = Callable[[Any, Read, tuple[int, ...], tuple[int, ...]], None]


class _Watching(TorchFunctionMode):
    """Tells of every call that is a site, outside of the layers that are known already."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self.tell = tell
        self.inside = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        first = args[0] if args else kwargs.get("input")
        if self.inside or not isinstance(first, Tensor) or not isinstance(made, Tensor):
            return made
        with torch._C.DisableTorchFunction():
            rest = [plain(one) for one in args[1:]]
            named = {key: plain(value) for key, value in kwargs.items() if key != "input"}
            given, result = tuple(first.shape), tuple(made.shape)
            read = read_call(func, rest, named, given, result)
        if read is not None:
            self.tell(func, read, given, result)
        return made

    @contextmanager
    def beside(self, modules: Iterator[nn.Module]) -> Iterator[None]:
        """Watch, but not what happens in these modules."""

        def enter(*_: Any) -> None:
            self.inside += 1

        def leave(*_: Any) -> None:
            self.inside -= 1

        self.inside = 0
        handles = []
        for one in modules:
            handles.append(one.register_forward_pre_hook(enter))
            handles.append(one.register_forward_hook(leave))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()


def watched(module: nn.Module, images: Tensor) -> list[Step]:
    """The steps of one pass that are modules.

    Raises:
        BadRequest: a site is written as a function call, so that it cannot be exchanged.
        Unreadable: a step makes maps smaller in an unknown way.
    """
    steps: list[Step] = []
    names = {one: name for name, one in module.named_modules()}

    def record(one: nn.Module, given: Any, made: Any) -> None:
        if given and isinstance(given[0], Tensor) and isinstance(made, Tensor):
            before, after = tuple(given[0].shape), tuple(made.shape)
            steps.append(Step(names[one], True, before, after, read_module(one, before, after)))

    def refuse(func: Any, read: Read, given: Any, made: Any) -> None:
        if read.down or read.what != "conv":
            raise BadRequest(
                f"its forward calls {read.text} as a function and cannot be traced; make that a "
                "layer of the network"
            )

    handles = [one.register_forward_hook(record) for one in names if known_layer(one)]
    try:
        with torch.no_grad(), _Watching(refuse).beside(one for one in names if known_layer(one)):
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    return steps


class Guarded(nn.Module):
    """A network whose sites were exchanged layer by layer without its graph.

    What one pass showed need not hold for the next: where the forward takes another way and meets
    a down-sampling function that was not exchanged, this raises instead of computing something
    else than it says.

    Raises:
        BadRequest: in forward, on such a call.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.train(module.training)

    def forward(self, x: Tensor) -> Tensor:
        def refuse(func: Any, read: Read, given: Any, made: Any) -> None:
            if read.down:
                raise BadRequest(
                    f"the swapped network called {read.text}, which was not exchanged: its forward "
                    "takes different ways for different images, and cannot be swapped"
                )

        known = (one for one in self.module.modules() if known_layer(one))
        with _Watching(refuse).beside(known):
            logits: Tensor = self.module(x)
        return logits
