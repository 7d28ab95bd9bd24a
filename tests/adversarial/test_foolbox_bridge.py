"""Foolbox by name: its own parameters, its own results, one image at a time."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from robustlab import attack, testing
from robustlab.adversarial.foolbox_bridge import _foolbox
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.registry import resolve


def test_parameters_are_foolboxs_own() -> None:
    registered = resolve("foolbox:L2CarliniWagnerAttack")
    bound = bind(registered, {"eps": "1", "steps": 7, "confidence": 0.5})
    made = registered.obj(**bound)._made()
    assert (made.steps, made.confidence, made.binary_search_steps) == (7, 0.5, 9)
    assert bound["norm"] == "l2"


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("L2CarliniWagnerAtack", {}, "did you mean 'L2CarliniWagnerAttack'"),
        ("L2CarliniWagnerAttack", {"step": 3}, "did you mean 'steps'"),
        ("L2CarliniWagnerAttack", {"norm": "linf"}, "not one of its norms"),
        ("SpatialAttack", {}, "measures no norm that the lab has; take one in linf, l2, l1, l0"),
        ("HopSkipJumpAttack", {"norm": "linf"}, "measures l2, not linf"),
    ],
)
def test_a_wrong_request_names_what_is_right(
    lenet: Backbone, digits: Data, name: str, params: dict[str, object], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        attack(f"foolbox:{name}", lenet, digits, eps="1", **params)  # type: ignore[arg-type]


def test_it_finds_what_foolbox_finds(lenet: Backbone, digits: Data) -> None:
    """Deterministic DeepFool, image by image, is foolbox's own, or a thousandth longer: it ends so
    near to the boundary that rounding could undo it.
    """
    few = digits.subset(np.arange(8))
    ours = attack("foolbox:L2DeepFoolAttack", lenet, few, eps=["2"], steps=20, fast=False)
    foolbox = _foolbox()
    model = foolbox.PyTorchModel(lenet.network, bounds=(0, 1), device="cpu")
    x, y = torch.tensor(few.batch(np.arange(8))), torch.tensor(np.asarray(few.labels))
    for row in range(8):
        _, theirs, _ = foolbox.attacks.L2DeepFoolAttack(steps=20)(
            model, x[row : row + 1], y[row : row + 1], epsilons=None
        )
        delta = theirs.detach().numpy()[0] - x[row].numpy()
        longer = ours.images[0][row] - x[row].numpy()
        share = np.linalg.norm(longer) / np.linalg.norm(delta)
        assert 1 - 1e-4 < share < 1.0011
        assert np.allclose(longer, share * delta, atol=1e-3)  # the box clips what grows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("LinfPGD", {"eps": ["0.05", "0.1"], "steps": 10}),
        ("L2CarliniWagnerAttack", {"eps": ["1", "2"], "steps": 15, "binary_search_steps": 2}),
        ("DDNAttack", {"eps": ["1", "2"], "steps": 15}),
        ("L0FMNAttack", {"eps": ["4px", "9px"], "steps": 15}),
        ("L2AdditiveGaussianNoiseAttack", {"eps": ["2", "6"]}),
    ],
)
def test_bridged_attacks_keep_the_contract(
    lenet: Backbone, digits: Data, name: str, params: dict[str, object]
) -> None:
    registered = resolve(f"foolbox:{name}")
    made = registered.obj(**bind(registered, params))
    testing.check_attack(made, lenet, digits.subset(np.arange(12)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PointwiseAttack", "SaltAndPepperNoiseAttack", "L0FMNAttack"])
def test_few_pixels_by_foolbox_are_counted_by_the_lab(
    lenet: Backbone, digits: Data, name: str
) -> None:
    few = digits.subset(np.arange(3))
    steps = {"steps": 30} if name != "PointwiseAttack" else {}
    found = attack(f"foolbox:{name}", lenet, few, norm="l0", eps=["2px", "1024px"], **steps)
    clean = torch.tensor(few.batch(np.arange(3)))
    changed = (torch.tensor(np.asarray(found.images[1])) != clean).any(dim=1).flatten(1).sum(dim=1)
    right = found.verified[1] & found.clean_correct
    assert right.any()
    assert (found.distance[1][right] == changed.numpy()[right]).all()
    assert (found.verified[0] <= (found.distance[1] <= 2)).all()


def test_values_are_not_pixels() -> None:
    """Foolbox counts each channel; a budget of one pixel holds three of its values."""
    from robustlab.adversarial.geometry import distance

    x = torch.zeros(1, 3, 2, 2)
    x_adv = x.clone()
    x_adv[0, :, 0, 0] = 1.0
    assert float(_foolbox().distances.l0(_ep(x), _ep(x_adv)).raw) == 3
    assert float(distance(x_adv, x, "l0")) == 1


def _ep(x: torch.Tensor) -> Any:
    import eagerpy

    return eagerpy.astensor(x)


def test_batches_make_companions_matter_and_say_so(lenet: Backbone, digits: Data) -> None:
    """The mutant of one image at a time: foolbox's batch-wise draws break the contract."""
    registered = resolve("foolbox:L2AdditiveGaussianNoiseAttack")
    batched = registered.obj(**bind(registered, {"eps": ["12"], "batched": True}))
    few = digits.subset(np.arange(20))
    assert "Batch-dependent" in batched(lenet, few).notes[0]
    with pytest.raises(AssertionError, match="changed the verdict"):
        testing.check_batch_and_order(batched, lenet, few)


def test_the_callers_random_streams_are_put_back(lenet: Backbone, digits: Data) -> None:
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    attack("foolbox:LinfPGD", lenet, digits.subset([0, 1]), eps="0.1", steps=2)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert before == after
