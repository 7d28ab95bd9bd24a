"""The controls: exactly the stated size, inside the box, and nobody's draw hangs on another's."""

from __future__ import annotations

import numpy as np
import pytest

from robustlab.filters import trace_controls
from robustlab.filters.trace_controls import controls
from robustlab.filters.trace_twins import rolled


def pair(seed, channels=1, eps=20):
    generator = np.random.default_rng(seed)
    clean = generator.integers(0, 256, (channels, 9, 7))
    clean[:, :3] = 0  # a black border, as digits have
    moved = np.clip(clean + generator.integers(-eps, eps + 1, clean.shape), 0, 255)
    return clean.astype(np.uint8), moved.astype(np.uint8)


def check(seed, channels):
    clean, changed = pair(seed, channels)
    x, z = clean / 255, changed / 255
    gaussian, sign, permuted = controls(clean, changed, "a/1", 0)
    for one in (gaussian, sign, permuted):
        assert one.min() >= 0
        assert one.max() <= 1
    assert np.linalg.norm(gaussian - x) == pytest.approx(np.linalg.norm(z - x), rel=1e-12)
    assert np.abs(sign - x).max() == pytest.approx(np.abs(z - x).max(), rel=1e-12)
    by = np.rint((permuted - x) * 255).astype(int)
    wanted = changed.astype(int) - clean
    for got, expected in zip(by, wanted, strict=True):
        assert sorted(got.ravel()) == sorted(expected.ravel())
    # Pixels move whole: the channels of one stay together.
    together = [sorted(map(tuple, v.reshape(channels, -1).T.tolist())) for v in (by, wanted)]
    assert together[0] == together[1]
    assert (by != wanted).any(axis=0).mean() > 0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_sizes(seed, channels):
    check(seed, channels)


MUTANTS = {
    "gaussian": lambda image, size, noise: np.clip(
        image + size * noise / np.linalg.norm(noise), 0, 1
    ),
    "signs": lambda image, size, tossed: np.clip(image + size / 2 * np.sign(tossed), 0, 1),
    "permuted": lambda clean, moved, order: (
        np.clip(
            clean + np.random.default_rng(0).permutation(moved.ravel()).reshape(moved.shape), 0, 255
        )
        - clean
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_that_check_kills_another_size(monkeypatch, name):
    monkeypatch.setattr(trace_controls, name, MUTANTS[name])
    with pytest.raises(AssertionError):
        check(0, 1)


def test_draws_hang_on_seed_and_id():
    clean, changed = pair(0)
    first = controls(clean, changed, "a/1", 0)
    assert (first == controls(clean, changed, "a/1", 0)).all()
    for name, seed in (("a/2", 0), ("a/1", 1)):
        other = controls(clean, changed, name, seed)
        assert all((a != b).any() for a, b in zip(first, other, strict=True))


def test_one_value_moves_by_the_whole_of_it():
    image = np.array([[[0.0, 0.9]]])
    made = trace_controls.signs(image, 0.5, np.array([[[-1.0, 1.0]]]))
    assert np.abs(made - image).max() == 0.5


@pytest.mark.parametrize("shift", [(0, 1), (2, 0), (-1, -3), (0, -2)])
def test_rolled_against_loops(shift):
    images = np.arange(2 * 3 * 5 * 6).reshape(2, 3, 5, 6) % 251 + 1
    circular, zero = (rolled(images, shift, mode) for mode in ("circular", "zero"))
    for y in range(5):
        for x in range(6):
            sy, sx = y - shift[0], x - shift[1]
            assert (circular[:, :, y, x] == images[:, :, sy % 5, sx % 6]).all()
            inside = 0 <= sy < 5 and 0 <= sx < 6
            assert (zero[:, :, y, x] == (images[:, :, sy, sx] if inside else 0)).all()
