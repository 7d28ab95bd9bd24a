"""Controls: of the attack's size, or with its very pixel changes; and they do nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from robustlab.errors import BadRequest
from robustlab.fooling import controls as room
from robustlab.fooling.controls import answered, clipped, controls, permuted, sign_noise
from robustlab.fooling.readings import reading
from robustlab.randomness import SampleRandom

pytestmark = pytest.mark.usefixtures("one_thread")


def rng(draw=0):
    return SampleRandom(0, [str(draw)], "test")


@pytest.fixture(scope="module")
def delta():
    return np.random.default_rng(0).integers(-3, 4, (3, 20, 30)).astype(np.int16)


def bag(delta):
    """The pixel changes, whatever their places."""
    return Counter(map(tuple, delta.reshape(len(delta), -1).T.tolist()))


def keeps_the_changes(kind, delta):
    made = kind(delta, rng())
    sizes = [np.linalg.norm(one.ravel().astype(float), p) for one in (made, delta) for p in (1, 2)]
    return bag(made) == bag(delta) and np.allclose(sizes[:2], sizes[2:]) and (made != delta).any()


def has_the_size(kind, delta):
    made, most = kind(delta, rng()), int(np.abs(delta).max())
    # A fair coin of 1800: five standard deviations.
    return set(np.unique(made)) == {-most, most} and abs(int(made.sum())) < most * 5 * 1800**0.5


def test_permuted_keeps_the_pixel_changes(delta):
    assert keeps_the_changes(permuted, delta)


def test_sign_noise_has_the_same_linf(delta):
    assert has_the_size(sign_noise, delta)


def every_value_alone(delta, rng):
    flat = delta.ravel()
    return flat[rng.uniform(flat.shape)[0].argsort()].reshape(delta.shape)


def drawn_with_repeats(delta, rng):
    flat = delta.reshape(3, -1)
    places = (rng.uniform((flat.shape[1],))[0] * flat.shape[1]).astype(int)
    return flat[:, places].reshape(delta.shape)


def as_it_was(delta, rng):
    return delta


@pytest.mark.parametrize("mutant", [every_value_alone, drawn_with_repeats, as_it_was, sign_noise])
def test_mutants_of_the_permutation_die(mutant, delta):
    assert not keeps_the_changes(mutant, delta)


def signs_of_the_mean(delta, rng):
    return (sign_noise(delta, rng) / 3).astype(np.int16)


def all_up(delta, rng):
    return np.full_like(delta, np.abs(delta).max())


@pytest.mark.parametrize("mutant", [signs_of_the_mean, all_up, permuted])
def test_mutants_of_the_noise_die(mutant, delta):
    assert not has_the_size(mutant, delta)


def test_what_the_ends_cut_off_is_counted():
    original = np.array([[[0, 255, 10, 1]]], np.uint8)
    picture, lost = clipped(original, np.array([[[-3, 2, 4, -2]]], np.int16))
    assert picture.tolist() == [[[0, 255, 14, 0]]]
    assert lost == 3 + 2 + 0 + 1


def asked(case, **more):
    return controls(
        case.backbone, case.read, case.original, case.changed, case.label, case.target, **more
    )


def test_the_answer_is_what_the_network_says_of_these_pictures(case):
    """Draw by draw, by hand."""
    delta = case.changed.astype(np.int16) - case.original.astype(np.int16)
    for one in asked(case, draws=5, seed=3):
        rows, lost, total = [], 0, 0
        for draw in range(5):
            change = room.KINDS[one.name](delta, SampleRandom(3, [str(draw)], "control", one.name))
            wanted = case.original.astype(int) + change
            picture = wanted.clip(0, 255).astype(np.uint8)
            lost += int(np.abs(picture - wanted).sum())
            total += int(np.abs(change).sum())
            x = picture / np.float32(255)
            rows.append(reading(case.backbone, x, case.label, case.target))
        assert one.tries == 5
        assert one.fooling == sum(row.index != case.label for row in rows)
        assert one.hitting == sum(row.index == case.target for row in rows)
        assert one.lost == pytest.approx(lost / total)
        assert 0 < one.lost < 1  # digits are black at the border
        assert one.after.target == pytest.approx(max(row.target for row in rows), rel=1e-4)


def test_batches_change_nothing(case):
    small, large = asked(case, draws=5, batch=1), asked(case, draws=5, batch=64)
    for one, other in zip(small, large, strict=True):
        assert (one.fooling, one.hitting, one.lost) == (other.fooling, other.hitting, other.lost)
        assert one.after.target == pytest.approx(other.after.target, rel=1e-4)


def test_a_draw_is_the_same_whatever_their_number_and_another_with_another_seed(case):
    def made(draws, seed=0):
        delta = case.changed.astype(np.int16) - case.original.astype(np.int16)
        name = next(iter(room.KINDS))
        return list(room._shown(case.original, delta, name, range(draws), seed, []))

    assert all((a == b).all() for a, b in zip(made(2), made(4), strict=False))
    assert (made(4)[0] != made(4)[1]).any()
    assert (made(1)[0] != made(1, seed=1)[0]).any()


def test_the_furthest_draw_is_shown(case):
    low, high = (
        reading(case.backbone, case.read(p), case.label, case.target)
        for p in (case.original, case.changed)
    )
    found = answered("n", low, [low, high, low], case.label, case.target)
    assert (found.after, found.fooled, found.at_target) == (high, True, True)
    assert (found.tries, found.fooling, found.hitting) == (3, 1, 1)
    none = answered("n", low, [low, low], case.label, None)
    assert (none.fooled, none.at_target, none.fooling, none.hitting) == (False, False, 0, 0)


def test_without_a_target_nothing_hits(case):
    for one in controls(case.backbone, case.read, case.original, case.changed, case.label, draws=2):
        assert not one.at_target
        assert one.hitting == 0
        assert np.isnan(one.after.target)


def test_bad_requests(case):
    with pytest.raises(BadRequest, match="at least 1"):
        asked(case, draws=0)
    with pytest.raises(BadRequest, match="cannot be compared"):
        controls(case.backbone, case.read, case.original, case.changed[:, 1:], 0)
    with pytest.raises(BadRequest, match="no class 10"):
        controls(case.backbone, case.read, case.original, case.changed, 0, 10)


@pytest.mark.slow
def test_the_panda_stands_noise_of_the_same_size(panda):
    """At 1/255 the attack makes it a vulture; noise and the permuted perturbation never do."""
    assert panda.found.verified_8bit[0, 0]
    assert np.abs(panda.changed.astype(int) - panda.original).max() == 1
    for one in asked(panda, draws=16):
        assert (one.tries, one.fooling, one.hitting) == (16, 0, 0)
        assert one.after.label > 0.9
        assert one.lost < 0.05
