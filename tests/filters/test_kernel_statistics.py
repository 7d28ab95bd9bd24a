"""Statistics of kernels: planted defects are named, waves are measured, and slow sums agree."""

from __future__ import annotations

import numpy as np
import pytest

from robustlab.filters import kernel_statistics as ks
from robustlab.filters.kernel_statistics import (
    above_nyquist,
    colour,
    describe,
    duplicates,
    histogram,
    order,
    orientation,
    peak_frequency,
)

RNG = np.random.default_rng


def weights(filters=8, channels=3, side=5, seed=0):
    return RNG(seed).normal(size=(filters, channels, side, side))


def planted():
    """Filter 2 dead, 5 equal to 1, 6 opposite to 0 at half its size, channel 1 all zero."""
    w = weights()
    w[2] *= 1e-7
    w[5], w[6] = w[1], -0.5 * w[0]
    w[:, 1] = 0
    return w


def check_planted(facts):
    assert np.flatnonzero(facts.dead).tolist() == [2]
    assert np.flatnonzero(facts.channel_dead).tolist() == [1]
    assert facts.pairs.tolist() == [[0, 6], [1, 5]]
    assert facts.cosine == pytest.approx([-1, 1])
    assert np.isnan(facts.frequency[2])
    assert np.isnan(facts.above_nyquist[2])


def test_planted_defects_are_named():
    check_planted(describe(planted(), (2, 2)))


def test_clean_kernels_have_none():
    facts = describe(weights(), (1, 1))
    assert not facts.dead.any()
    assert not facts.channel_dead.any()
    assert facts.pairs.shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "value"), [("DEAD", 0.0), ("DEAD", 10.0), ("ALIKE", 1.1), ("ALIKE", 0.0)]
)
def test_that_check_kills_another_threshold(monkeypatch, name, value):
    monkeypatch.setattr(ks, name, value)
    with pytest.raises(AssertionError):
        check_planted(describe(planted(), (2, 2)))


def test_that_check_kills_a_signed_cosine(monkeypatch):
    """Mutant: opposite filters are passed over."""
    right = duplicates

    def signed(weight, dead):
        pairs, cosine = right(weight, dead)
        return pairs[cosine > 0], cosine[cosine > 0]

    monkeypatch.setattr(ks, "duplicates", signed)
    with pytest.raises(AssertionError):
        check_planted(describe(planted(), (2, 2)))


def test_groups_are_kept_apart():
    """Equal filters that look at different channels are two filters."""
    w = weights(4, 2)
    w[2], w[1] = w[0], w[0]
    facts = describe(w, (1, 1), groups=2)
    assert facts.pairs.tolist() == [[0, 1]]
    assert len(facts.channel_norm) == 4


def test_kernels_of_one_weight_are_not_all_alike():
    assert describe(weights(4, 1, 1), (1, 1)).pairs.shape == (0, 2)


def check_spectra(w, side):
    at = (np.arange(side) - side // 2) / side
    rows, columns = (np.exp(-2j * np.pi * np.outer(at, np.arange(s))) for s in w.shape[2:])
    slow = np.square(np.abs(rows @ w @ columns.T)).sum(axis=1)
    assert ks.spectra(w, side) == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (2, 1, 1, 2), (2, 3, 4, 7), (1, 2, 9, 5)])
@pytest.mark.parametrize("side", [16, 64, 6])
def test_spectra_by_a_slow_transform(shape, side):
    check_spectra(RNG(3).normal(size=shape), side)


def test_that_check_kills_a_lag_that_is_forgotten(monkeypatch):
    right = np.einsum
    monkeypatch.setattr(
        np, "einsum", lambda *a: 0 * right(*a) if a[1].shape[2:] == (1, 1) else right(*a)
    )
    with pytest.raises(AssertionError):
        check_spectra(RNG(3).normal(size=(3, 2, 3, 3)), 16)


def test_a_wide_layer_fits_in_memory():
    """512 x 512 kernels: their spectra one by one would take 17 GB."""
    import tracemalloc

    w = RNG(0).normal(size=(64, 512, 3, 3))
    tracemalloc.start()
    describe(w, (1, 1))
    assert tracemalloc.get_traced_memory()[1] < 12 * w.nbytes
    tracemalloc.stop()


def wave(frequency, degrees, side=15):
    """Stripes at an angle, counter-clockwise from level, as the picture is seen."""
    rows, columns = np.mgrid[:side, :side] - side // 2
    across = np.radians(degrees + 90)
    phase = columns * np.cos(across) - rows * np.sin(across)
    window = np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1])
    return (np.cos(2 * np.pi * frequency * phase) * window)[None, None]


def check_wave(frequency, degrees):
    w = wave(frequency, degrees)
    angle, coherence = orientation(w)
    assert abs((angle[0] - degrees + 90) % 180 - 90) < 2
    assert coherence[0] > 0.8
    assert peak_frequency(w)[0] == pytest.approx(frequency, abs=0.02)


WAVES = [(0.25, 0.0), (0.2, 30.0), (0.25, 45.0), (0.3, 90.0), (0.2, 120.0), (0.25, 135.0)]


@pytest.mark.parametrize(("frequency", "degrees"), WAVES)
def test_waves_are_measured(frequency, degrees):
    check_wave(frequency, degrees)


@pytest.mark.parametrize("mutant", ["mirrored", "along"])
def test_that_check_kills(monkeypatch, mutant):
    """Mutants: rows counted upwards; the direction of the wave for that of its stripes."""
    right = orientation

    def wrong(w):
        angle, coherence = right(w)
        return (180 - angle if mutant == "mirrored" else angle + 90) % 180, coherence

    monkeypatch.setitem(globals(), "orientation", wrong)
    with pytest.raises(AssertionError):
        check_wave(0.2, 30.0)


def test_kernels_of_the_lectures():
    """[-1, 1] finds upright edges; a Sobel filter too; Laplacian and blur have no direction."""
    difference = np.array([[[[-1.0, 1.0]]]])
    assert orientation(difference)[0][0] == 90
    assert peak_frequency(difference)[0] == 0.5
    sobel = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[None, None]
    assert orientation(sobel)[0][0] == 90
    assert orientation(sobel.swapaxes(2, 3))[0][0] == 0
    assert peak_frequency(sobel)[0] == pytest.approx(0.25)
    laplacian = np.array([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
    blur = np.ones((1, 1, 3, 3)) / 9
    board = np.array([[1.0, -1], [-1, 1]])[None, None]
    assert np.isnan(orientation(np.concatenate([laplacian, blur]))[0]).all()
    assert np.isnan(orientation(board)[0]).all()
    assert peak_frequency(blur)[0] == 0
    assert peak_frequency(laplacian)[0] == pytest.approx(np.hypot(0.5, 0.5))


def check_energy(w, stride):
    """The share of energy above the new Nyquist frequency, by a plain sum over frequencies."""
    side = 600
    power = np.square(np.abs(np.fft.fft2(w, (side, side)))).sum(axis=1)
    one = np.abs(np.fft.fftfreq(side))
    # A frequency on the border belongs half to either side; none is there for stride 1.
    edge = [np.isclose(one, 0.5 / s) & (s > 1) for s in stride]
    below = [np.where(e, 0.5, one < 0.5 / s + 1e-9) for e, s in zip(edge, stride, strict=True)]
    inside = np.outer(*below)
    slow = 1 - (power * inside).sum(axis=(1, 2)) / power.sum(axis=(1, 2))
    assert above_nyquist(w, stride) == pytest.approx(slow, abs=1e-3)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (4, 2), (3, 1)])
def test_energy_above_nyquist_by_a_slow_sum(stride):
    check_energy(weights(4), stride)


def test_that_check_kills_swapped_strides(monkeypatch):
    right = above_nyquist
    monkeypatch.setitem(globals(), "above_nyquist", lambda w, s: right(w, s[::-1]))
    with pytest.raises(AssertionError):
        check_energy(weights(4), (4, 2))


def test_energy_above_nyquist_of_known_kernels():
    """A single weight has a flat spectrum: stride 2 carries a quarter of it."""
    point = np.zeros((1, 1, 3, 3))
    point[..., 1, 1] = 1
    assert above_nyquist(point, (2, 2))[0] == pytest.approx(0.75, abs=1e-12)
    assert above_nyquist(point, (1, 1))[0] == 0
    # Of [-1, 1] the power is 2 - 2 cos(2 pi f): above 1/4 lies 1/2 + 1/pi of it.
    difference = np.array([[[[-1.0, 1.0]]]])
    assert above_nyquist(difference, (1, 2))[0] == pytest.approx(0.5 + 1 / np.pi, abs=1e-12)


def coloured(*channels):
    return np.array(channels, float)[None, :, None, None] * np.ones((1, 3, 3, 3))


def test_colours():
    """Grey has no hue; red and its opponent cyan are one axis."""
    share, hue = colour(coloured(1, 1, 1))
    assert share[0] == pytest.approx(0, abs=1e-15)
    assert np.isnan(hue[0])
    for channels, degrees in [((1, 0, 0), 0), ((0, 1, 1), 0), ((0, 1, 0), 120), ((0, 0, 1), 60)]:
        share, hue = colour(coloured(*channels))
        assert (hue[0] - degrees + 90) % 180 == pytest.approx(90)
    assert colour(coloured(1, 0, 0))[0][0] == pytest.approx(2 / 3)
    assert np.isnan(colour(weights(2, 1))[1]).all()


def test_the_order_of_the_grid():
    w = np.concatenate(
        [coloured(0, 0, 1), 1e-9 * coloured(1, 0, 0), coloured(1, 0, 0), coloured(1, 1, 1)]
    )
    board = np.indices((3, 3)).sum(axis=0) % 2 * 2.0 - 1
    fine = np.broadcast_to(board, (1, 3, 3, 3))
    facts = describe(np.concatenate([fine, w]), (1, 1))
    assert order(facts).tolist() == [4, 0, 3, 1, 2]


def test_histograms_hold_every_weight():
    w = weights()
    counts, edges = histogram(w)
    assert counts.sum() == w.size
    assert edges[0] == -edges[-1]
    assert np.abs(w).max() <= edges[-1]
    assert histogram(np.zeros((1, 1, 2, 2)))[0].max() == 4
