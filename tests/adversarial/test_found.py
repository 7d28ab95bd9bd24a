"""Rates of a result, by eps as it was given."""

from __future__ import annotations

import numpy as np
import pytest

from robustlab import attack
from robustlab.backbones import Backbone
from robustlab.data import Data


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ("8/255", ["8/255", 8 / 255]),
        ([0.05, "0.1"], ["0.05", 0.05, "0.1", 0.1]),
        (np.float32(0.25), [np.float32(0.25), 0.25]),
    ],
)
def test_rates_are_found_by_eps_as_given_and_by_value(
    lenet: Backbone, digits: Data, given: object, keys: list[object]
) -> None:
    found = attack("fgsm", lenet, digits, eps=given)  # type: ignore[arg-type]
    for key in keys:
        assert found.robust_accuracy[key].n == len(digits)  # type: ignore[index]
    with pytest.raises(KeyError, match="there is"):
        _ = found.robust_accuracy["0.9"]


def test_rates_agree_with_the_arrays(lenet: Backbone, digits: Data) -> None:
    found = attack("pgd", lenet, digits, eps=["0.05", "0.1"], steps=10)
    for row, eps in enumerate(found.eps):
        right = found.clean_correct & ~found.verified[row]
        assert found.robust_accuracy[eps].value == right.mean()
        among = found.verified[row][found.clean_correct]
        assert found.attack_success[eps].value == among.mean()
        assert found.robust_accuracy_8bit[eps].value >= found.robust_accuracy[eps].value
        low, high = found.robust_accuracy[eps].low, found.robust_accuracy[eps].high
        assert low < found.robust_accuracy[eps].value < high


def test_a_claim_of_images_nobody_attacked_is_not_counted(lenet: Backbone, digits: Data) -> None:
    found = attack("pgd", lenet, digits, eps="0.001", steps=2, target="3")
    assert not found.claimed[0][np.asarray(digits.labels) == 3].any()
