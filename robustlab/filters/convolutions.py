"""The convolutions of a network in the order in which they run, with the weights they run with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest, choices
from robustlab.hooks import observe

__all__ = ["Convolution", "find_convolutions", "given_to", "pick", "told_of_remade"]


@dataclass(frozen=True)
class Convolution:
    """One `torch.nn.Conv2d`.

    Attributes:
        name: the module's name.
        weight: float64 [out, in / groups, kh, kw].
        stride: rows, columns.
        groups: into how many parts the channels are split; 1: every filter sees every channel.
        module: the layer itself.
    """

    @property
    def remade(self) -> bool:
        """Whether its class runs it in a way of its own, with other weights than it keeps perhaps
        (standardised ones, binary ones).
        """
        kind = type(self.module)
        return (kind.forward, kind._conv_forward) != (nn.Conv2d.forward, nn.Conv2d._conv_forward)

    name: str
    weight: NDArray[np.float64]
    stride: tuple[int, int]
    groups: int
    module: nn.Conv2d


def find_convolutions(backbone: Backbone) -> list[Convolution]:
    """All of them, each once, as a pass over an empty image meets them.

    Raises:
        BadRequest: there is none; the layers that there are, are named.
    """
    met: dict[str, nn.Conv2d] = {}
    kinds: dict[str, None] = {}

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        kinds[type(module).__name__] = None
        if isinstance(module, nn.Conv2d) and module not in met.values():
            met[name] = module

    blank = torch.zeros(2, *backbone.input_shape, dtype=backbone.dtype, device=backbone.device)
    observe(backbone.network, blank, see)
    if not met:
        raise BadRequest(
            f"{backbone.name} has no convolution with shared weights (torch.nn.Conv2d), only "
            f"{', '.join(kinds)}; `feature_maps` and `retrieval` look at any layer"
        )
    return [_read(name, module) for name, module in met.items()]


def _read(name: str, module: nn.Conv2d) -> Convolution:
    weight = module.weight.detach().double().cpu().numpy()
    rows, columns = module.stride
    return Convolution(name, weight, (rows, columns), module.groups, module)


def pick(backbone: Backbone, found: Sequence[Any], name: str, what: str = "layer") -> Any:
    """The one of ``found`` (anything with a name) called ``name``.

    Raises:
        BadRequest: there is none of that name; the nearest is told.
    """
    named = {one.name: one for one in found}
    if name not in named:
        raise BadRequest(f"{backbone.name} has no {what} {name!r}{choices(name, named)}")
    return named[name]


def told_of_remade(found: Sequence[Convolution]) -> list[str]:
    """A note that what is kept need not be what runs; none where every layer is torch's own."""
    remade = [one for one in found if one.remade]
    if not remade:
        return []
    kinds = ", ".join(dict.fromkeys(type(one.module).__name__ for one in remade))
    more = f" and {len(remade) - 1} more" if len(remade) > 1 else ""
    return [
        f"{remade[0].name}{more} ({kinds}) may run with other weights than it keeps, as "
        "standardised ones; shown and counted are those that it keeps."
    ]


@contextmanager
def given_to(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a module is given in the passes made inside the block; the hook is taken off again."""
    kept: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, given: kept.append(given[0].clone()))
    try:
        yield kept
    finally:
        handle.remove()
