"""The lab's own oracles, public: hold your attack or your network against them.

Each function raises AssertionError with what it saw. They are what the lab's tests run on every
attack of the catalogue; the tests also show that each oracle fails on something broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from robustlab.adversarial import Attack, Found, Judge, Threat
from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.identity import fingerprint

__all__ = [
    "check_attack",
    "check_batch_and_order",
    "check_budget",
    "check_model_untouched",
    "check_seed",
    "linear_backbone",
    "linear_radius",
]


class _Linear(nn.Module):
    """Two classes, logits (0, w.x + b)."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(bias, dtype=weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)


def linear_backbone(
    shape: Sequence[int] = (1, 8, 8), seed: int = 0, dtype: torch.dtype = torch.float64
) -> Backbone:
    """A linear binary classifier, on which the smallest perturbation is known exactly.

    Its decision boundary runs through the grey image, far from the box for images near grey.
    """
    generator = torch.Generator().manual_seed(seed)
    size = int(np.prod(shape))
    weight = torch.randn(size, generator=generator, dtype=dtype)
    bias = float(-0.5 * weight.sum())
    module = _Linear(weight, bias).eval()
    return Backbone(module, input_shape=tuple(shape), classes=2, name=f"linear-{seed}")


def linear_radius(backbone: Backbone, x: Tensor, norm: str) -> Tensor:
    """Smallest perturbation that crosses a `linear_backbone`'s boundary, [n], the box left aside.

    Hoelder's inequality: |w.x + b| / ||w||_dual; dual norms are L1, L2, Linf for Linf, L2, L1.
    """
    weight = next(p for p in backbone.network.parameters() if p.dim() == 1 and p.numel() > 1)
    logits = backbone(x)
    score = (logits[:, 1] - logits[:, 0]).abs()
    dual = {"linf": weight.abs().sum(), "l2": weight.norm(), "l1": weight.abs().max()}[norm]
    radius: Tensor = score / dual
    return radius


def check_budget(attack: Attack, backbone: Backbone, data: Data, *, seed: int = 0) -> Found:
    """What counts as verified is inside box and budget, is wrong when classified again, and its
    8-bit pixels hold the same.
    """
    found = attack(backbone, data, seed=seed)
    judge, device = Judge(backbone.network, backbone.dtype), backbone.device
    clean, pixels = load_pixels(data, np.arange(len(data)), backbone)
    labels = torch.tensor(np.asarray(data.labels), device=device)
    target = None if found.target is None else torch.tensor(found.target, device=device)
    for row, budget in enumerate(attack.budgets(backbone.input_shape)):
        threat = Threat(found.norm, budget.value, target)
        images = torch.tensor(np.asarray(found.images[row])).to(clean)
        verdict = judge.verify(clean, pixels, labels, images, threat)
        claimed, verified = found.verified[row], verdict.verified.cpu().numpy()
        stray = np.flatnonzero(claimed & ~verified)
        assert stray.size == 0, f"eps {budget.text}: images {stray[:5]} do not verify again"
        shown = torch.tensor(np.asarray(found.images_8bit[row])).to(clean) / 255
        inside, _ = judge.within(shown, pixels.to(clean) / 255, threat)
        prediction = backbone(shown).argmax(dim=1)
        wrong = prediction != labels if target is None else prediction == target
        stray = np.flatnonzero(found.verified_8bit[row] & ~(inside & wrong).cpu().numpy())
        assert stray.size == 0, f"eps {budget.text}: pixels of {stray[:5]} do not verify again"
        assert np.isfinite(found.distance[row][claimed]).all(), "a verified image has no distance"
        assert np.isinf(found.distance[row][~claimed]).all(), "an unfooled image has a distance"
    order = np.argsort([b.value for b in attack.budgets(backbone.input_shape)])
    growing = found.verified[order].astype(int)
    assert (np.diff(growing, axis=0) >= 0).all(), (
        "an image fooled at a smaller eps is not at a larger"
    )
    return found


def check_seed(attack: Attack, backbone: Backbone, data: Data) -> None:
    """Equal seeds give equal bytes, whatever the global generators hold."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    try:
        results = []
        for stray in (123, 987):
            torch.manual_seed(stray)
            np.random.seed(stray)
            results.append(attack(backbone, data, seed=1))
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
    first, second = results
    assert np.array_equal(first.images, second.images), "equal seeds gave different images"
    assert np.array_equal(first.verified, second.verified), "equal seeds gave different verdicts"


def check_batch_and_order(
    attack: Attack, backbone: Backbone, data: Data, *, allowed: float = 0.0
) -> None:
    """Verdicts do not depend on batch size or order, but for images named as fragile.

    Args:
        allowed: share of the images that may differ beyond the fragile ones: a long search in
            float32 amplifies the last bit, which batch sizes change.
    """
    reference = attack(backbone, data, seed=0)
    order = np.random.Generator(np.random.Philox(5)).permutation(len(data))
    tries: list[tuple[str, Callable[[], Found], np.ndarray]] = [
        ("batch size", lambda: attack(backbone, data, seed=0, batch=7), np.arange(len(data))),
        ("order", lambda: attack(backbone, data.subset(order), seed=0), np.argsort(order)),
    ]
    for what, call, back in tries:
        other = call()
        fragile = reference.fragile | other.fragile[:, back]
        differ = (reference.verified != other.verified[:, back]) & ~fragile
        share = float(differ.any(axis=0).mean())
        assert share <= allowed, f"{what} changed the verdict of {100 * share:.1f} % of the images"


def check_model_untouched(attack: Attack, backbone: Backbone, data: Data) -> None:
    """Weights, buffers, mode, hooks and gradients of the network are as they were."""
    before = _state(backbone.network)
    attack(backbone, data)
    assert _state(backbone.network) == before, "the attack changed the network it attacked"


def _state(network: nn.Module) -> tuple[object, ...]:
    tensors = {**network.state_dict()}
    return (
        fingerprint(t.detach().cpu().contiguous().numpy().tobytes() for t in tensors.values()),
        tuple(m.training for m in network.modules()),
        tuple(len(m._forward_hooks) + len(m._backward_hooks) for m in network.modules()),
        tuple(p.requires_grad for p in network.parameters()),
        tuple(p.grad is None for p in network.parameters()),
    )


def check_attack(attack: Attack, backbone: Backbone, data: Data, *, allowed: float = 0.0) -> None:
    """All of the above: the contract of an attack."""
    check_budget(attack, backbone, data)
    check_seed(attack, backbone, data)
    check_batch_and_order(attack, backbone, data, allowed=allowed)
    check_model_untouched(attack, backbone, data)
