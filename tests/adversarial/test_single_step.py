"""R+FGSM: a random step and a gradient step, which together stay in the ball."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustlab import Attack
from robustlab.adversarial import Access, Threat
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve


def made(name: str = "rfgsm", **params: Any) -> Attack:
    found: Attack = resolve(name).obj(**bind(resolve(name), {"eps": ["0.1"], **params}))
    return found


def steps(
    attack: Attack, lenet: Backbone, near_grey: Data, threat: Threat
) -> tuple[Tensor, Tensor, Tensor]:
    """The clean images, where the search began, and where it ended; grey, away from the box."""
    x = torch.tensor(near_grey.batch(np.arange(8)))
    x = torch.nn.functional.interpolate(x, size=lenet.input_shape[1:])
    y = lenet(x).argmax(dim=1)
    rng = SampleRandom(0, [str(row) for row in range(len(x))])
    start = attack.start(x, threat, rng)
    with torch.no_grad():
        answer = attack.search(Access(lenet.network, len(x)), x, y, start, threat, rng)
    x_adv = answer[0] if isinstance(answer, tuple) else answer
    return x, start, x_adv


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_both_steps_have_their_lengths(lenet: Backbone, near_grey: Data, share: float) -> None:
    eps, threat = 0.05, Threat("linf", 0.05)
    x, start, x_adv = steps(made(random_step=share), lenet, near_grey, threat)
    moved = (x_adv != start).flatten(1).any(dim=1)
    assert moved.any()
    assert torch.allclose(threat.distance(start, x), torch.tensor(share * eps).double(), rtol=1e-4)
    second = threat.distance(x_adv, start)[moved]
    assert torch.allclose(second, torch.tensor((1 - share) * eps).double(), rtol=1e-4)
    assert (threat.distance(x_adv, x) <= eps * (1 + 1e-4)).all()
    assert len({row.numpy().tobytes() for row in start - x}) == len(x)  # each its own


def test_without_a_random_step_it_is_fgsm(lenet: Backbone, digits: Data) -> None:
    ours, plain = made(random_step=0.0)(lenet, digits), made("fgsm")(lenet, digits)
    assert np.array_equal(ours.images, plain.images)
    assert not np.array_equal(made()(lenet, digits).images, plain.images)  # it could fail


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_what_leaves_no_gradient_step_is_refused(share: float) -> None:
    with pytest.raises(BadRequest, match="random_step must be"):
        made(random_step=share)
