"""What does this kernel do? The lectures' kernels and the network's own, on images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from robustlab.adversarial.images import exact_kernels, load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest, choices
from robustlab.filters.convolutions import (
    Convolution,
    find_convolutions,
    given_to,
    pick,
    told_of_remade,
)
from robustlab.filters.convolving import (
    KERNELS,
    as_kernel,
    correlate,
    flip,
    flip_and_filter,
    translate_and_scale,
)
from robustlab.filters.kernel_statistics import describe as describe_kernels
from robustlab.filters.kernel_statistics import order
from robustlab.filters.sheets import Pixels, centred, colours, fitting, grid
from robustlab.hooks import counted, observe
from robustlab.outcome import Metric, Outcome, Picture
from robustlab.registry import probe

__all__ = ["filter_bank"]

ROOM = 96


@probe("filter_bank", scope="set", version=2)
def filter_bank(
    backbone: Backbone,
    data: Data,
    *,
    names: tuple[str, ...] = (
        "difference",
        "blur",
        "sharpen",
        "edges",
        "upright edges",
        "level edges",
    ),
    layer: str = "",
    filters: int = 6,
    stride: int = 1,
    padding: int = 0,
    fill: Literal["zero", "replicate", "reflect", "circular"] = "zero",
) -> Outcome:
    """What the lectures' kernels and the network's own do to images; correlation, convolution.

    Per image and kernel of the lectures: ``differs[name]``, how far convolution is from correlation
    (norm of the difference over the norm of the correlation), ``methods[name]``, the largest
    difference between flip-and-filter and translate-and-scale. Of the network's layer, where it has
    convolutions: ``correlates``, how far what it gives is from correlation with its kernels (and
    its bias), ``convolves``, how far from convolution; both as shares of the output's norm. The
    lectures' kernels are applied to each channel alone, whatever the network.

    names: kernels of the lectures: difference, blur, sharpen, edges, upright edges, level edges
    layer: the network's convolution to show; left out, the first
    filters: at most so many of its kernels; 0: none
    stride: every so many pixels, of the lectures' kernels
    padding: pixels around the image, of the lectures' kernels
    fill: what they are: zero, replicate, reflect or circular
    """
    _check(names, filters)
    own = _own(backbone, layer, filters)
    samples: dict[str, list[float]] = {}
    drawn: list[list[Pixels | None]] = []
    with exact_kernels(), counted(backbone.network) as passes:
        for row in range(len(data)):
            image = load_pixels(data, [row], backbone)[0][0].double()
            for name in names:
                told, tiles = _lecture(image, name, (stride, padding, fill))
                for what, value in told.items():
                    samples.setdefault(f"{what}[{name}]", []).append(value)
                drawn += [tiles] if row == 0 else []
            if own is not None:
                told, rows = _network(backbone, own, data, row, filters)
                for what, value in told.items():
                    samples.setdefault(what, []).append(value)
                drawn += rows if row == 0 else []
    return Outcome(
        {"id": np.array(data.ids), **{k: np.array(v) for k, v in samples.items()}},
        metrics={k: Metric(k) for k in _headline(samples)},
        arrays={"layer": np.array(own.name if own else "")},
        pictures=[Picture("filter bank", grid(drawn), _caption(data, names, own, stride, padding))],
        notes=_notes(backbone, own, filters),
        cost={"forward": float(sum(passes)), "backward": 0.0},
    )


def _headline(samples: dict[str, list[float]]) -> list[str]:
    """The network's own numbers; without any, those of the lectures' kernels."""
    own = [name for name in samples if name in ("correlates", "convolves")]
    return own or [name for name in samples if name.startswith("differs[")]


def _check(names: Sequence[str], filters: int) -> None:
    for name in names:
        if name not in KERNELS:
            raise BadRequest(f"'filter_bank' knows no kernel {name!r}{choices(name, KERNELS)}")
    if len(set(names)) < len(names):
        raise BadRequest("'filter_bank' has a kernel twice; leave one out")
    if filters < 0 or not (names or filters):
        raise BadRequest("'filter_bank' has nothing to show: give names, or filters above 0")


def _own(backbone: Backbone, layer: str, filters: int) -> Convolution | None:
    """The convolution asked for; None where none is wanted, or there is none and none was named."""
    if not filters:
        return None
    try:
        found = find_convolutions(backbone)
    except BadRequest:
        if layer:
            raise
        return None
    chosen: Convolution = pick(backbone, found, layer, "convolution") if layer else found[0]
    return chosen


def _lecture(
    image: Tensor, name: str, how: tuple[int, int, str]
) -> tuple[dict[str, float], list[Pixels | None]]:
    """The two numbers of one kernel on one image, and a row of the picture."""
    kernel = as_kernel(KERNELS[name], image)
    correlated, convolved = correlate(image, kernel, *how), flip_and_filter(image, kernel, *how)
    size = kernel.shape
    # Convolution whole, by padding with zeros as far as the kernel reaches.
    reached = nn.functional.pad(image, (size[1] - 1,) * 2 + (size[0] - 1,) * 2)
    methods = flip_and_filter(reached, kernel) - translate_and_scale(image, kernel)
    told = {"differs": _share(convolved - correlated, correlated)}
    told["methods"] = float(methods.abs().max())
    return told, _row(image, kernel, correlated, convolved)


def _share(difference: Tensor, of: Tensor) -> float:
    """nan where there is nothing to compare with: an empty image."""
    size = float(of.norm())
    return float(difference.norm()) / size if size else float("nan")


def _row(
    image: Tensor, kernel: Tensor, correlated: Tensor, convolved: Tensor
) -> list[Pixels | None]:
    """Image, kernel, correlation, convolution, on one scale about zero; the mean over channels."""
    shown = [one.mean(dim=0) if one.ndim == 3 else one for one in (correlated, convolved)]
    end = max(float(one.abs().max()) for one in shown)
    tiles: list[Pixels | None] = [_picture(image)]
    tiles.append(fitting(centred(kernel.cpu().numpy(), float(kernel.abs().max())), ROOM))
    tiles += [fitting(centred(one.cpu().numpy(), end), ROOM) for one in shown]
    return tiles


def _picture(image: Tensor) -> Pixels:
    levels = np.rint(255 * image.clamp(0, 1).cpu().numpy()).astype(np.uint8)
    return fitting(levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0], ROOM)


def _network(
    backbone: Backbone, own: Convolution, data: Data, row: int, filters: int
) -> tuple[dict[str, float], list[list[Pixels | None]]]:
    """How the layer's output compares with both, and rows of the picture."""
    given, output = _passed(backbone, own, data, row)
    both = _both(own.module, given)
    told = {
        "correlates": _share(output - both[0], output),
        "convolves": _share(output - both[1], output),
    }
    if row:
        return told, []
    facts = describe_kernels(own.weight, own.stride, own.groups)
    strong = set(np.argsort(-facts.norm, kind="stable")[:filters].tolist())
    chosen = [int(i) for i in order(facts) if int(i) in strong]
    image = load_pixels(data, [0], backbone)[0][0].double()
    return told, [_own_row(image, own, int(i), [one[i] for one in both]) for i in chosen]


def _both(module: nn.Conv2d, given: Tensor) -> list[Tensor]:
    """Correlation and convolution with the kernels that the layer keeps, in double precision.

    Of images as the layer itself pads them: classes differ in that.
    """
    calls: list[tuple[Any, ...]] = []
    with torch.no_grad(), _Called(calls):
        module(given[None].to(module.weight.dtype))
    if len(calls) != 1:
        raise BadRequest(f"{type(module).__name__} is no one correlation; name another layer")
    x, *how = calls[0]
    weight = module.weight.double()
    kernels = (weight, flip(weight).contiguous())
    bias = None if module.bias is None else module.bias.double()
    return [nn.functional.conv2d(x.double(), k, bias, *how)[0] for k in kernels]


class _Called(TorchFunctionMode):
    """Of each two-dimensional correlation made inside the block: the image, stride and so on."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.conv2d:
            self.calls.append(_how(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def _how(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Any, ...]:
    return input.detach(), stride, padding, dilation, groups


def _passed(backbone: Backbone, own: Convolution, data: Data, row: int) -> tuple[Tensor, Tensor]:
    """What the layer is given and gives for one image, at its first use, in double precision."""
    x = load_pixels(data, [row], backbone)[0].to(backbone.dtype)
    kept: list[Tensor] = []

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        if module is own.module and not kept:
            kept.append(output.detach().clone())

    with given_to(own.module) as given:
        observe(backbone.network, x, see)
    return given[0][0].detach().double(), kept[0][0].double()


def _own_row(
    image: Tensor, own: Convolution, number: int, maps: Sequence[Tensor]
) -> list[Pixels | None]:
    weight: NDArray[Any] = own.weight[number]
    shown = weight if len(weight) == 3 else weight.mean(axis=0)
    tiles: list[Pixels | None] = [_picture(image)]
    tiles.append(fitting(centred(shown, float(np.abs(shown).max())), ROOM))
    low, high = (float(f(*(float(g(m)) for m in maps))) for f, g in _ENDS)
    tiles += [fitting(colours(one.cpu().numpy(), low, high), ROOM) for one in maps]
    return tiles


_ENDS = ((min, torch.min), (max, torch.max))


def _caption(
    data: Data, names: Sequence[str], own: Convolution | None, stride: int, padding: int
) -> str:
    rows = (
        [f"top to bottom {', '.join(names)} (stride {stride}, padding {padding})"] if names else []
    )
    if own is not None:
        rows.append(f"the strongest filters of {own.name}")
    return (
        f"{data.ids[0]}: {', then '.join(rows)}. From left to right the image, the kernel, its "
        "correlation with the image, its convolution (the kernel flipped). Of the lectures' "
        "kernels mid grey is zero; of the network's, dark is low and bright is high."
    )


def _notes(backbone: Backbone, own: Convolution | None, filters: int) -> list[str]:
    if own is None and filters:
        return [f"{backbone.name} has no convolution of its own to show."]
    return told_of_remade([own]) if own is not None else []
