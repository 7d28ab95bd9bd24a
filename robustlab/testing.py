"""The lab's own oracles, public: hold your attack or your network against them.

Each function raises AssertionError with what it saw. They are what the lab's tests run on every
attack of the catalogue; the tests also show that each oracle fails on something broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from robustlab.adversarial import Access, Attack, Found, Judge, Threat
from robustlab.adversarial.geometry import distance
from robustlab.adversarial.images import load_pixels
from robustlab.adversarial.losses import fooled
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.identity import fingerprint
from robustlab.planted import PLANTED, PLANTED_ATTACKS, planted, planted_attack
from robustlab.randomness import SampleRandom

__all__ = [
    "PLANTED",
    "PLANTED_ATTACKS",
    "check_attack",
    "check_batch_and_order",
    "check_budget",
    "check_model_untouched",
    "check_seed",
    "linear_backbone",
    "linear_found",
    "linear_radius",
    "linear_success",
    "planted",
    "planted_attack",
]


class _Linear(nn.Module):
    """Logits W x + b, one row of W a class."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


def linear_backbone(
    shape: Sequence[int] = (1, 8, 8),
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    classes: int = 2,
) -> Backbone:
    """A linear classifier, whose smallest perturbations are known exactly; see `linear_radius`.

    Binary logits are (0, w.x + b). Every boundary between two classes runs through the grey image,
    far from the box for images near grey, and every class can be reached from every image.
    """
    generator = torch.Generator().manual_seed(seed)
    size = int(np.prod(shape))
    if classes == 2:
        direction = torch.randn(size, generator=generator, dtype=dtype)
        weight = torch.stack([torch.zeros_like(direction), direction])
    else:
        weight = torch.randn(classes, size, generator=generator, dtype=dtype)
    module = _Linear(weight, -0.5 * weight.sum(dim=1)).eval()
    name = f"linear-{seed}" if classes == 2 else f"linear-{classes}-{seed}"
    return Backbone(module, input_shape=tuple(shape), classes=classes, name=name)


def linear_radius(backbone: Backbone, x: Tensor, norm: str, *, box: bool = True) -> Tensor:
    """Smallest perturbation that takes a `linear_backbone`'s prediction away, float64 [n].

    Class k overtakes the predicted class y on one hyperplane; the answer is the nearest of those
    K - 1, and inf where no point of the box lies beyond one. Let g be the difference of the weights
    of k and y, and m the lead of y's logit. Moving a pixel with g_i gains |g_i| a unit, at most
    u_i = 1 - x_i (g_i > 0) or x_i (g_i < 0) far: find t, 0 <= t <= u, of smallest norm with
    sum |g_i| t_i = m. Linf: every pixel moves alike until the box stops it, t_i = min(u_i, s). L2:
    where the box stops no pixel, stationarity of ||t||^2 / 2 - s (sum |g_i| t_i - m) asks for
    t_i = s |g_i|, so t_i = min(u_i, s |g_i|). The gain grows with s, which bisection finds. L1: a
    fractional knapsack, filled in the order of |g_i|. L0: a pixel gains at most the sum of
    |g_i| u_i over its channels, whatever the others do, so the fewest pixels are those that gain
    most, taken until their gains reach m.

    Args:
        x: images [n, C, H, W] in the box.
        box: whether the perturbed image has to stay in [0, 1]; else the distance to a hyperplane,
            m over the dual norm of g (Hoelder's inequality).
    """
    return _class_radii(backbone, x, norm, box).amin(dim=1)


def _class_radii(backbone: Backbone, x: Tensor, norm: str, box: bool) -> Tensor:
    """Smallest perturbation with which each class overtakes the prediction, [n, K]; inf for it."""
    weight = next(p for p in backbone.network.parameters() if p.dim() == 2).detach().double()
    flat, logits = x.flatten(1).double(), backbone(x).double()
    top = logits.argmax(dim=1)
    radii = torch.full_like(logits, torch.inf)
    for k in range(len(weight)):
        slope, lead = weight[k] - weight[top], logits.amax(dim=1) - logits[:, k]
        if box:
            room = torch.where(slope > 0, 1 - flat, flat)
            radius = _in_the_box(slope.abs(), room, lead, norm, channels=x.shape[1])
        elif norm == "l0":  # without a box one pixel goes as far as it takes
            radius = torch.where(slope.any(dim=1), (lead > 0).double(), torch.inf)
        else:
            dual = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[norm]
            radius = lead / slope.norm(p=dual, dim=1)
        radii[:, k] = torch.where(top == k, torch.inf, radius)
    return radii


def _in_the_box(
    gain: Tensor, room: Tensor, lead: Tensor, norm: str, *, channels: int = 1
) -> Tensor:
    """Smallest norm of t, 0 <= t <= room, with gain . t = lead, [n]; inf where there is none."""
    worth = gain * room
    if norm == "l0":
        pixels = worth.view(len(worth), channels, -1).sum(dim=1)
        gained = pixels.sort(dim=1, descending=True).values.cumsum(dim=1)
        radius = (torch.cat([torch.zeros_like(lead)[:, None], gained], dim=1) < lead[:, None]).sum(
            1
        )
    elif norm == "l1":
        order = gain.argsort(dim=1, descending=True)
        sold = worth.gather(1, order)
        share = ((lead[:, None] - sold.cumsum(dim=1) + sold) / sold).nan_to_num(0.0).clamp(0.0, 1.0)
        radius = (share * room.gather(1, order)).sum(dim=1)
    else:
        pace = torch.ones_like(gain) if norm == "linf" else gain
        low = torch.zeros_like(lead)
        high = torch.where(gain > 0, room / pace, 0.0).amax(dim=1)
        for _ in range(100):
            middle = (low + high) / 2
            enough = (gain * torch.minimum(room, middle[:, None] * pace)).sum(dim=1) >= lead
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        moved = torch.minimum(room, high[:, None] * pace)
        radius = moved.norm(p=torch.inf if norm == "linf" else 2, dim=1)
    return torch.where(worth.sum(dim=1) >= lead, radius.double(), torch.inf)


def linear_success(
    attack: Attack,
    backbone: Backbone,
    x: Tensor,
    share: float,
    *,
    target: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Which images an attack fools when each has a budget of ``share`` of its `linear_radius`.

    Bool [n]. Every image is searched at its own eps in one batch, all restarts of all stages; what
    comes back is judged here: in the box, in the budget, misclassified (or at the ``target``). An
    attack that looks for the smallest perturbation is given the whole box, and held to the budget.
    In L0 a budget is the largest whole number of pixels within that share.
    """
    found = linear_found(attack, backbone, x, share, target=target, seed=seed)
    return found <= share * (1 + 1e-6)


def linear_found(
    attack: Attack,
    backbone: Backbone,
    x: Tensor,
    share: float,
    *,
    target: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """The smallest perturbation that fools, in units of `linear_radius`; [n], inf where none does.

    A search of a fixed budget is given ``share`` of the radius, and stops where it has succeeded; a
    search for the smallest perturbation is given the whole box.
    """
    label, radius = backbone(x).argmax(dim=1), linear_radius(backbone, x, attack.norm)
    own = (share * radius).to(x.dtype).view(-1, 1, 1, 1)
    ids = [str(row) for row in range(len(x))]
    least = torch.full_like(radius, torch.inf)

    def judge(rows: Tensor, x_adv: Tensor) -> Tensor:
        """Size of the perturbations of some rows in units of the radius, inf where not fooled."""
        boxed = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)  # False for NaN
        goal = None if target is None else target[rows]
        hit = boxed & fooled(backbone(x_adv), label[rows], goal)
        size = distance(x_adv, x[rows], attack.norm) / radius[rows]
        return torch.where(hit, size, torch.inf)

    for _, stage in attack.stages():
        for restart in range(stage.restarts):
            rows = torch.arange(len(x))
            if not stage.minimum_norm:
                rows = (least > share * (1 + 1e-6)).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            threat = Threat(attack.norm, own, target).narrow(rows)
            if stage.minimum_norm:
                threat = replace(threat, eps=float(x[0].numel()))
            random = SampleRandom(seed, [ids[row] for row in rows.tolist()], restart)
            start = stage.start(x[rows], threat, random)
            referee = partial(_won, judge, rows, share) if not stage.minimum_norm else None
            access = Access(backbone.network, len(rows), referee)
            with torch.no_grad():
                answer = stage.search(access, x[rows], label[rows], start, threat, random)
            x_adv = answer[0] if isinstance(answer, tuple) else answer
            least[rows] = torch.minimum(least[rows], judge(rows, x_adv))
    return least


def _won(
    judge: Callable[[Tensor, Tensor], Tensor],
    rows: Tensor,
    share: float,
    some: Tensor,
    x_adv: Tensor,
) -> Tensor:
    """A judge of all images, asked which of some of the ``rows`` are won."""
    return judge(rows[some], x_adv) <= share * (1 + 1e-6)


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
        threat = attack.threat(budget.value, target)
        posed, posed_8bit = (
            None if p is None else torch.tensor(p[row]) for p in (found.pose, found.pose_8bit)
        )
        images = torch.tensor(np.asarray(found.images[row])).to(clean)
        verdict = judge.verify(clean, pixels, labels, images, threat.claiming(posed))
        claimed, verified = found.verified[row], verdict.verified.cpu().numpy()
        stray = np.flatnonzero(claimed & ~verified)
        assert stray.size == 0, f"eps {budget.text}: images {stray[:5]} do not verify again"
        shown = torch.tensor(np.asarray(found.images_8bit[row])).to(clean) / 255
        threat = threat.claiming(posed_8bit).as_pixels()
        inside, _ = judge.within(shown, pixels.to(clean) / 255, threat)
        prediction = backbone(shown).argmax(dim=1)
        wrong = prediction != labels if target is None else prediction == target
        stray = np.flatnonzero(found.verified_8bit[row] & ~(inside & wrong).cpu().numpy())
        assert stray.size == 0, f"eps {budget.text}: pixels of {stray[:5]} do not verify again"
        assert np.isfinite(found.distance[row][claimed]).all(), "a verified image has no distance"
        assert np.isinf(found.distance[row][~claimed]).all(), "an unfooled image has a distance"
    if attack.apart:  # each budget has its own verdicts
        return found
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
