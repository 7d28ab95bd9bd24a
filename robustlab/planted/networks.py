"""Networks with a known fault.

Each is made from a healthy network by wrapping or changing its module. A `Backbone` refuses some
faults (a layer in training mode); these are planted after it was made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustlab.backbones import Backbone, load_backbone
from robustlab.errors import BadRequest, choices

__all__ = ["PLANTED", "planted"]


class _Around(nn.Module):
    """The network with something done to its images before, and to its logits after."""

    def __init__(
        self,
        module: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.module, self.before, self.after = module, before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.module(self.before(x)))


class _Quantised(nn.Module):
    """Pixels in eight levels: the gradient is zero nearly everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 7).round() / 7


class _FirstQuantised(nn.Module):
    """The network behind a quantising layer called ``quantise``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.quantise, self.module = _Quantised(), module

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.module(self.quantise(x))
        return logits


def _nan_when_bright(logits: Tensor) -> Tensor:
    return torch.where(logits[:, :1] > logits[:, 1:2], torch.nan, logits)


def _nothing_in_training(module: nn.Module) -> nn.Module:
    return nn.Sequential(module, nn.Dropout(0.5))


def _centred_on_the_batch(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=0)


# Fault -> how it is made of a module, and which detector should name it.
PLANTED: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "quantised": (_FirstQuantised, "gradients"),
    "detached": (lambda m: _Around(m, before=lambda x: x.detach()), "gradients"),
    "logits x 1000": (lambda m: _Around(m, after=lambda z: z * 1000.0), "gradients"),
    "dropout left on": (_nothing_in_training, "modes"),
    "batch statistics": (lambda m: _Around(m, after=_centred_on_the_batch), "modes"),
    "stochastic": (lambda m: _Around(m, after=lambda z: z + torch.randn_like(z)), "randomness"),
    "probabilities": (lambda m: _Around(m, after=lambda z: z.softmax(1)), "outputs"),
    "log-probabilities": (lambda m: _Around(m, after=lambda z: z.log_softmax(1)), "outputs"),
    "not a number": (lambda m: _Around(m, after=_nan_when_bright), "outputs"),
    # Takes [0, 1] as it is, and is given [-1, 1]; and the other way round.
    "double normalisation": (lambda m: m, "normalisation"),
    "missing normalisation": (lambda m: _Around(m, before=lambda x: (x + 1) / 2), "normalisation"),
}


def planted(fault: str, backbone: Backbone | str = "lenet5-max@digits") -> Backbone:
    """A copy of ``backbone`` with one of the faults of `PLANTED`.

    Raises:
        BadRequest: no such fault.
    """
    if fault not in PLANTED:
        raise BadRequest(f"unknown fault {fault!r}{choices(fault, PLANTED)}")
    healthy = load_backbone(backbone)
    module = PLANTED[fault][0](copy.deepcopy(healthy.module)).eval()
    made = Backbone(
        module,
        input_shape=healthy.input_shape,
        classes=healthy.classes,
        mean=(0.5,) if fault == "double normalisation" else healthy.mean,
        std=(0.5,) if fault == "double normalisation" else healthy.std,
        name=fault,
    )
    if fault == "dropout left on":
        made.module[1].train()  # type: ignore[index]  # a Backbone refuses it when it is made
    return made
