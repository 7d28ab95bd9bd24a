"""Gradient steps along an accumulated gradient: momentum, Nesterov's look ahead, and what makes
perturbations carry over to other networks (inputs varied at random, gradients smoothed).

A step's look is a forward and a backward pass. Where it looks elsewhere than at the iterate (ahead,
or at a varied input) and the iterate is to be judged, a forward pass comes on top.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from robustlab.adversarial.access import Access
from robustlab.adversarial.geometry import Radius
from robustlab.adversarial.gradients import look
from robustlab.adversarial.losses import Loss
from robustlab.adversarial.search import gradient_search
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.varied import Varied

__all__ = ["Momentum", "gaussian", "momentum_search"]


class Momentum:
    """What each step of a gradient search follows: the gradients so far, added up.

    Each gradient is divided by the mean of its absolute values, so that late and early ones weigh
    alike (Dong et al. 2018, equation 6, whose L1 norm differs by a constant).

    Args:
        x: images [n, C, H, W] that are searched.
        stride: how far ahead a look is, for an accumulated gradient of mean size 1; 0: not ahead.
        decay: what a step leaves of the gradients before it.
        varied: changes the inputs of each look at random.
        kernel: [k, k], with which gradients are convolved channel by channel; k is odd.
    """

    def __init__(
        self,
        x: Tensor,
        *,
        decay: float,
        stride: Radius = 0.0,
        varied: Varied | None = None,
        kernel: Tensor | None = None,
    ) -> None:
        self.total = torch.zeros_like(x)
        self.decay, self.stride, self.varied, self.kernel = decay, stride, varied, kernel
        self.elsewhere = varied is not None or isinstance(stride, Tensor) or stride != 0

    def keep(self, index: Tensor) -> None:
        """Go on with these of the images."""
        self.total = self.total[index]
        if isinstance(self.stride, Tensor):
            self.stride = self.stride[index]
        if self.varied is not None:
            self.varied.keep(index)

    def look(
        self,
        model: Access,
        x_adv: Tensor,
        y: Tensor,
        target: Tensor | None,
        loss: Loss,
        *,
        judged: bool,
    ) -> tuple[Tensor, Tensor]:
        """Logits and the direction to follow from ``x_adv``; the logits are those of ``x_adv`` if
        it is ``judged``, else of where the look was.
        """
        ahead = x_adv + self.stride * self.total if self.elsewhere else x_adv
        seen = model if self.varied is None else self.varied.of(model)
        logits, _, gradient = look(seen, ahead, y, target, loss)
        if self.elsewhere and judged:
            with torch.no_grad():
                logits = model(x_adv)
        size = self._smooth(gradient)
        mean = size.abs().flatten(1).mean(dim=1).clamp_min(torch.finfo(size.dtype).tiny)
        self.total = self.decay * self.total + size / mean.view(-1, 1, 1, 1)
        return logits, self.total

    def _smooth(self, gradient: Tensor) -> Tensor:
        """Translation-invariant: Dong et al. (2019), equation 8."""
        if self.kernel is None or self.kernel.numel() == 1:
            return gradient
        channels, width = gradient.shape[1], len(self.kernel)
        stacked = self.kernel.to(gradient).expand(channels, 1, width, width)
        return functional.conv2d(gradient, stacked, padding=width // 2, groups=channels)


def gaussian(width: int) -> Tensor:
    """Gaussian kernel [width, width] of sum 1, float64, three standard deviations to either side.

    Dong et al. (2019), section 3.3, with the spread of their published program: width 15 has a
    standard deviation of 7 / 3 pixels.
    """
    if width == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    line = torch.exp(-0.5 * torch.linspace(-3.0, 3.0, width, dtype=torch.float64) ** 2)
    return torch.outer(line, line) / line.sum() ** 2


def momentum_search(
    model: Access,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    threat: Threat,
    *,
    step_size: Radius,
    decay: float = 1.0,
    nesterov: bool = False,
    varied: Varied | None = None,
    kernel: int = 1,
    **settings: Any,
) -> tuple[Tensor, Tensor]:
    """Projected steps along accumulated gradients (MI-FGSM, Dong et al. 2018, algorithm 1).

    Arguments and result are those of `gradient_search`, and

    Args:
        decay: what each step leaves of the gradients before it.
        nesterov: look where the accumulated gradient leads (Lin et al. 2020, equations 6 and 7). In
            L2 the look ahead is shortened by the root of the image's size, so that it stays about
            one step long.
        varied: inputs changed at random at each look.
        kernel: odd width of the Gaussian that smooths the gradients; 1: they are left as they are.
    """
    reach = 1.0 if threat.norm == "linf" else float(x[0].numel()) ** -0.5
    walk = Momentum(
        x,
        decay=decay,
        stride=decay * step_size * reach if nesterov else 0.0,
        varied=varied,
        kernel=gaussian(kernel),
    )
    return gradient_search(model, x, y, start, threat, step_size=step_size, walk=walk, **settings)
