"""Top-5 of the image an attack ended with: counted by hand, and absent where it says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustlab import attack
from robustlab.adversarial import Found, losses
from robustlab.adversarial.losses import in_top5
from robustlab.backbones import Backbone
from robustlab.data import Data

EPS = ["9.9/255", "64/255"]  # of 9.9 levels 8 bits hold nine


def backbone(classes: int = 30) -> Backbone:
    """A small network of random weights."""
    torch.manual_seed(1)
    layers = [nn.Flatten(), nn.Linear(3 * 8 * 8, 40), nn.ReLU(), nn.Linear(40, classes)]
    return Backbone(nn.Sequential(*layers).eval(), input_shape=(3, 8, 8), classes=classes)


def pictures(network: Backbone, n: int = 160) -> Data:
    """Noise labelled with its likeliest class, every fourth with its third, every fifth with its
    seventh: right, wrong and in the five, wrong and beyond them.
    """
    images = np.random.default_rng(2).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    order = network(images.astype(np.float32) / 255).argsort(dim=1, descending=True).numpy()
    labels = order[:, 0].copy()
    labels[::4], labels[::5] = order[::4, 2], order[::5, 6]
    return Data(images, labels, classes=len(network.classes))


def by_hand(network: Backbone, images: Any, labels: Any) -> Any:
    """Place of the label among the sorted logits, one image at a time."""
    told = [network(torch.tensor(one[None])).argsort(dim=1, descending=True)[0] for one in images]
    return np.array([label in one[:5] for one, label in zip(told, labels, strict=True)])


def check_top5(found: Found, network: Backbone, data: Data) -> None:
    """Every column is what the network says of the images that stand in the result."""
    assert found.clean_top5 is not None
    assert found.top5 is not None
    assert found.top5_8bit is not None
    assert np.array_equal(found.clean_top5, by_hand(network, data.batch(slice(None)), data.labels))
    for row, eps in enumerate(found.eps):
        floats = by_hand(network, found.images[row], data.labels)
        pixels = found.images_8bit[row].astype(np.float32) / 255
        assert np.array_equal(found.top5[row], floats)
        assert np.array_equal(found.top5_8bit[row], by_hand(network, pixels, data.labels))
        assert found.top5_accuracy[eps].value == floats.mean()
        assert (found.top5[row] >= ~found.verified[row]).all()  # first is among the five
    # The cases that tell the columns apart are there.
    assert (found.top5 != found.clean_top5).any()
    assert (found.top5 != found.top5_8bit).any()
    assert (found.top5 & found.verified).any()


@pytest.fixture(scope="module")
def case() -> tuple[Backbone, Data]:
    network = backbone()
    return network, pictures(network)


def run(case: tuple[Backbone, Data], name: str = "pgd", **params: Any) -> Found:
    settings = {"steps": 8, "early_exit": False} if name == "pgd" else {}
    return attack(name, *case, eps=EPS, **{**settings, **params})


@pytest.mark.parametrize("params", [{}, {"early_exit": True}, {"norm": "l2", "eps": ["0.1", "2"]}])
def test_columns_by_hand(case: tuple[Backbone, Data], params: dict[str, Any]) -> None:
    network, data = case
    found = attack("pgd", network, data, **{"eps": EPS, "steps": 8, "early_exit": False, **params})
    if params:
        for row in range(len(found.eps)):
            assert found.top5 is not None
            assert np.array_equal(found.top5[row], by_hand(network, found.images[row], data.labels))
        return
    check_top5(found, network, data)


def _four(logits: Tensor, y: Tensor) -> Tensor:
    return (logits > logits.gather(1, y[:, None])).sum(dim=1) < 4


@pytest.mark.parametrize("mutant", ["four", "clean", "floats for pixels"])
def test_wrong_columns_are_seen(
    case: tuple[Backbone, Data], mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mutant == "four":
        for module in ("verification", "batch"):
            monkeypatch.setattr(f"robustlab.adversarial.{module}.in_top5", _four)
    found = run(case)
    assert found.top5 is not None
    if mutant == "clean":
        found.top5[:] = found.clean_top5
    if mutant == "floats for pixels":
        found.top5_8bit = found.top5
    with pytest.raises(AssertionError):
        check_top5(found, *case)


def test_ties_and_nan() -> None:
    logits = torch.zeros(2, 30)
    logits[1, 3] = torch.nan
    asked = in_top5(logits, torch.tensor([29, 3]))
    assert asked is not None
    assert asked.tolist() == [True, False]  # none is likelier; a NaN says nothing


def test_few_classes_have_no_top5(lenet: Backbone, digits: Data) -> None:
    found = attack("fgsm", lenet, digits, eps="0.1")
    assert (found.top5, found.top5_8bit, found.clean_top5) == (None, None, None)
    outcome = found.outcome()
    assert not [name for name in (*outcome.samples, *outcome.metrics) if "top5" in name]
    with pytest.raises(AttributeError, match="at least 20 classes"):
        _ = found.top5_accuracy
    assert losses.TOP5_FROM == 20


def test_summary_and_samples_hold_it(case: tuple[Backbone, Data]) -> None:
    found = run(case)
    outcome = found.outcome().checked(len(case[1]))
    assert outcome.metrics["clean_top5_accuracy"].column == "clean_top5"
    for eps in EPS:
        assert outcome.metrics[f"top5_accuracy[eps={eps}]"].column == f"top5[eps={eps}]"
        assert outcome.metrics[f"top5_accuracy_8bit[eps={eps}]"].column == f"top5_8bit[eps={eps}]"
    targeted = run(case, target=3)
    assert targeted.top5 is not None
    assert "top5_accuracy[eps=64/255]" not in targeted.outcome().metrics
    with pytest.raises(AttributeError, match="target_success"):
        _ = targeted.top5_accuracy
