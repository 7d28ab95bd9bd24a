"""Training on attacked images, and how robust it makes the network on images held out.

The search looks at the network in evaluation mode, as the authors of TRADES do: running statistics
then stand still, and no image depends on its neighbours in the batch. The losses are taken in train
mode. Images are attacked in [0, 1], before the normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from robustlab.adversarial.access import Access
from robustlab.adversarial.losses import correct, cross_entropy
from robustlab.adversarial.search import gradient_search
from robustlab.adversarial.threats import Threat
from robustlab.data import Data
from robustlab.randomness import SampleRandom
from robustlab.training.parts import chunks
from robustlab.training.recipe import Adversarial

__all__ = ["CHECK_STEPS", "ascend", "attacked", "divergence", "robust_hits", "single_step_hits"]

CHECK_STEPS = 10  # of the search that measures robust accuracy
_NEAR = 0.001  # deviation of the start around the image: Zhang et al. 2019, algorithm 1


class BatchRandom(SampleRandom):
    """Draws for a whole batch from one torch generator: faster than a stream an image, and enough
    where the batch itself is drawn from the seed."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n, self.generator = n, generator

    def __len__(self) -> int:
        return self.n

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> NDArray[Any]:
        drawn = torch.rand(self.n, *shape, generator=self.generator)
        return np.asarray(low + (high - low) * drawn)

    def normal(self, shape: Sequence[int]) -> NDArray[Any]:
        return torch.randn(self.n, *shape, generator=self.generator).numpy()


def attacked(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    adversarial: Adversarial,
    eps: float,
    generator: torch.Generator,
) -> Tensor:
    """The images to train on: inside the ball of ``eps`` and the box, float [n, C, H, W].

    Args:
        network: from [0, 1] images to logits, in evaluation mode.
        x: images [n, C, H, W] in [0, 1]; y: labels [n].
        adversarial: ``pgd`` and ``fast`` raise the cross-entropy from a random start (Madry et al.
            2018, section 2.1; Wong et al. 2020, algorithm 3), ``trades`` the divergence from the
            logits of ``x`` (Zhang et al. 2019, algorithm 1).
        generator: where the start is drawn from.
    """
    threat = Threat(adversarial.norm, eps)
    random = BatchRandom(len(x), generator)
    step = adversarial.step * eps
    if adversarial.method != "trades":
        start = threat.random_start(x, random)
        return ascend(network, x, start, threat, adversarial.steps, step, lambda z: _total(z, y))
    with torch.no_grad():
        clean = network(x)
    noise = torch.as_tensor(random.normal(x.shape[1:]), dtype=x.dtype, device=x.device)
    start = threat.constrain(x + _NEAR * noise, x)
    return ascend(
        network, x, start, threat, adversarial.steps, step, lambda z: divergence(clean, z).sum()
    )


def _total(logits: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(logits, y).sum()


def ascend(
    network: nn.Module,
    x: Tensor,
    start: Tensor,
    threat: Threat,
    steps: int,
    step: float | Tensor,
    loss: Callable[[Tensor], Tensor],
) -> Tensor:
    """Projected steepest ascent of ``loss(logits)`` from ``start``; the last iterate."""
    x_adv = start
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(network(x_adv)), x_adv)
        with torch.no_grad():
            moved = x_adv + step * threat.geometry.ascent(gradient, x_adv)
            x_adv = threat.constrain(moved, x)
    return x_adv.detach()


def divergence(clean: Tensor, other: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the prediction ``other`` from ``clean``, in nats, [n].

    Args:
        clean, other: logits [n, K].
    """
    log_p, log_q = clean.log_softmax(dim=1), other.log_softmax(dim=1)
    return functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


def robust_hits(
    network: nn.Module, data: Data, adversarial: Adversarial, seed: int
) -> NDArray[np.bool_]:
    """Whether each image is classified rightly, also under the search of `CHECK_STEPS` steps.

    Args:
        network: from [0, 1] images to logits, in evaluation mode.
        seed: of the random start, which an image keeps from one look to the next.

    Returns:
        bool [n].
    """

    def search(x: Tensor, y: Tensor, threat: Threat, start: Tensor) -> Tensor:
        step = 2.5 / CHECK_STEPS * threat.eps
        access = Access(network, len(x))
        best, _ = gradient_search(
            access, x, y, start, threat, steps=CHECK_STEPS, step_size=step, early_exit=False
        )
        return best

    return _hits(network, data, adversarial, seed, search)


def single_step_hits(
    network: nn.Module, data: Data, adversarial: Adversarial, seed: int
) -> NDArray[np.bool_]:
    """The same under one step, of the length that training takes."""

    def search(x: Tensor, y: Tensor, threat: Threat, start: Tensor) -> Tensor:
        step = adversarial.step * threat.eps
        return ascend(network, x, start, threat, 1, step, lambda z: _total(z, y))

    return _hits(network, data, adversarial, seed, search)


def _hits(
    network: nn.Module,
    data: Data,
    adversarial: Adversarial,
    seed: int,
    search: Callable[[Tensor, Tensor, Threat, Tensor], Tensor],
) -> NDArray[np.bool_]:
    threat = Threat(adversarial.norm, adversarial.budget)
    device = next(network.parameters()).device
    found = []
    for rows in chunks(data):
        x = torch.from_numpy(data.batch(rows)).to(device)
        y = torch.tensor(data.labels[rows], device=device)
        start = threat.random_start(x, SampleRandom(seed, data.ids[rows], "robust"))
        x_adv = search(x, y, threat, start)
        with torch.no_grad():
            found.append((correct(network(x), y) & correct(network(x_adv), y)).cpu().numpy())
    return np.concatenate(found)
