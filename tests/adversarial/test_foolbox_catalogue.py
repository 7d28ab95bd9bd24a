"""Foolbox's attacks through the bridge, one by one: contract, companions, facts, refusals.

Held against foolbox itself, called directly on the same network, images, seeds and settings.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustlab import Attack, testing
from robustlab.adversarial import Found
from robustlab.adversarial.foolbox_bridge import _available, _foolbox
from robustlab.adversarial.foolbox_facts import FAMILIES, family
from robustlab.backbones import Backbone
from robustlab.binding import bind
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.randomness import SampleRandom
from robustlab.registry import resolve
from robustlab.seeding import seeded

pytestmark = pytest.mark.slow

SLOW = [pytest.mark.slow]
BRENDEL_BETHGE = {"steps": 20, "lr": 0.01}
needs_numba = [
    pytest.mark.skipif(
        importlib.util.find_spec("numba") is None, reason="numba is an optional extra"
    ),
    pytest.mark.slow,  # it is compiled first
]

# Attack, norm, settings that keep it short, knowledge, whether it draws random numbers.
CASES = [
    ("L2DeepFoolAttack", "l2", {"steps": 10}, "gradient", False),
    ("LinfDeepFoolAttack", "linf", {"steps": 10}, "gradient", False),
    (
        "L2CarliniWagnerAttack",
        "l2",
        {"steps": 30, "binary_search_steps": 2, "initial_const": 10.0, "stepsize": 0.05},
        "gradient",
        False,
    ),
    (
        "EADAttack",
        "l1",
        {"steps": 30, "binary_search_steps": 2, "initial_const": 10.0, "initial_stepsize": 0.05},
        "gradient",
        False,
    ),
    ("DDNAttack", "l2", {"steps": 20}, "gradient", False),
    ("BoundaryAttack", "l2", {"steps": 60}, "decision", True),
    (
        "HopSkipJumpAttack",
        "l2",
        {"steps": 2, "initial_gradient_eval_steps": 20},
        "decision",
        True,
    ),
    (
        "HopSkipJumpAttack",
        "linf",
        {"steps": 2, "initial_gradient_eval_steps": 20, "constraint": "linf"},
        "decision",
        True,
    ),
    ("PointwiseAttack", "l1", {"l2_binary_search": False}, "decision", True),
    ("PointwiseAttack", "l0", {"l2_binary_search": False}, "decision", True),
    ("SaltAndPepperNoiseAttack", "l2", {"steps": 60}, "decision", True),
    ("SaltAndPepperNoiseAttack", "l0", {"steps": 60}, "decision", True),
    ("GaussianBlurAttack", "l2", {"steps": 60}, "decision", False),
    ("L2ContrastReductionAttack", "l2", {}, "none", False),
    ("BinarySearchContrastReductionAttack", "l2", {}, "decision", False),
    ("LinearSearchContrastReductionAttack", "l2", {"steps": 60}, "decision", False),
]
EXTRA = [
    pytest.param(name, norm, {**BRENDEL_BETHGE, **more}, "gradient", True, marks=needs_numba)
    for name, norm, more in [
        ("L0BrendelBethgeAttack", "l0", {"eps": ["4px", "1024px"]}),  # it starts with every pixel
        ("L1BrendelBethgeAttack", "l1", {}),
        ("L2BrendelBethgeAttack", "l2", {}),
        ("LinfinityBrendelBethgeAttack", "linf", {}),
    ]
]
ALL = [*(pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in CASES), *EXTRA]
# Two budgets: small, and one that some images' answer fits.
EPS = {"linf": ["0.1", "0.4"], "l2": ["1", "14"], "l1": ["4", "80"], "l0": ["4px", "120px"]}


def made(name: str, norm: str, params: dict[str, Any], **more: Any) -> Any:
    registered = resolve(f"foolbox:{name}")
    norm = norm if norm in registered.obj.norms else registered.obj.norms[0]
    return registered.obj(**bind(registered, {"norm": norm, "eps": EPS[norm], **params, **more}))


def some(digits: Data, name: str, many: int) -> Data:
    """Fewer images where each takes a thousand passes."""
    return digits.subset(np.arange(2 if name == "PointwiseAttack" else many))


# Pointwise takes a thousand passes an image to begin with: its contract is a slow test.
CONTRACT = [
    pytest.param(*case, id=f"{case[0]}-{case[1]}", marks=SLOW if "Pointwise" in case[0] else [])
    for case in CASES
]


@pytest.mark.parametrize(("name", "norm", "params", "knowledge", "random"), [*CONTRACT, *EXTRA])
def test_the_contract(
    lenet: Backbone,
    digits: Data,
    name: str,
    norm: str,
    params: dict[str, Any],
    knowledge: str,
    random: bool,
) -> None:
    attack = made(name, norm, params)
    testing.check_attack(attack, lenet, some(digits, name, 8))
    assert (attack.knowledge, attack.is_random()) == (knowledge, random)
    assert norm in attack.norms


def answers(attack: Attack, backbone: Backbone, data: Data, batch: int) -> Found:
    return attack(backbone, data, batch=batch, fast=False)


def check_companions(attack: Attack, backbone: Backbone, data: Data) -> None:
    """An image's answer is the same alone and in company."""
    together = answers(attack, backbone, data, len(data)).images[-1]
    for row in range(len(data)):
        alone = answers(attack, backbone, data.subset([row]), 1).images[-1]
        assert np.allclose(together[row], alone[0], atol=1e-4), f"image {row} minds its companions"


RANDOM = [pytest.param(*case[:3], id=f"{case[0]}-{case[1]}") for case in CASES if case[4]]


@pytest.mark.parametrize(("name", "norm", "params"), RANDOM)
def test_an_images_answer_does_not_depend_on_its_companions(
    lenet: Backbone, digits: Data, name: str, norm: str, params: dict[str, Any]
) -> None:
    widest = {"linf": "1", "l2": "32", "l1": "1000", "l0": "1024"}[norm]
    attack = replace(made(name, norm, params), eps=[widest])
    few = some(digits, name, 4)
    check_companions(attack, lenet, few)
    with pytest.raises(AssertionError, match="minds its companions"):
        check_companions(replace(attack, batched=True), lenet, few)


def direct(attack: Any, backbone: Backbone, data: Data, row: int) -> bool:
    """What foolbox itself claims of one image at the largest budget, from the bridge's seed."""
    foolbox = _foolbox()
    model = foolbox.PyTorchModel(backbone.network, bounds=(0, 1), device="cpu")
    x = torch.tensor(data.batch(np.array([row])))
    y = torch.tensor(np.asarray(data.labels)[[row]])
    eps = attack.budgets(data.shape)[-1].value
    scale = "smallest" if attack.minimum_norm else repr(eps)
    rng = SampleRandom(0, [data.ids[row]], attack.norm, scale, 0)
    with seeded(int(rng.narrow([0]).integers(2**31)[0])):
        try:
            raw, _, hit = attack._made()(model, x, y, epsilons=None if attack.minimum_norm else eps)
        except (AssertionError, ValueError):  # it found no image to start from
            return False
    if not attack.minimum_norm:
        return bool(hit)
    return bool(hit) and float(getattr(foolbox.distances, attack.norm)(x, raw)) <= eps


@pytest.mark.parametrize(("name", "norm", "params", "knowledge", "random"), ALL)
def test_what_foolbox_claims_is_verified(
    lenet: Backbone,
    digits: Data,
    name: str,
    norm: str,
    params: dict[str, Any],
    knowledge: str,
    random: bool,
) -> None:
    check_claims(made(name, norm, params), lenet, some(digits, name, 8))


def check_claims(attack: Any, backbone: Backbone, data: Data) -> None:
    """Image by image, at equal seeds and settings: nothing that foolbox finds is lost but what the
    lab calls fragile, and nothing is gained but by stretching an answer to its budget."""
    found = attack(backbone, data, fast=False)
    theirs = np.array([direct(attack, backbone, data, row) for row in range(len(data))])
    assert theirs[found.clean_correct].any() or attack.knowledge == "none"
    theirs |= ~found.clean_correct
    lost = theirs & ~found.verified[-1] & ~found.fragile[-1]
    assert not lost.any(), f"foolbox claims {lost.nonzero()[0]}, which are not verified"
    assert found.verified[-1].sum() <= theirs.sum() + 2, "the lab finds what foolbox does not"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, answer: x, "foolbox claims"),
        (lambda x, answer: 2 * x - answer, "foolbox claims"),
        (lambda x, answer: x + 6 * (answer - x).sign(), "foolbox claims"),
    ],
    ids=["nothing", "the other way", "too far"],
)
def test_a_bridge_that_loses_what_foolbox_finds_is_seen(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch, wrong: Any, message: str
) -> None:
    attack = made("DDNAttack", "l2", {"steps": 20}, eps=["1.5"])
    call = type(attack)._call

    def worse(self: Any, model: Any, x: Any, y: Any, threat: Any) -> Any:
        answer, hit = call(self, model, x, y, threat)
        return wrong(x, answer), hit

    monkeypatch.setattr(type(attack), "_call", worse)
    with pytest.raises(AssertionError, match=message):
        check_claims(attack, lenet, digits.subset(np.arange(8)))


def test_every_module_of_foolbox_is_known() -> None:
    modules = {cls.__module__.rpartition(".")[2] for cls in _available().values()}
    assert modules - {"spatial_attack"} == set(FAMILIES)
    for cls in _available().values():
        if cls.__module__.endswith("spatial_attack"):
            continue
        assert any(part.isdigit() for part in family(cls).paper.replace(",", " ").split())


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("NewtonFoolAttack", {"target": 3}, "knows no target"),
        ("FGSM", {"target": 3}, "knows no target"),
        ("GenAttack", {}, "needs a target"),
        ("DatasetAttack", {}, "must be fed"),
        ("BinarizationRefinementAttack", {}, "refines the images of another"),
        ("EADAttack", {"decision_rule": "L3"}, "invalid decision rule"),
        ("HopSkipJumpAttack", {"constraint": "l3"}, "does not take these parameters"),
        ("HopSkipJumpAttack", {"gamma": 0.0}, "gamma must be above 0"),
        ("DDNAttack", {"steps": 0}, "steps must be at least 1"),
        ("DDNAttack", {"restarts": 2}, "restarts repeat the same search"),
    ],
)
def test_what_would_break_off_is_refused_before(
    name: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        made(name, "l2", params, eps=["1"])


@pytest.mark.parametrize("name", ["L2BrendelBethgeAttack", "LinfinityBrendelBethgeAttack"])
def test_brendel_bethge_without_numba_is_refused_before(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = resolve(f"foolbox:{name}")  # it can be looked at
    module = importlib.import_module("foolbox.attacks.brendel_bethge")
    monkeypatch.setattr(module, "NUMBA_IMPORT_ERROR", ImportError("No module named 'numba'"))
    with pytest.raises(BadRequest, match=r"needs numba .*pip install 'robustlab\[brendel-bethge\]"):
        bind(registered, {"eps": "1"})


class _Stubborn(nn.Module):
    """Class 0 whatever it is shown."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).sum(dim=1, keepdim=True) * 0 + torch.tensor([1.0, 0.0, -1.0])


@pytest.mark.parametrize("name", ["PointwiseAttack", "BoundaryAttack", "HopSkipJumpAttack"])
def test_an_attack_that_finds_no_start_claims_nothing(name: str) -> None:
    backbone = Backbone(_Stubborn().eval(), input_shape=(1, 4, 4), classes=3, name="stubborn")
    images = np.full((2, 1, 4, 4), 0.5, dtype=np.float32)
    data = Data(images, np.zeros(2, dtype=np.int64), classes=3, name="grey")
    found = made(name, "l2", {}, eps=["1"])(backbone, data)
    assert not found.claimed.any()
    assert not found.verified.any()


def test_a_mistake_inside_foolbox_is_not_taken_for_a_missing_start(
    lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        assert args == (), "something else"

    monkeypatch.setattr(_foolbox().attacks.DDNAttack, "run", broken)
    with pytest.raises(AssertionError, match="something else"):
        made("DDNAttack", "l2", {})(lenet, digits.subset([0]))
