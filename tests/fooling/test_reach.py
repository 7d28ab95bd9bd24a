"""Every class as a target: the same as one targeted attack after the other, whatever the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustlab import Data, Outcome, attack, load_backbone, load_data
from robustlab.adversarial.aimed import Aimed
from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.fooling import reach as room
from robustlab.fooling.reach import reach, refuse
from robustlab.registry import resolve

pytestmark = pytest.mark.usefixtures("one_thread")
EPS = ("0.3", "24.7/255", "0.2")  # not in order; 8 bits hold 24 levels of 24.7
STEPS = 6
WEAK = {**room.QUICK, "steps": 1, "step_size": 0.01}  # so that the random starts have work left


@pytest.fixture(scope="module")
def lenet() -> Backbone:
    return load_backbone("lenet5-max@digits")


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits:test", take=20)


def one_by_one(backbone: Backbone, data: Data, row: int) -> tuple[list[int], list[float]]:
    """A call of the public attack for each class; place of the smallest budget, probability."""
    order = sorted(EPS, key=lambda text: eval(text))
    clean = torch.tensor(data.batch([row]))
    seen = int(backbone(clean).argmax())
    smallest, sure = [], []
    for target in range(len(backbone.classes)):
        smallest.append(-2 if target == seen else -1)
        sure.append(np.nan)
        if target == seen:
            continue
        alone = Data(
            data.images[row : row + 1],
            [seen],
            data.classes,
            ids=[f"{data.ids[row]} as {target}"],
        )
        stages = [room.QUICK, {"use": "pgd", "steps": STEPS, "restarts": 1}]
        settings: dict[str, Any] = {"attacks": stages, "cheapest_first": False, "seed": 4}
        found = attack("ensemble", backbone, alone, eps=list(EPS), target=target, **settings)
        for place, text in enumerate(order):
            index = EPS.index(text)
            if found.verified_8bit[index, 0]:
                smallest[-1] = place
                x = torch.tensor(found.images_8bit[index].astype(np.float32) / 255)
                assert int(backbone(x).argmax()) == target
                sure[-1] = float(backbone(x).softmax(dim=1)[0, target])
                break
    return smallest, sure


def check_reach(outcome: Outcome, backbone: Backbone, data: Data, rows: list[int]) -> None:
    assert list(outcome.arrays["budgets"]) == ["24.7/255", "0.2", "0.3"]
    assert outcome.arrays["rows"].tolist() == rows
    for place, row in enumerate(rows):
        smallest, sure = one_by_one(backbone, data, row)
        assert outcome.arrays["smallest"][place].tolist() == smallest
        np.testing.assert_allclose(outcome.arrays["probability"][place], sure, rtol=1e-4)
        for index, text in enumerate(outcome.arrays["budgets"]):
            share = sum(0 <= one <= index for one in smallest) / (len(smallest) - 1)
            assert outcome.samples[f"reached[eps={text}]"][row] == share
    outcome.checked(len(data))


@pytest.mark.parametrize("quick", [room.QUICK, WEAK], ids=["as it is", "weak"])
def test_it_is_one_targeted_attack_after_the_other(
    lenet: Backbone, digits: Data, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "QUICK", quick)
    outcome = reach(lenet, digits, eps=EPS, steps=STEPS, images=2, batch=4, seed=4)
    check_reach(outcome, lenet, digits, [0, 1])
    assert outcome.samples["measured"].tolist() == [True] * 2 + [False] * 18
    assert np.isnan(outcome.samples["reached[eps=0.2]"][2:]).all()
    assert set(outcome.arrays["smallest"].ravel().tolist()) >= {-2, 0, 1}  # there is a choice
    assert outcome.metrics["reached[eps=0.2]"].among == "measured"


def test_batches_change_nothing(lenet: Backbone, digits: Data) -> None:
    settings: dict[str, Any] = {"eps": EPS, "steps": STEPS, "only": (digits.ids[7],), "seed": 4}
    one, other = (reach(lenet, digits, batch=batch, **settings) for batch in (1, 9))
    check_reach(one, lenet, digits, [7])
    assert np.array_equal(one.arrays["smallest"], other.arrays["smallest"])
    assert one.cost == other.cost


def _floats(found: Any) -> Any:
    found.verified_8bit = found.verified
    return kept(found)


def _as_given(found: Any) -> Any:
    hits = found.verified_8bit
    first = np.where(hits.any(axis=0), hits.argmax(axis=0), -1)
    return first, found.confidence_8bit[first, np.arange(len(first))]


def _same_ids(data: Data, row: int, seen: int, targets: Any) -> Data:
    made = copied(data, row, seen, targets)
    made.ids = tuple(f"{data.ids[row]} as {place}" for place in range(len(targets)))
    return made


kept, copied = room._reached, room._copies


@pytest.mark.parametrize(
    ("name", "mutant"),
    [("_reached", _as_given), ("_reached", _floats), ("_copies", _same_ids)],
    ids=["budgets as given", "floats", "numbers by place"],
)
def test_a_wrong_one_is_seen(
    name: str, mutant: Any, lenet: Backbone, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "QUICK", WEAK if mutant is _same_ids else room.QUICK)
    monkeypatch.setattr(room, name, mutant)
    outcome = reach(lenet, digits, eps=EPS, steps=STEPS, images=2, batch=4, seed=4)
    with pytest.raises(AssertionError):
        check_reach(outcome, lenet, digits, [0, 1])


def test_a_wrong_picture_starts_from_what_is_seen(lenet: Backbone, digits: Data) -> None:
    """The label plays no part: of a misread picture it is a target like any other."""
    shifted = Data(digits.images, (digits.labels + 1) % 10, digits.classes, "digits", digits.ids)
    settings: dict[str, Any] = {"eps": EPS, "steps": STEPS, "seed": 4}
    one, other = (reach(lenet, data, **settings) for data in (digits, shifted))
    assert np.array_equal(one.arrays["smallest"], other.arrays["smallest"])


def test_targets_that_are_drawn(lenet: Backbone, digits: Data) -> None:
    """They are found as among all, and others are told from those that were not reached."""
    settings: dict[str, Any] = {"eps": EPS, "steps": STEPS, "images": 3, "batch": 4, "seed": 4}
    whole, few = reach(lenet, digits, **settings), reach(lenet, digits, targets=3, **settings)
    tried = few.arrays["smallest"] >= -1
    assert tried.sum(axis=1).tolist() == [3, 3, 3]
    assert len({tuple(row) for row in tried.tolist()}) > 1  # each image draws its own
    assert np.array_equal(few.arrays["smallest"][tried], whole.arrays["smallest"][tried])
    assert (few.arrays["smallest"] == -3).sum() == 3 * 6
    hits = (few.arrays["smallest"] >= 0) & (few.arrays["smallest"] <= 1)
    assert few.samples["reached[eps=0.2]"][:3].tolist() == (hits.sum(axis=1) / 3).tolist()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"eps": ("8",)}, "did you mean '8/255'"),
        ({"eps": ()}, "eps is an empty list"),
        ({"images": -1}, "images=-1 of 'reach' is below 0"),
        ({"targets": -1}, "targets=-1 of 'reach' is below 0"),
        ({"batch": 0}, "batch=0 of 'reach' is below 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"only": ("digits/none",)}, "digits:test has no 'digits/none'"),
    ],
)
def test_refused(params: dict[str, Any], message: str, lenet: Backbone, digits: Data) -> None:
    asked = {
        "eps": EPS,
        "images": 1,
        "only": (),
        "targets": 0,
        "batch": 4,
        "steps": 3,
        "restarts": 1,
        **params,
    }
    with pytest.raises(BadRequest, match=message):
        refuse(lenet, digits, **asked)


@pytest.mark.parametrize("name", ["universal", "transfer", "pgd"])
def test_what_cannot_be_aimed(name: str, lenet: Backbone) -> None:
    settings: dict[str, Any] = {"transfer": {"surrogates": ["mlp@digits"]}}.get(name, {})
    with pytest.raises(BadRequest, match="a targeted attack on the network itself"):
        Aimed(resolve(name).obj(eps=["0.1"], **settings), lenet)
