"""Images made to drive a unit, a channel or a class: the search of the probe `maximisation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.filters.fourier import Painter
from robustlab.filters.projection import gradients_on, layer_output
from robustlab.filters.rectified import Exchanged
from robustlab.hooks import Layer
from robustlab.randomness import SampleRandom

__all__ = ["Target", "likeness", "maximise", "score"]

Kind = Literal["unit", "channel", "class"]


@dataclass(frozen=True)
class Target:
    """What is made large: the middle cell of a channel, the mean over its map, or a logit."""

    kind: Kind
    layer: Layer
    channel: int

    @property
    def name(self) -> str:
        """``unit 3 of conv2``, ``class 5``."""
        if self.kind == "class":
            return f"class {self.channel}"
        return f"{self.kind} {self.channel} of {self.layer.name}"


def score(target: Target, output: Tensor) -> Tensor:
    """What an output of the target's layer is worth, [n]."""
    values = output[:, target.channel]
    if values.ndim == 1:
        return values
    height, width = values.shape[1:]
    return values[:, height // 2, width // 2] if target.kind == "unit" else values.mean((1, 2))


def maximise(
    network: nn.Module,
    targets: Sequence[Target],
    painter: Painter,
    steps: int,
    rate: float,
    jitter: int,
    seed: int,
    weight: float = 0.0,
) -> list[NDArray[np.uint8]]:
    """One image uint8 [C, H, W] a target; targets of one layer, as many as fit in memory at once.

    Images do not see each other, unless ``weight`` pulls their Gram matrices apart.
    """
    names = [f"{t.name} #{i}" for i, t in enumerate(targets)]
    with gradients_on():
        spectra = painter.start(seed, names).requires_grad_()
        steer = torch.optim.Adam([spectra], lr=rate)
        rolls = SampleRandom(seed, names, "jitter").uniform((steps, 2), -jitter, jitter + 1)
        moves = np.floor(rolls).astype(int)
        moves[:, steps - steps // 4 :] = 0
        for step in range(steps):
            images = painter(spectra)
            seen = torch.stack(
                [x.roll(tuple(moves[i, step].tolist()), (1, 2)) for i, x in enumerate(images)]
            )
            # Early on, a target whose rectifiers are all closed would never move.
            with Exchanged("redirected" if step < steps // 4 else "gradient"):
                output = layer_output(network, targets[0].layer, seen)
            each = [score(t, output[i : i + 1]) for i, t in enumerate(targets)]
            loss = -torch.cat(each).sum()
            if weight and len(targets) > 1:
                loss = loss + weight * torch.cat(each).detach().abs().sum() * likeness(output)
            (spectra.grad,) = torch.autograd.grad(loss, spectra)
            steer.step()
        final = painter(spectra).detach()
    pixels: NDArray[np.uint8] = (255 * final).round().to(torch.uint8).cpu().numpy()
    return list(pixels)


def likeness(output: Tensor) -> Tensor:
    """Mean cosine between the Gram matrices of different images' maps (Olah et al. 2017)."""
    maps = output.flatten(2) if output.ndim == 4 else output[:, :, None]
    grams = (maps @ maps.transpose(1, 2)).flatten(1)
    unit = grams / grams.norm(dim=1, keepdim=True).clamp_min(1e-12)
    n = len(unit)
    mean: Tensor = ((unit @ unit.T).sum() - n) / (n * (n - 1))
    return mean
