"""Detectors of faulty attacks: each planted fault is named, no shipped attack is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustlab import attack, load_backbone, load_data
from robustlab.adversarial import Attack, Found, belief
from robustlab.adversarial.found import VIOLATIONS
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.outcome import Finding
from robustlab.resting import in_logits, still_rising
from robustlab.testing import PLANTED_ATTACKS, planted, planted_attack

SHIPPED = ["lenet5-max", "lenet5-avg", "mlp", "local", "resnet20-narrow", "lenet5-robust"]
LONG = ("resnet20-narrow", "local")  # a pass takes several times as long as the others'
EPS: dict[str, list[str]] = {
    "linf": ["0.02", "0.05", "0.1"],
    "l2": ["0.3", "0.8"],
    "l1": ["1", "4"],
}
# Every shipped attack, shortened where it would take long, not so far that it is too short.
ATTACKS: list[tuple[str, Mapping[str, Any]]] = [
    ("fgsm", {}),
    ("bim", {}),
    ("pgd", {}),
    ("pgd", {"steps": 10, "loss": "margin", "early_exit": False}),
    ("apgd", {"steps": 25}),
    ("apgdt", {"steps": 25, "targets": 2}),
    ("square", {"queries": 100}),
    ("fab", {"steps": 10}),
    ("fabt", {"steps": 10, "targets": 2}),
    ("fmn", {"steps": 40}),
    ("bisection", {"settings": {"steps": 15}, "rounds": 5}),
    ("ensemble", {"attacks": ["fgsm", {"use": "pgd", "steps": 20}]}),
    ("noise", {"restarts": 2}),
]
# Facts that the detector counts, and no suspicion: a test of their own holds the counts.
COUNTED = {"rounding", "fragile"}


@pytest.fixture(scope="module")
def some() -> Data:
    return load_data("digits:test", take=30, seed=0)


@pytest.fixture(scope="module")
def net() -> Backbone:
    return load_backbone("lenet5-max@digits")


def doubts(found: Found) -> list[Finding]:
    return [finding for finding in found.findings if finding.level != "green"]


def levels(found: Found) -> set[tuple[str, str]]:
    return {(finding.detector, finding.level) for finding in doubts(found)}


def run_planted(fault: str, backbone: Backbone, data: Data) -> Found:
    return planted_attack(fault, eps=["0.03", "0.08"])(backbone, data)


@pytest.mark.parametrize("fault", PLANTED_ATTACKS)
def test_a_planted_fault_is_named(fault: str, net: Backbone, some: Data) -> None:
    _, detector, level = PLANTED_ATTACKS[fault]
    assert (detector, level) in levels(run_planted(fault, net, some))


@pytest.mark.parametrize("fault", PLANTED_ATTACKS)
def test_without_its_detector_a_fault_goes_unnamed(
    fault: str, net: Backbone, some: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the detector is taken out of the list."""
    wanted = PLANTED_ATTACKS[fault][1]
    rest = [one for one in belief.OF_ATTACKS if one.__name__ != wanted]
    monkeypatch.setattr(belief, "OF_ATTACKS", rest)
    assert wanted not in {name for name, _ in levels(run_planted(fault, net, some))}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5-max", "lenet5-robust"])
@pytest.mark.parametrize(("used", "params"), ATTACKS, ids=lambda value: str(value)[:24])
def test_a_shipped_attack_is_left_alone(
    used: str, params: Mapping[str, Any], name: str, some: Data
) -> None:
    found = attack(used, f"{name}@digits", some, eps=EPS["linf"], **params)
    assert [f for f in doubts(found) if f.detector not in COUNTED] == []
    assert "red" not in {finding.level for finding in doubts(found)}
    assert {"fragile"} < {finding.detector for finding in found.findings}


@pytest.mark.parametrize("fault", [*PLANTED_ATTACKS, "pgd"])
def test_one_image_is_examined_too(fault: str, net: Backbone, some: Data) -> None:
    """A shard may hold a single image."""
    one = some.subset(np.arange(1))
    if fault == "pgd":
        assert attack("pgd", net, one, eps=["0.02", "0.3"]).findings
    else:
        run_planted(fault, net, one)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("norm", EPS)
def test_no_false_alarm_in_other_norms(name: str, norm: str) -> None:
    backbone = load_backbone(f"{name}@digits")
    data = load_data("digits:test", take=10 if name in LONG else 20, seed=1)
    for used, params in ATTACKS:
        if norm == "l1" and (used == "bim" or params.get("steps", 100) == 10):
            continue  # ten sparse steps are too few, and are told so
        if norm == "l1" and used == "apgdt":
            params = {**params, "steps": 100}  # of which 40 in the ball itself
        found = attack(used, backbone, data, eps=EPS[norm], norm=norm, seed=1, **params)
        wrong = [f for f in doubts(found) if f.detector not in COUNTED or f.level == "red"]
        assert [f"{used}: {f.detector}: {f.sentence}" for f in wrong] == []


FEW: list[tuple[str, Mapping[str, Any]]] = [
    ("sigma_zero", {}),
    ("pgd", {}),
    ("pgd", {"steps": 20, "loss": "margin", "step_size": 0.5}),
    ("sparse_rs", {"queries": 200}),
    ("noise", {"restarts": 2}),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5-max", "lenet5-robust", "mlp"])
@pytest.mark.parametrize(("used", "params"), FEW, ids=lambda value: str(value)[:24])
def test_no_false_alarm_where_few_pixels_change(
    used: str, params: Mapping[str, Any], name: str, some: Data
) -> None:
    found = attack(used, f"{name}@digits", some, eps=["1px", "4px", "9px"], norm="l0", **params)
    assert [f for f in doubts(found) if f.detector not in COUNTED or f.level == "red"] == []


def test_what_is_counted_is_there(net: Backbone, some: Data) -> None:
    found = attack("fgsm", net, some, eps=["0.03", "0.1"])
    lost = (found.verified & ~found.verified_8bit & found.attackable).any(axis=0)
    told = [f for f in found.findings if f.detector == "rounding"]
    assert sum(f.count for f in told) == lost.sum() > 0
    assert {name for f in told for name in f.names} == set(np.array(found.ids)[lost])


# Each detector by itself -------------------------------------------------------------------------


def spoken(found: Found, detector: str) -> list[str]:
    return [f.level for f in found.findings if f.detector == detector]


@pytest.mark.parametrize(
    ("used", "params", "level"),
    [
        ("pgd", {"steps": 40, "step_size": 0.02}, "red"),
        ("pgd", {"steps": 40, "step_size": 0.03}, "amber"),
        ("pgd", {"steps": 40, "step_size": 0.05}, "green"),
        ("pgd", {"steps": 40, "step_size": 0.03, "random_start": False}, "green"),
        ("bim", {"steps": 4, "step_size": 0.2}, "red"),
        ("bim", {"steps": 5, "step_size": 0.2}, "green"),
        ("foolbox:LinfPGD", {"steps": 3, "rel_stepsize": 0.03}, "red"),
        ("foolbox:LinfPGD", {"steps": 3, "abs_stepsize": 0.001}, "red"),
        ("foolbox:LinfPGD", {"steps": 3, "abs_stepsize": 0.1}, "green"),
    ],
)
def test_schedules(
    used: str, params: Mapping[str, Any], level: str, net: Backbone, some: Data
) -> None:
    data = some.subset([0, 1, 2, 3])
    found = attack(used, net, data, eps="0.03", **params)
    assert spoken(found, "schedule") == [level]


def test_a_short_schedule_that_left_nothing_standing_is_no_doubt(net: Backbone, some: Data) -> None:
    found = attack("bim", net, some, eps="0.5", steps=4, step_size=0.2)
    assert found.robust_accuracy["0.5"].value == 0
    assert spoken(found, "schedule") == ["green"]


def test_three_steps_are_too_few(some: Data) -> None:
    found = attack("pgd", "lenet5-robust@digits", some, eps=EPS["linf"], steps=3)
    assert spoken(found, "convergence") == ["amber"]


def test_a_curve_rises_or_rests() -> None:
    t = np.linspace(0, 1, 40)
    curves = np.stack([t, 1 - np.exp(-8 * t), np.sin(9 * t), 0 * t, 5 - t])
    assert still_rising(curves).tolist() == [True, False, False, False, False]
    # A walk that came to rest in logits, though its cross-entropy grew a thousandfold.
    rest = -12 + 7 * (1 - np.exp(-4 * t))[None]
    assert not still_rising(in_logits(np.log1p(np.exp(rest)))).any()
    assert still_rising(np.log1p(np.exp(rest * 2))).all() == still_rising(np.exp(rest * 2)).all()
    assert np.allclose(in_logits(np.log1p(np.exp(rest))), rest)
    assert np.allclose(in_logits(-np.log1p(np.exp(rest))), -rest)


def test_cross_entropy_itself_would_always_seem_to_rise(
    net: Backbone, some: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the losses are not taken to logits."""
    assert spoken(attack("bim", net, some, eps=EPS["linf"]), "convergence") == ["green"]
    module = importlib.import_module("robustlab.adversarial.belief.convergence")
    monkeypatch.setattr(module, "in_logits", lambda losses: losses)
    assert spoken(attack("bim", net, some, eps=EPS["linf"]), "convergence") == ["amber"]


def test_underflow_is_told_from_a_gradient_that_is_gone(some: Data) -> None:
    large = attack("pgd", planted("logits x 1000"), some, eps="0.01", steps=10)
    (told,) = [f for f in large.findings if f.detector == "vanishing"]
    assert (told.level, "loss = 'margin'" in told.text) == ("red", True)
    masked = attack("pgd", planted("quantised"), some, eps="0.01", steps=10)
    (told,) = [f for f in masked.findings if f.detector == "vanishing"]
    assert (told.level, "surrogate" in told.text) == ("red", True)


def test_a_gradient_that_is_gone_after_success_is_no_doubt(net: Backbone, some: Data) -> None:
    """A target's cross-entropy underflows once the target is reached for certain."""
    found = attack("pgd", net, some, eps="0.5", target="3", steps=80, early_exit=False)
    assert found.target_success["0.5"].value > 0.9
    assert spoken(found, "vanishing") in ([], ["green"])


class _Contrast(nn.Module):
    """A network behind a contrast curve: at 0 and 1 there is no slope."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.module(x * x * (3 - 2 * x))
        return logits


def test_pixels_without_a_slope_may_stay(
    net: Backbone, some: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    curved = Backbone(
        _Contrast(net.module).eval(), input_shape=net.input_shape, classes=10, name="contrast"
    )
    found = attack("bim", curved, some, eps="0.1")
    clean = np.asarray(found.clean)
    edge = (clean == 0) | (clean == 255)
    assert not (found.images[0] != clean / np.float32(255))[edge].any()
    assert spoken(found, "idle") == ["green"]
    # Mutant: what should have moved is not counted.
    monkeypatch.setattr(
        importlib.import_module("robustlab.adversarial.belief.idle"), "_EXPECTED", 0
    )
    assert spoken(attack("bim", curved, some, eps="0.1"), "idle") == ["red"]


def test_sparse_attacks_may_leave_pixels_where_they_are(net: Backbone, some: Data) -> None:
    for eps in ("0.5", "2"):
        found = attack("apgd", net, some, eps=eps, norm="l1", steps=20)
        assert spoken(found, "idle") == ["green"]


def test_targets_that_are_the_label(net: Backbone, some: Data) -> None:
    threes = some.subset(np.flatnonzero(np.asarray(some.labels) == 3))
    assert spoken(attack("pgd", net, threes, eps="0.1", target="3", steps=5), "targets") == ["red"]
    found = attack("pgd", net, some, eps="0.1", target="3", steps=5)
    (told,) = [f for f in found.findings if f.detector == "targets"]
    assert (told.level, told.count) == (
        "green",
        int((found.clean_correct & (found.labels == 3)).sum()),
    )
    assert spoken(attack("pgd", net, some, eps="0.1", target="next", steps=5), "targets") == [
        "green"
    ]
    assert spoken(attack("pgd", net, some, eps="0.1", steps=5), "targets") == []


def test_why_eight_bits_lose_a_success(net: Backbone, some: Data) -> None:
    """Below a level there is no other image; a boundary just crossed is crossed again nearby."""
    fine = attack("pgd", net, some, eps="0.003", steps=20)
    across = run_planted("just across the boundary", net, some)
    told = [f for f in across.findings if f.detector == "rounding"]
    assert any("rounding towards the clean image lost it" in f.text for f in told)
    for f in fine.findings:
        if f.detector == "rounding" and f.level != "green":
            assert "no 8-bit image but the clean one" in f.text


class Brink(nn.Module):
    """Grey images are class 0 by a margin that 64 values, each moved by half a level, undo."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        signs = torch.tensor([1.0, -1.0]).repeat(32).view(1, 1, 8, 8)
        self.register_buffer("signs", signs)
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.signs).flatten(1).sum(dim=1) - self.margin
        return torch.stack([torch.zeros_like(score), score], dim=1)


def brink(levels: float, eps: list[str], steps: int = 10) -> Found:
    """PGD on eight grey images whose boundary lies ``levels`` grey levels a value away."""
    backbone = Backbone(Brink(64 * levels / 255).eval(), input_shape=(1, 8, 8), classes=2)
    grey = Data(np.full((8, 1, 8, 8), 128, np.uint8), [0] * 8, classes=["0", "1"])
    return attack("pgd", backbone, grey, eps=eps, steps=steps)


def test_a_budget_below_a_level_is_no_fault_of_the_attack() -> None:
    """No 8-bit image can change there: said, and left out of what raises red."""
    found = brink(0.3, ["0.5/255", "1/255"])
    assert found.verified.all()
    assert found.verified_8bit.sum(axis=1).tolist() == [0, 8]
    told = [f for f in found.findings if f.detector == "rounding"]
    assert [f.level for f in told] == ["amber", "green"]
    assert (told[0].count, told[0].of, len(told[0].names)) == (8, 8, 8)
    assert "at eps 0.5/255 as floats alone" in told[0].text
    # Not "every": that would deny the line above it.
    assert told[1].text.startswith("At eps of one level of 1/255 or more every success")
    (whole,) = [f for f in brink(0.3, ["1/255"]).findings if f.detector == "rounding"]
    assert whole.text == "Every success as floats is one as 8-bit pixels too."
    alone = [f for f in brink(0.3, ["0.5/255"]).findings if f.detector == "rounding"]
    assert [f.level for f in alone] == ["amber"]


def test_a_budget_of_levels_counts_beside_one_below() -> None:
    """What is lost at 1.5/255 stays red, whatever else was asked for."""
    found = brink(1.2, ["0.5/255", "1.5/255"])
    assert found.verified.sum(axis=1).tolist() == [0, 8]
    assert not found.verified_8bit.any()
    assert spoken(found, "rounding") == ["red"]


def test_counting_budgets_below_a_level_raises_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: every budget is counted."""
    module = importlib.import_module("robustlab.adversarial.belief.rounding")
    monkeypatch.setattr(module, "_below_a_level", lambda case: np.zeros(len(case.budgets), bool))
    assert "red" in spoken(brink(0.3, ["0.5/255", "1/255"]), "rounding")


def test_refused_claims_are_kept_by_reason_and_image(net: Backbone, some: Data) -> None:
    for fault, reason in zip(
        ("not a number", "leaves the box", "leaves the budget", "claims too much"),
        [reason for reason in VIOLATIONS if "pose" not in reason],  # see test_spatial_claims.py
        strict=True,
    ):
        found = run_planted(fault, net, some)
        told = [f for f in found.findings if f.detector == "violations"]
        assert [reason in f.text for f in told] == [True], fault
        assert told[0].count == found.stray[reason].sum() == len(told[0].names)


def test_nothing_at_eps_zero_is_no_idle_attack(net: Backbone, some: Data) -> None:
    found = attack("pgd", net, some, eps="0", steps=3)
    assert doubts(found) == []


def test_no_images_no_findings(net: Backbone) -> None:
    assert belief.examine_attack(SimpleNamespace(data=[])) == []  # type: ignore[arg-type]


def test_an_unknown_fault_names_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean 'descends'"):
        planted_attack("descend", eps="0.1")


def test_planted_attacks_are_sound_without_their_fault(net: Backbone, some: Data) -> None:
    plain: type[Attack] = PLANTED_ATTACKS["descends"][0].__mro__[1]  # type: ignore[attr-defined]
    found = plain(eps=["0.03", "0.08"])(net, some)
    assert {f.detector for f in doubts(found)} <= COUNTED
