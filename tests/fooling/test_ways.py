"""Ways: the line's ends are the readings, and the steps are those that the attack itself noted."""

from __future__ import annotations

import numpy as np
import pytest

from robustlab.errors import BadRequest
from robustlab.fooling import ways
from robustlab.fooling.readings import reading
from robustlab.fooling.ways import straight_line, walked
from robustlab.registry import resolve

pytestmark = pytest.mark.usefixtures("one_thread")


def line(case, **more):
    return straight_line(
        case.backbone, case.read, case.original, case.changed, case.label, case.target, **more
    )


def told(case, x):
    return reading(case.backbone, x, case.label, case.target)


def test_the_ends_are_before_and_after(case):
    way = line(case)
    for row, pixels in ((0, case.original), (-1, case.changed)):
        expected = told(case, case.read(pixels))
        assert way.label[row] == pytest.approx(expected.label, rel=1e-5)
        assert way.target[row] == pytest.approx(expected.target, rel=1e-5)
        assert way.prediction[row] == expected.top[0][1]
    assert way.at[[0, -1]].tolist() == [0.0, 1.0]
    assert way.name == "straight line"


def test_the_ends_are_so_to_the_bit(case, monkeypatch):
    shown = []

    def kept(backbone, images, batch):
        shown.extend(images)
        return np.zeros((len(shown), 10))

    monkeypatch.setattr(ways, "look", kept)
    line(case, points=7)
    assert (shown[0] == case.read(case.original)).all()
    assert (shown[-1] == case.read(case.changed)).all()
    assert shown[3].dtype == np.float32
    middle = (case.read(case.original) + case.read(case.changed)) / 2
    np.testing.assert_allclose(shown[3], middle, atol=1e-7)
    assert len(shown) == 7


def test_the_usual_formula_misses_the_end(case):
    before, after = case.read(case.original), case.read(case.changed)
    assert (before + np.float32(1) * (after - before) != after).any()


def test_between_the_ends(case):
    way = line(case, points=5, batch=2)
    before, after = case.read(case.original), case.read(case.changed)
    for row, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        expected = told(case, (before * (1 - share) + after * share).astype(np.float32))
        assert way.target[row] == pytest.approx(expected.target, rel=1e-3)
    assert way.prediction[0] == str(case.label)
    assert way.prediction[-1] == str(case.target)


def attack_of(case, targeted=True, **more):
    settings = {"eps": "20/255", "early_exit": False, "steps": 12, **more}
    return resolve("pgd").obj(target=case.target if targeted else None, **settings)


def search(case, attack, **more):
    return walked(case.backbone, attack, case.original, case.label, attack.target, **more)


def noted_by(found):
    """Probabilities of the target at each step that was noted (at most 128)."""
    losses = found.losses[0, 0][0].astype(np.float64)
    return np.exp(losses[~np.isnan(losses)])


def agrees(found, case, walk):
    """The attack noted its loss, minus the target's cross-entropy, at every step."""
    noted = noted_by(found)
    same = np.allclose(walk.way.target[:-1], noted[: len(walk.way.at) - 1], rtol=1e-4)
    best = walk.rows.index(int(walk.way.target.argmax()))
    nearest = np.rint(found.images[0, 0].astype(float) * 255).astype(np.uint8)
    return same and bool((walk.pictures[best] == nearest).all())


@pytest.mark.parametrize("fast", [True, False])
def test_the_steps_are_those_of_the_attack_itself(case, fast):
    attack = attack_of(case)
    found = attack(case.backbone, case.data, seed=2, fast=fast)
    walk = search(case, attack, seed=2, fast=fast)
    assert walk.way.at.tolist() == list(range(13))
    assert walk.rows == tuple(range(13))
    assert agrees(found, case, walk)
    assert walk.way.name == "steps of the search"


@pytest.mark.parametrize(
    ("settings", "more"),
    [({}, {"seed": 3}), ({}, {"picture": "other"}), ({"step_size": 0.1}, {}), ({"steps": 11}, {})],
)
def test_other_searches_die(case, settings, more):
    found = attack_of(case)(case.backbone, case.data, seed=2, fast=True)
    walk = search(case, attack_of(case, **settings), **{"seed": 2, **more})
    assert not agrees(found, case, walk)


OTHERS = [
    ("pgd", "l2", "2"),
    ("apgd", "linf", "20/255"),
    ("bim", "l1", "20"),
    ("mifgsm", "linf", "20/255"),
    ("sigma_zero", "l0", "30px"),
]


@pytest.mark.parametrize(("name", "norm", "eps"), OTHERS)
def test_what_other_attacks_find_is_among_their_looks(case, name, norm, eps):
    settings = {"norm": norm, "eps": eps, "early_exit": False, "target": case.target}
    attack = resolve(name).obj(**settings)
    found = attack(case.backbone, case.data, seed=4)
    walk = search(case, attack, seed=4, keep=500)
    nearest = np.rint(found.images[0, 0].astype(float) * 255).astype(np.uint8)
    assert found.moved[0, 0] or found.verified[0, 0]
    assert any((pixels == nearest).all() for pixels in walk.pictures)
    assert (nearest != case.original).any()


def test_pictures_are_what_was_looked_at(case):
    walk = search(case, attack_of(case), seed=2)
    for row, pixels in zip(walk.rows, walk.pictures, strict=True):
        assert np.abs(pixels.astype(int) - case.original).max() <= 20
        expected = told(case, case.read(pixels))  # half a level away from the floats
        assert expected.target == pytest.approx(walk.way.target[row], rel=0.2)


def test_few_are_kept_evenly_and_the_search_stays(case):
    whole = search(case, attack_of(case, steps=30), seed=2)
    few = search(case, attack_of(case, steps=30), seed=2, keep=4, small=lambda p: p[:, ::2])
    assert few.rows == (0, 8, 16, 24)
    assert few.pictures[1].shape == (1, 16, 32)
    assert (few.way.target == whole.way.target).all()


def test_long_searches_are_thinned(case):
    attack = attack_of(case, steps=300)
    walk = search(case, attack, keep=8)
    steps = set(np.diff(walk.way.at))
    assert steps == {2}
    assert len(walk.way.at) <= 241
    assert len(walk.pictures) <= 8
    found = attack(case.backbone, case.data, fast=True)
    noted = noted_by(found)[::2]
    assert len(noted) == 64
    np.testing.assert_allclose(walk.way.target[:64], noted, rtol=1e-3)


def test_untargeted(case):
    walk = search(case, attack_of(case, targeted=False))
    assert np.isnan(walk.way.target).all()
    assert walk.way.label[-1] < walk.way.label[0]


def test_bad_requests(case):
    taught = resolve("universal").obj(eps="8/255", early_exit=False)
    with pytest.raises(BadRequest, match="points must be at least 2"):
        line(case, points=1)
    with pytest.raises(BadRequest, match="early_exit"):
        search(case, attack_of(case, early_exit=True))
    with pytest.raises(BadRequest, match="does not look at"):
        search(case, taught)
    with pytest.raises(BadRequest, match="no class 77"):
        straight_line(case.backbone, case.read, case.original, case.changed, 77)


@pytest.mark.slow
def test_the_way_to_the_vulture(panda):
    way = line(panda)
    assert way.prediction[0] == "giant panda"
    assert way.prediction[-1] == "vulture"
    assert way.target[0] < 1e-6
    walk = search(panda, resolve("pgd").obj(eps="1/255", target=23, early_exit=False))
    assert len(walk.way.at) == 41
    assert walk.way.target.max() > 0.9
    assert len(walk.pictures) == 21
