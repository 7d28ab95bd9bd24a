"""Other networks look at the same pictures with their own eyes, and know classes by their names."""

from __future__ import annotations

import numpy as np
import pytest

from robustlab.backbones import Backbone, load_backbone
from robustlab.errors import BadRequest
from robustlab.fooling import transfer as room
from robustlab.fooling.readings import as_it_is, reading
from robustlab.fooling.transfer import matching, transfer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def other():
    return load_backbone("lenet5@digits")


def asked(case, *others):
    where = case.label, case.target, case.backbone.classes
    return transfer(others, case.original, case.changed, *where)


def test_the_network_itself_is_fooled_and_another_is_read_by_hand(case, other):
    own, theirs = asked(case, (case.backbone, as_it_is), (other, as_it_is))
    assert (own.name, own.fooled, own.at_target) == (case.backbone.name, True, True)
    assert (own.tries, own.fooling, own.hitting) == (1, 1, 1)
    before, after = (
        reading(other, case.read(p), case.label, case.target) for p in (case.original, case.changed)
    )
    assert theirs.name == other.name
    assert theirs.fooled == (before.index != after.index)
    assert theirs.at_target == (after.index == case.target)
    assert theirs.before.top[0][:2] == before.top[0][:2]
    assert theirs.before.label == pytest.approx(before.label, rel=1e-4)
    assert theirs.after.target == pytest.approx(after.target, rel=1e-4)


def test_each_has_its_own_eyes(case):
    def blind(pixels):
        return np.zeros(pixels.shape, np.float32)

    seeing, blinded = asked(case, (case.backbone, as_it_is), (case.backbone, blind))
    assert seeing.fooled
    assert not blinded.fooled
    assert not blinded.at_target
    assert blinded.before == blinded.after


def renamed(case, classes):
    module = case.backbone.module
    return Backbone(
        module,
        input_shape=case.backbone.input_shape,
        classes=classes,
        mean=case.backbone.mean,
        std=case.backbone.std,
        name="renamed",
    )


def told_by_name(case):
    """Whether a network with its outputs under other names, those of label and target having
    changed places, is taken at its word."""
    names = [f"digit {k}" for k in range(10)]
    first = renamed(case, names)
    swapped = list(names)
    swapped[case.label], swapped[case.target] = names[case.target], names[case.label]
    second = renamed(case, swapped)
    args = case.original, case.changed, case.label, case.target, names
    plain, turned = transfer([(first, as_it_is), (second, as_it_is)], *args)
    assert plain.at_target
    assert turned.fooled
    # What it says is called by the label's name there.
    return not turned.at_target and turned.after.label == pytest.approx(plain.after.target)


def test_classes_are_found_by_name(case):
    assert told_by_name(case)


def test_classes_by_number_die(case, monkeypatch):
    monkeypatch.setattr(room, "matching", lambda backbone, index, classes: index)
    assert not told_by_name(case)


def test_who_sees_something_else_in_the_clean_picture_is_told_so(case):
    wrong = (case.label + 1) % 10
    where = wrong, None, case.backbone.classes
    (told,) = transfer([(case.backbone, as_it_is)], case.original, case.original, *where)
    assert told.before.index == case.label != wrong
    assert not told.fooled
    assert np.isnan(told.before.target)


def test_numbers_stand_for_names(case):
    assert matching(case.backbone, 4, [f"digit {k}" for k in range(10)]) == 4


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ([f"digit {k}" for k in range(9)] + ["digit O"], "no class 'digit 9'; did you mean"),
        (["digit 9"] * 2 + [f"digit {k}" for k in range(8)], "2 classes 'digit 9'"),
    ],
)
def test_bad_requests(case, classes, told):
    class Named:
        name = "named"

    Named.classes = tuple(classes)
    with pytest.raises(BadRequest, match=told):
        matching(Named, 9, [f"digit {k}" for k in range(10)])
