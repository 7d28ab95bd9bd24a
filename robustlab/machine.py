"""What this machine computes fastest, by measuring: threads, batch, and the search's precision.

Chosen once a run and kept in `resolved.json`; none of it decides what counts as a success, for
verification is float32 on the original network whatever the search ran in.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from robustlab.adversarial.fastpath import half_copy, search_copy
from robustlab.adversarial.images import exact_kernels, working_dtype
from robustlab.backbones import Backbone

__all__ = ["Choice", "choose", "fastest_threads", "matrix_units", "seconds_a_pass", "with_threads"]

_BATCH = 64
_SIZES = (8, 16, 32, 64, 128, 256)
_WORTH = 1.2  # how much faster threads or a batch must be to be taken
# And bfloat16: what it leaves standing is searched a second time. At five times the speed a network
# that stands costs a fifth more, one that falls up to five times less.
_HALF_WORTH = 5.0
_ACTIVATION_BYTES = 1 << 30  # what one batch's activations may take
_ACTIVATIONS = 60  # how many times an image's own size they are, at most, in the lectures' networks


@dataclass(frozen=True)
class Choice:
    """How a run's searches are computed.

    Attributes:
        threads, batch: of a search; images a batch.
        precision: "float32"; or "bfloat16": searched in it first, and again in float32 what stands.
        why: what was measured, in words.
    """

    threads: int
    batch: int
    precision: str
    why: str


def choose(backbones: Sequence[Backbone]) -> Choice:
    """Threads, then the batch, then the precision, each by the time of a pass of all networks."""
    threads = fastest_threads(backbones)
    with exact_kernels(), with_threads(threads):  # as searches run
        batch = _batch(backbones)
        precision, why = _precision(backbones, batch)
    return Choice(threads, batch, precision, why)


def matrix_units(device: torch.device) -> str:
    """The device's units for bfloat16 matrices by name; empty where it has none."""
    if device.type == "cuda":
        capable = torch.cuda.get_device_capability(device) >= (8, 0)
        return "tensor cores" if capable else ""
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)  # no public name in torch 2.11
    return "AMX tiles" if device.type == "cpu" and tiles is not None and tiles() else ""


def seconds_a_pass(backbone: Backbone, batch: int = _BATCH, *, half: bool = False) -> float:
    """Mean of a forward and a backward pass of an image, on a batch of noise; the best of three.

    Infinite where ``half`` is asked for and the network does not compute in bfloat16.
    """
    network, dtype = search_copy(backbone.network, backbone.input_shape)
    if half:
        lowered = half_copy(network, backbone.input_shape)
        if lowered is None:
            return math.inf
        network, dtype = lowered, torch.bfloat16
    dtype = dtype or working_dtype(backbone)
    own = torch.Generator().manual_seed(0)  # the global one is the user's
    x = torch.rand(batch, *backbone.input_shape, generator=own).to(backbone.device, dtype)
    x.requires_grad_(True)
    times = []
    for _ in range(4):  # the first call pays for set-up
        _wait(backbone.device)
        start = time.perf_counter()
        torch.autograd.grad(network(x).sum(), x)
        _wait(backbone.device)
        times.append(time.perf_counter() - start)
    return min(times[1:]) / (2 * batch)


@contextlib.contextmanager
def with_threads(count: int) -> Iterator[None]:
    """That many threads in torch, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest_threads(backbones: Sequence[Backbone]) -> int:
    """One thread, or all that torch would take where they are clearly faster.

    Small networks gain nothing from a second thread, and on a machine that is busy with other work
    threads that wait for each other lose a great deal.
    """
    most = torch.get_num_threads()
    if most == 1 or backbones[0].device.type != "cpu":
        return most
    spent, size = {}, min(_BATCH, _fitting(backbones))
    for count in (1, most):
        with with_threads(count):
            spent[count] = sum(seconds_a_pass(backbone, size) for backbone in backbones)
    return most if spent[most] * _WORTH < spent[1] else 1


def _batch(backbones: Sequence[Backbone]) -> int:
    """What fits the memory, 128 at most, unless another size is clearly faster an image."""
    fits = _fitting(backbones)
    usual = min(128, fits)
    spent = {
        count: sum(seconds_a_pass(backbone, count) for backbone in backbones)
        for count in {usual, *(count for count in _SIZES if count <= fits)}
    }
    best = min(spent, key=spent.__getitem__)
    return best if spent[best] * _WORTH < spent[usual] else usual


def _fitting(backbones: Sequence[Backbone]) -> int:
    """The largest batch, a power of two, whose activations fit the memory meant for them."""
    size = max(4 * math.prod(backbone.input_shape) * _ACTIVATIONS for backbone in backbones)
    return 1 << int(math.log2(max(1, _ACTIVATION_BYTES // size)))


def _precision(backbones: Sequence[Backbone], batch: int) -> tuple[str, str]:
    units = matrix_units(backbones[0].device)
    if not units:
        return "float32", "float32: the device has no matrix units for bfloat16"
    whole, half = (
        sum(seconds_a_pass(backbone, batch, half=lowered) for backbone in backbones)
        for lowered in (False, True)
    )
    told = f"a pass in bfloat16 ({units}) measured {whole / half:.1f} times as fast"
    if half * _HALF_WORTH < whole:
        return "bfloat16", f"bfloat16 first, float32 for what stands: {told}"
    return "float32", f"float32: {told}, {_HALF_WORTH:g} would be worth a second search"


def _wait(device: torch.device) -> None:
    """A GPU works on after the call returns; the clock must not."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
