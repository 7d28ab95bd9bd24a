"""The classic mistakes of gradient attacks, each killed by a named oracle.

Every row of `KILLED` is a mutant and the oracle that must fail on it; the same oracle passes on the
sound attack. They run on both engines, projected gradient descent and Auto-PGD. A mutant of one
engine's own parts stands beside that engine's tests; a judge that waves through, in
test_catalogue_contract.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustlab import Attack, Threat, catalogue, testing
from robustlab.adversarial import Access
from robustlab.adversarial.losses import margin
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve

ENGINES = ["pgd", "apgd"]
Make = Callable[..., Attack]


def _class(name: str) -> type[Attack]:
    if name not in catalogue.entries():
        pytest.skip(f"no attack {name} in the catalogue")
    found: Any = resolve(name).obj
    return found  # type: ignore[no-any-return]


def _maker(name: str, kind: type[Attack]) -> Make:
    """The attack of that name by its parameters, made as ``kind``: its own class or a mutant."""
    registered = resolve(name)

    def make(**params: Any) -> Attack:
        return kind(**bind(registered, {"eps": ["0.1"], "loss": "margin", **params}))

    return make


# Oracles ----------------------------------------------------------------------------------------


def _images(n: int) -> Tensor:
    drawn = np.random.default_rng(0).uniform(-0.5, 1.5, (n, 1, 8, 8))
    return torch.tensor(drawn).clamp(0.0, 1.0)


def linear_truth(make: Make, lenet: Backbone, digits: Data) -> None:
    """Just above the smallest perturbation of a linear network, the attack succeeds."""
    attack = make(steps=100, restarts=3)
    won = testing.linear_success(attack, testing.linear_backbone(), _images(40), 1.02)
    assert won.double().mean() >= 0.97


def linear_truth_aimed(make: Make, lenet: Backbone, digits: Data) -> None:
    """The same, aimed at the other class."""
    backbone, x = testing.linear_backbone(), _images(40)
    target, attack = 1 - backbone(x).argmax(1), make(steps=100, restarts=3)
    won = testing.linear_success(attack, backbone, x, 1.02, target=target)
    assert won.double().mean() >= 0.97


def linear_truth_of_a_sure_network(make: Make, lenet: Backbone, digits: Data) -> None:
    """The same in L2, by the cross-entropy of a network so sure that gradients measure 1e-12.

    An L2 step divides the gradient by its length, and below 1e-12 no further.
    """
    backbone = testing.linear_backbone()
    away = 0.5 * (_images(300) - 0.5)
    away *= 0.5 / backbone(0.5 + away).diff(dim=1).abs().view(-1, 1, 1, 1)  # a lead of 0.5 each
    x = 0.5 + away[away.flatten(1).abs().amax(1) < 0.3]
    for weights in backbone.network.parameters():
        weights.data *= 62.0
    attack = make(steps=100, restarts=3, norm="l2", loss="ce")
    assert len(x) > 200
    assert testing.linear_success(attack, backbone, x, 1.02).double().mean() >= 0.97


def claims_verify(make: Make, lenet: Backbone, digits: Data) -> None:
    """What the attack claims, the lab can verify."""
    found = make(steps=5, early_exit=False)(lenet, digits)
    claimed = found.claimed[0] & found.clean_correct
    assert claimed.any()
    assert found.verified[0][claimed].all()


def best_of_what_it_saw(make: Make, lenet: Backbone, digits: Data) -> None:
    """No iterate that the search looked at has a larger margin than the one it returns."""
    x = torch.tensor(digits.batch(np.arange(len(digits))))
    y, threat = torch.tensor(np.asarray(digits.labels)), Threat("linf", 0.08)
    attack, largest = make(steps=10), torch.full((len(x),), -torch.inf)

    class Spy(Access):
        def once(self, images: Tensor) -> Tensor:
            logits = super().once(images)
            torch.maximum(largest, margin(logits.detach(), y), out=largest)
            return logits

    random = SampleRandom(0, digits.ids)
    start = attack.start(x, threat, random)
    with torch.no_grad():
        answer = attack.search(Spy(lenet.network, len(x)), x, y, start, threat, random)
    x_adv = answer[0] if isinstance(answer, tuple) else answer
    assert (margin(lenet(x_adv), y) >= largest - 1e-4).all()


def restarts_add(make: Make, lenet: Backbone, digits: Data) -> None:
    """More restarts break more: short searches by cross-entropy, which leave some standing."""
    short = {"eps": ["0.08"], "steps": 2, "loss": "ce"}
    one, many = (make(restarts=restarts, **short)(lenet, digits) for restarts in (1, 6))
    assert (many.verified | ~one.verified).all()
    assert many.verified.sum() > one.verified.sum()


def twin_agrees(make: Make, lenet: Backbone, digits: Data) -> None:
    """The same function behind a normalisation is as easy to fool."""
    mean, std = 0.1307, 0.3081

    class Undoes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = lenet.module

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.module(x * std + mean)
            return logits

    shape = lenet.input_shape
    twin = Backbone(Undoes().eval(), input_shape=shape, classes=10, mean=(mean,), std=(std,))
    plain, other = (make(steps=10)(one, digits).verified.sum() for one in (lenet, twin))
    assert abs(int(plain) - int(other)) <= 1


ORACLES = [
    linear_truth,
    linear_truth_aimed,
    linear_truth_of_a_sure_network,
    claims_verify,
    best_of_what_it_saw,
    restarts_add,
    twin_agrees,
]


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_sound_attack_passes(engine: str, oracle: Any, lenet: Backbone, digits: Data) -> None:
    oracle(_maker(engine, _class(engine)), lenet, digits)


# Mutants: each is given the class of a sound attack ---------------------------------------------


def sign_flipped(sound: type[Attack]) -> type[Attack]:
    class Mutant(sound):  # type: ignore[misc, valid-type]
        def objective(self, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
            loss: Tensor = -super().objective(logits, y, target)
            return loss

    return Mutant


def projection_dropped(sound: type[Attack]) -> type[Attack]:
    """Ten times the ball; steps still as long as the budget says."""

    class Mutant(sound):  # type: ignore[misc, valid-type]
        def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
            wide = replace(threat, eps=10 * threat.eps)
            return super().search(model, x, y, start, wide, rng)

    return Mutant


def best_iterate_dropped(sound: type[Attack]) -> type[Attack]:
    """What it looked at last is what it returns."""

    class Mutant(sound):  # type: ignore[misc, valid-type]
        def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
            seen, once = [], model.once
            model.once = lambda images: (seen.append(images.detach()), once(images))[1]
            super().search(model, x, y, start, threat, rng)
            return seen[-1]

    return Mutant


def restart_ignored(sound: type[Attack]) -> type[Attack]:
    class Mutant(sound):  # type: ignore[misc, valid-type]
        def start(self, x: Any, threat: Any, rng: Any) -> Any:
            same = SampleRandom(0, [repr(float(image.sum())) for image in x])
            return super().start(x, threat, same)

    return Mutant


def targeted_ascends(sound: type[Attack]) -> type[Attack]:
    """The untargeted sign on the target's loss: away from the target."""

    class Mutant(sound):  # type: ignore[misc, valid-type]
        def objective(self, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
            loss: Tensor = super().objective(logits, y, target)
            return loss if target is None else -loss

    return Mutant


def batch_mean(sound: type[Attack]) -> type[Attack]:
    """Averaged over the batch. Sign steps do not see it until the gradient underflows, and nor do
    normalised ones until it falls below what they divide by.
    """

    class Mutant(sound):  # type: ignore[misc, valid-type]
        def objective(self, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
            loss: Tensor = super().objective(logits, y, target) / len(logits)
            return loss

    return Mutant


def clipped_when_normalised(sound: type[Attack]) -> type[Attack]:
    """It works on normalised images, and clips those to [0, 1]."""

    class Mutant(sound):  # type: ignore[misc, valid-type]
        def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
            layer = model.network
            if not hasattr(layer, "mean"):
                return super().search(model, x, y, start, threat, rng)
            mean, std = layer.mean, layer.std
            inner = Access(layer.module, len(x))
            narrow = replace(threat, eps=threat.eps / float(std))
            begin = (start - mean) / std
            found, _ = super().search(inner, (x - mean) / std, y, begin, narrow, rng)
            return found * std + mean

    return Mutant


KILLED: list[tuple[Callable[[type[Attack]], type[Attack]], Callable[..., None]]] = [
    (sign_flipped, linear_truth),
    (projection_dropped, linear_truth),
    (projection_dropped, claims_verify),
    (best_iterate_dropped, best_of_what_it_saw),
    (restart_ignored, restarts_add),
    (targeted_ascends, linear_truth_aimed),
    (batch_mean, linear_truth_of_a_sure_network),
    (clipped_when_normalised, twin_agrees),
]


# Auto-PGD starts with steps of twice the budget and keeps its momentum: of a batch mean it sees
# nothing before the gradient of the sum is lost as well.
UNSEEN = {("apgd", batch_mean)}


@pytest.mark.parametrize(
    ("engine", "mutant", "oracle"),
    [
        pytest.param(engine, mutant, oracle, id=f"{engine}-{mutant.__name__}-{oracle.__name__}")
        for engine in ENGINES
        for mutant, oracle in KILLED
        if (engine, mutant) not in UNSEEN
    ],
)
def test_a_mutant_is_killed(
    engine: str, mutant: Any, oracle: Any, lenet: Backbone, digits: Data
) -> None:
    if mutant is batch_mean and engine != ENGINES[0]:
        pytest.skip("steps here never divide by the gradient's size; the loss is summed in `look`")
    make = _maker(engine, mutant(_class(engine)))
    with pytest.raises(AssertionError):
        oracle(make, lenet, digits)
