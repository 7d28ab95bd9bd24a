"""Detectors of faulty networks: each planted fault is named, no healthy network is."""

from __future__ import annotations

import numpy as np
import pytest

from robustlab import load_backbone, load_data
from robustlab.adversarial import belief
from robustlab.adversarial.belief import examine
from robustlab.adversarial.belief.raw import LADDER, PGD
from robustlab.adversarial.belief.rivals import _RIVALS, rivals
from robustlab.adversarial.belief.suspect import Suspect
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.planted import PLANTED, planted

pytestmark = pytest.mark.slow

SHIPPED = ["lenet5-max", "lenet5-avg", "mlp", "local", "resnet20-narrow", "lenet5-robust"]


@pytest.fixture(scope="module")
def some() -> Data:
    return load_data("digits:test", take=64, seed=0)


def _doubted(name: str, data: Data) -> dict[str, str]:
    """Detector -> gravest level it gave."""
    found = examine(planted(name), data)
    return {f.detector: f.level for f in found if f.level != "green"}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_named(fault: str, some: Data) -> None:
    level = _doubted(fault, some).get(PLANTED[fault][1])
    assert level == ("amber" if fault == "log-probabilities" else "red")


@pytest.mark.parametrize("fault", PLANTED)
def test_without_its_detector_a_fault_goes_unnamed(
    fault: str, some: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the detector is taken out of the list."""
    wanted = PLANTED[fault][1]
    rest = [one for one in belief.OF_NETWORKS if one.__name__ != wanted]
    monkeypatch.setattr(belief, "OF_NETWORKS", rest)
    assert wanted not in _doubted(fault, some)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_healthy_network_is_left_alone(name: str, some: Data) -> None:
    found = examine(load_backbone(f"{name}@digits"), some)
    assert [f.sentence for f in found if f.level != "green"] == []
    assert {f.detector for f in found} == {one.__name__ for one in belief.OF_NETWORKS}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_no_false_alarm_on_other_samples(name: str) -> None:
    backbone = load_backbone(f"{name}@digits")
    for seed in range(1, 3 if name == "resnet20-narrow" else 6):
        found = examine(backbone, load_data("digits:test", take=64, seed=seed))
        assert [f.sentence for f in found if f.level != "green"] == []


def test_raw_runs_betray_masked_gradients(some: Data) -> None:
    told = _doubted("quantised", some)
    assert (told["raw"], told["rivals"]) == ("red", "red")


@pytest.mark.parametrize("name", ["fgsm", "square", "noise"])
@pytest.mark.parametrize(("lead", "level"), [(0, "green"), (1, "amber"), (2, "amber"), (3, "red")])
def test_a_rival_is_counted_in_pairs(name: str, lead: int, level: str, some: Data) -> None:
    """Runs planted in a sample: PGD fools five images, the rival four others and ``lead`` more."""
    suspect = Suspect.of(load_backbone("mlp@digits"), some, 16)
    for eps in LADDER:
        for run, params in [("pgd", PGD), *((r, p) for r, (p, _, _) in _RIVALS.items())]:
            fooled = np.arange(16) < 5
            if run == name:
                fooled = (np.arange(16) >= 4) & (np.arange(16) < 9 + lead)
            suspect.runs[(run, eps, *sorted(params.items()))] = fooled
    (told,) = rivals(suspect)
    assert (told.level, told.count) == (level, lead)


def test_the_sentences_say_what_to_do(some: Data) -> None:
    told = {
        fault: " ".join(f.sentence for f in examine(planted(fault), some) if f.level != "green")
        for fault in ("stochastic", "logits x 1000", "missing normalisation", "dropout left on")
    }
    assert "eot = 20" in told["stochastic"]
    assert "loss = 'margin'" in told["logits x 1000"]
    assert "[-1, 1]" in told["missing normalisation"]
    assert "&std=" in told["missing normalisation"]
    assert ".eval()" in told["dropout left on"]


def test_an_unknown_fault_names_the_nearest() -> None:
    with pytest.raises(BadRequest, match="did you mean 'stochastic'"):
        planted("stochastik")


def test_nothing_is_examined_without_a_sample(some: Data) -> None:
    assert examine(planted("quantised"), some, sample=0) == []
