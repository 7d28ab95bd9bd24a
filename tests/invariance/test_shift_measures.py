"""Consistency and adversarial shifts against brute force, with mutants."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustlab.errors import BadRequest
from robustlab.invariance import shift_measures as measures


def maps(seed=0, n=6, radius=2, classes=4):
    rng = np.random.default_rng(seed)
    size = 2 * radius + 1
    prediction = rng.integers(0, classes, (n, size, size)).astype(np.int16)
    prediction[0] = 3
    labels = rng.integers(0, classes, n)
    labels[0] = 3
    loss = rng.uniform(0, 3, (n, size, size))
    return prediction, labels, loss


def pairs_by_hand(prediction, distinct=True):
    found = []
    for one in prediction.reshape(len(prediction), -1).tolist():
        places = range(len(one))
        pairs = [(a, b) for a, b in itertools.product(places, places) if not distinct or a != b]
        found.append(np.mean([one[a] == one[b] for a, b in pairs]))
    return np.array(found)


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 6))
def test_pair_consistency_is_that_of_all_pairs(seed, radius, classes):
    prediction, _, _ = maps(seed, 4, radius, max(classes, 4))
    mine = measures.pair_consistency(prediction)
    assert np.allclose(mine, pairs_by_hand(prediction), atol=1e-12)


def test_pairs_of_a_shift_with_itself_would_be_seen():
    prediction, _, _ = maps()
    with_itself = pairs_by_hand(prediction, distinct=False)
    assert not np.allclose(measures.pair_consistency(prediction), with_itself)


def steps_by_hand(prediction, dy, dx):
    size = prediction.shape[1]
    found = []
    for one in prediction:
        changed = [
            one[i, j] != one[i + dy, j + dx]
            for i in range(size)
            for j in range(size)
            if 0 <= i + dy < size and 0 <= j + dx < size
        ]
        found.append(np.mean(changed))
    return np.array(found)


@pytest.mark.parametrize(("axis", "step"), [("x", (0, 1)), ("y", (1, 0)), ("diagonal", (1, 1))])
def test_one_pixel_steps(axis, step):
    prediction, _, _ = maps()
    mine = measures.steps_changed(prediction, axis)
    assert np.allclose(mine, steps_by_hand(prediction, *step))
    swapped = {"x": "y", "y": "x", "diagonal": "x"}[axis]
    assert not np.allclose(
        measures.steps_changed(prediction, swapped), steps_by_hand(prediction, *step)
    )


def test_reference_consistency_leaves_the_unshifted_image_out():
    prediction, _, _ = maps()
    for one, mine in zip(prediction, measures.reference_consistency(prediction), strict=True):
        others = np.delete(one.ravel(), 12)
        assert mine == pytest.approx(np.mean(others == one[2, 2]))
        if 0 < mine < 1:
            assert mine != pytest.approx(np.mean(one == one[2, 2]))


def test_accuracy_falls_as_theory_says():
    for seed in range(20):
        prediction, labels, _ = maps(seed, n=50, classes=2)
        prediction[:25] = labels[:25, None, None]
        ids = [f"own/{k}" for k in range(50)]
        for radius in (1, 2):
            inner = measures.centre(prediction, radius)
            drawn = measures.draw_shifts(ids, 5, radius, seed)
            everywhere = measures.right_everywhere(inner, labels).mean()
            worst_of_k = measures.right_at(inner, labels, drawn).mean()
            clean = (prediction[:, 2, 2] == labels).mean()
            assert everywhere <= worst_of_k <= clean
            assert everywhere <= measures.accuracy_map(inner, labels).min()
            assert measures.share_right(inner, labels).mean() == pytest.approx(
                measures.accuracy_map(inner, labels).mean()
            )


def test_the_worst_of_k_includes_the_unshifted_image():
    prediction, labels = np.full((1, 3, 3), 1), np.array([1])
    prediction[0, 1, 1] = 0
    assert not measures.right_at(prediction, labels, np.array([[[1, 1]]]))[0]
    assert measures.right_at(np.ones((1, 3, 3), int), labels, np.array([[[1, 1]]]))[0]


def test_shifts_are_looked_up_as_down_then_right():
    prediction, labels = np.ones((1, 3, 3), int), np.array([1])
    prediction[0, 2, 0] = 0  # one down, one to the left
    assert not measures.right_at(prediction, labels, np.array([[[1, -1]]]))[0]
    assert measures.right_at(prediction, labels, np.array([[[-1, 1]]]))[0]


def losing_by_hand(prediction, loss, label):
    grid = range(-2, 3)
    shifts = [(dy, dx) for dy in grid for dx in grid]
    wrong = [s for s in shifts if prediction[s[0] + 2, s[1] + 2] != label]
    return max(wrong or shifts, key=lambda s: loss[s[0] + 2, s[1] + 2])


MUTANTS = {
    "largest loss whatever the answer": lambda p, loss, y: measures.losing_shift(
        np.broadcast_to(y[:, None, None], p.shape), loss, y
    ),
    "smallest loss": lambda p, loss, y: measures.losing_shift(p, -loss, y),
    "dx, dy": lambda p, loss, y: measures.losing_shift(p, loss, y)[:, ::-1],
    "off by one": lambda p, loss, y: measures.losing_shift(p, loss, y) + 1,
}


def check_losing(find):
    prediction, labels, loss = maps(5, n=20)
    prediction[:, 1:3] = labels[:, None, None]
    mine = find(prediction, loss, labels)
    for row, (p, q, y) in enumerate(zip(prediction, loss, labels, strict=True)):
        assert tuple(mine[row]) == losing_by_hand(p, q, y)


def test_the_losing_shift():
    check_losing(measures.losing_shift)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_check_of_the_losing_shift_kills(mutant):
    with pytest.raises(AssertionError):
        check_losing(MUTANTS[mutant])


def test_equal_losses_give_the_shortest_shift():
    same = np.zeros((1, 5, 5))
    assert measures.losing_shift(same, same, np.array([0])).tolist() == [[0, 0]]
    assert measures.losing_shift(same, same, np.array([1])).tolist() == [[0, 0]]


def test_drawn_shifts_belong_to_the_image_alone_and_fill_the_square():
    ids = [f"own/{k}" for k in range(400)]
    drawn = measures.draw_shifts(ids, 10, 2, seed=1)
    assert drawn.shape == (400, 10, 2)
    assert np.array_equal(measures.draw_shifts(ids[7:9], 10, 2, seed=1), drawn[7:9])
    assert not np.array_equal(measures.draw_shifts(ids, 10, 2, seed=2), drawn)
    flat = (drawn[..., 0] + 2) * 5 + drawn[..., 1] + 2
    counts = np.bincount(flat.ravel(), minlength=25)
    assert counts.shape == (25,)
    expected = 4000 / 25
    assert ((counts - expected) ** 2 / expected).sum() < 52  # chi-squared, 24 degrees, p = 0.001


def test_steps_of_dp_that_leave_the_map_are_not_counted():
    dp = np.full((1, 3, 3, 3), np.nan)
    dp[0, 0, :, :2], dp[0, 1, :2], dp[0, 2, :2, :2] = 0.1, 0.2, 0.3
    for axis, value in {"x": 0.1, "y": 0.2, "diagonal": 0.3}.items():
        assert measures.step_mean(dp, axis)[0] == pytest.approx(value)
    # A smaller radius ends its steps earlier.
    wide = np.arange(75.0).reshape(1, 3, 5, 5)
    inner = measures.centre(wide, 1)
    assert measures.step_mean(inner, "x")[0] == pytest.approx(wide[0, 0, 1:4, 1:3].mean())


def test_radii_and_centres():
    assert measures.radii_within(8) == [1, 2, 4, 8]
    assert measures.radii_within(5) == [1, 2, 4, 5]
    assert measures.radii_within(1) == [1]
    grid = np.arange(25).reshape(1, 5, 5)
    assert measures.centre(grid, 1).tolist() == [[[6, 7, 8], [11, 12, 13], [16, 17, 18]]]
    with pytest.raises(BadRequest, match="outside of a map of radius 2"):
        measures.centre(grid, 3)
    with pytest.raises(BadRequest, match="unknown axis"):
        measures.steps_changed(grid, "z")


def test_flip_map():
    prediction = np.zeros((4, 3, 3), int)
    prediction[:3, 0, 2] = 1
    assert measures.flip_map(prediction)[0, 2] == 0.75
    assert measures.flip_map(prediction)[1, 1] == 0
    assert measures.mean_elsewhere(np.full((1, 3, 3), 2.0) - np.eye(3) * 0)[0] == 2.0


def test_an_answer_that_is_the_same_for_all_images_has_no_error():
    same = np.tile(np.array([3.0, -1.0, 7.0]), (5, 1))
    change = np.full((5, 3, 3), 0.1)
    assert np.isnan(measures.relative_error(change, same)).all()
    assert np.isnan(measures.unrelated_error(same)).all()
    assert np.isnan(measures.unrelated_error(np.eye(3)[:1])).all()


def test_unrelated_images_are_all_pairs():
    vectors = np.random.default_rng(0).normal(size=(9, 4)) + 5
    about = np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)
    pairs = [
        np.linalg.norm(vectors[j] - vectors[i]) / about[i]
        for i in range(9)
        for j in range(9)
        if i != j
    ]
    assert measures.unrelated_error(vectors).mean() == pytest.approx(np.mean(pairs), rel=1e-12)
