"""Networks that give other logits have another fingerprint, however the difference is kept."""

from __future__ import annotations

import copy
import enum
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustlab.backbones import Backbone, weigh


class _Keeps(nn.Module):
    """A network with something of its own that no state dict holds."""

    def __init__(self, **kept: object) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.__dict__.update(kept)

    def forward(self, x: Tensor) -> Tensor:
        kept = vars(self)
        y = x.flatten(1) * kept.get("scale", 1.0) * kept.get("_hidden", 1.0)
        logits: Tensor = self.linear(kept.get("act", torch.relu)(y))
        return logits


def _print_of(module: nn.Module) -> str:
    return Backbone(module.eval(), input_shape=(1, 2, 2), classes=2).fingerprint


def _hooked(factor: float) -> nn.Module:
    module = _Keeps()
    module.register_forward_pre_hook(_times_three if factor == 3 else _times_minus)
    return module


def _times_three(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (3 * given[0],)


def _times_minus(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (-given[0],)


def _encoder(norm_first: bool) -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 1, 8, norm_first=norm_first, batch_first=True)
    return nn.Sequential(nn.Flatten(), layer, nn.Linear(4, 2))


@dataclass
class _Config:
    slope: float


class _Slot:
    __slots__ = ("slope",)

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.slope


class _Slope(enum.Enum):
    small = 0.1
    large = 0.9


class _Base(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class _Heir(_Base):
    pass


def _linear(factor: float) -> nn.Module:
    module = nn.Linear(2, 2)
    nn.init.constant_(module.weight, factor)
    nn.init.zeros_(module.bias)
    return module.eval()


def _scaled_by_default(factor: float) -> Callable[[Tensor], Tensor]:
    def scaled(x: Tensor, by: float = factor) -> Tensor:
        return x * by

    return scaled


# What a network may keep as `self.kept`, each with another that changes the logits read from it.
KEPT: dict[str, tuple[object, object]] = {
    "a partial function": (
        partial(functional.leaky_relu, negative_slope=0.1),
        partial(functional.leaky_relu, negative_slope=0.9),
    ),
    "a set": ({1, 2}, {3, 4}),
    "a data class": (_Config(0.1), _Config(0.9)),
    "a member of an enumeration": (_Slope.small, _Slope.large),
    "a number of numpy": (np.float32(0.1), np.float32(0.9)),
    "a range": (range(2), range(5)),
    "bytes": (b"a", b"abc"),
    "a complex number": (1 + 0j, 2 + 0j),
    "a module in a list": ([_linear(1)], [_linear(2)]),
    "a bfloat16 tensor": (torch.tensor(0.1).bfloat16(), torch.tensor(0.9).bfloat16()),
    "an array of objects": (np.array([1, "a"], object), np.array([2, "a"], object)),
    "a namespace": (SimpleNamespace(slope=0.1), SimpleNamespace(slope=0.9)),
    "an object without a dict": (_Slot(0.1), _Slot(0.9)),
    "the method of an object": (_Slot(0.1).__call__, _Slot(0.9).__call__),
    "a default value": (_scaled_by_default(0.1), _scaled_by_default(0.9)),
    "a class": (_Base, _Heir),
    "one thing in another's place": ([_Config(0.1), _Config(0.9)], [_Config(0.9), _Config(0.1)]),
}

PAIRS = {
    **{name: (_Keeps(kept=one), _Keeps(kept=other)) for name, (one, other) in KEPT.items()},
    "a plain tensor": (_Keeps(scale=torch.tensor(0.1)), _Keeps(scale=torch.tensor(0.9))),
    "a function": (_Keeps(act=torch.relu), _Keeps(act=torch.sin)),
    "a private number": (_Keeps(_hidden=1.0), _Keeps(_hidden=-7.0)),
    "a hook": (_hooked(3), _hooked(-1)),
    "a hook or none": (_hooked(3), _Keeps()),
    "an option of torch's own layer": (_encoder(False), _encoder(True)),
}


@pytest.mark.parametrize("difference", PAIRS)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_what_decides_logits_decides_the_fingerprint(difference: str) -> None:
    first, second = PAIRS[difference]
    assert _print_of(first) != _print_of(second)
    assert _print_of(first) == _print_of(first)


def _distinct(difference: str) -> bool:
    first, second = PAIRS[difference]
    return _print_of(first) != _print_of(second)


@pytest.mark.parametrize("difference", KEPT)
def test_that_check_kills_values_told_by_their_class(
    difference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weigh, "_text", lambda value, seen: type(value).__qualname__)
    assert not _distinct(difference)


@pytest.mark.parametrize("difference", KEPT)
def test_an_equal_value_elsewhere_in_memory_changes_nothing(difference: str) -> None:
    for kept in KEPT[difference]:
        assert _print_of(_Keeps(kept=kept)) == _print_of(_Keeps(kept=copy.deepcopy(kept)))


def test_what_cannot_be_told_counts_by_its_class() -> None:
    locks = [threading.Lock(), threading.Lock()]
    assert len({_print_of(_Locked(one)) for one in locks}) == 1
    assert _print_of(_Locked(locks[0])) != _print_of(_Locked(None))


class _Locked(_Keeps):
    """Copied with the lock it has, as one that is shared between threads would be."""

    def __init__(self, lock: object) -> None:
        super().__init__(lock=lock, log=logging.getLogger("a name"), device=torch.device("cpu"))

    def __deepcopy__(self, memo: dict[int, object]) -> _Locked:
        return _Locked(self.__dict__["lock"])


def test_circles_end() -> None:
    """A list that holds itself, the network, and an object that knows its owner."""

    def around(number: int) -> nn.Module:
        circle: list[object] = [number]
        config = _Config(0.1)
        module = _Keeps(circle=circle, config=config)
        circle += [circle, module, module.linear]
        config.__dict__["owner"] = module
        return module

    assert _print_of(around(1)) == _print_of(around(1)) != _print_of(around(2))


def test_a_layer_that_stands_at_two_places_counts_at_both():
    relu, linear = nn.ReLU(), nn.Linear(2, 2)
    once = nn.Sequential(nn.Flatten(), relu, linear).eval()
    twice = nn.Sequential(nn.Flatten(), relu, linear, relu).eval()
    assert weigh.weigh(once, None, None, (1, 1, 2), 2) != weigh.weigh(
        twice, None, None, (1, 1, 2), 2
    )


def test_how_torch_writes_its_layers_does_not_count(monkeypatch):
    """From one version to the next a layer's repr says more: BatchNorm2d(..., bias=True)."""
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten()).eval()
    before = weigh.weigh(network, None, None, (1, 1, 2), 2)
    monkeypatch.setattr(nn.BatchNorm2d, "extra_repr", lambda self: "another word")
    assert weigh.weigh(network, None, None, (1, 1, 2), 2) == before
