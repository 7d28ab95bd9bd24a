"""Shuffled patches, spatial frequencies, silhouettes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from robustlab.errors import BadRequest
from robustlab.invariance.changes import seen
from robustlab.invariance.changes.seen import high_pass, low_pass, patch_shuffle, silhouette, split
from robustlab.randomness import SampleRandom


def images(n=3, shape=(3, 16, 24)):
    return torch.tensor(np.random.default_rng(0).uniform(0.1, 0.9, (n, *shape)))


def rng(n, seed=0):
    return SampleRandom(seed, [f"own/{i}" for i in range(n)], "shuffle")


def check_shuffle(shuffle) -> None:
    """Every patch is one of the image's, each once, at least one elsewhere, whole in itself."""
    x = images()
    assert torch.equal(shuffle(x, 1, rng(3)), x)
    for k in (2, 4, 8):
        tall, wide = 16 // k, 24 // k
        for before, after in zip(x, shuffle(x, k, rng(3)), strict=True):
            patches = [
                [
                    image[:, r * tall : (r + 1) * tall, c * wide : (c + 1) * wide].numpy().tobytes()
                    for r in range(k)
                    for c in range(k)
                ]
                for image in (before, after)
            ]
            assert sorted(patches[0]) == sorted(patches[1])
            assert patches[0] != patches[1]


def test_shuffle_is_a_permutation_of_patches():
    check_shuffle(patch_shuffle)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda x, k, r: x,
        lambda x, k, r: patch_shuffle(x, 2 * k, r),
        lambda x, k, r: patch_shuffle(x, k, r).flip(3) if k > 1 else x,
        lambda x, k, r: torch.cat([patch_shuffle(x, k, r)[..., :12], x[..., 12:]], dim=3),
    ],
)
def test_shuffle_kills(mutant):
    with pytest.raises(AssertionError):
        check_shuffle(mutant)


def test_shuffles_differ_between_images_and_never_leave_one_as_it_was():
    x = images(1).expand(200, 3, 16, 24)
    made = patch_shuffle(x, 2, rng(200))
    assert not (made == x).flatten(1).all(dim=1).any()
    assert len({one.numpy().tobytes() for one in made}) == 23  # of the 24 orders


def test_a_rim_that_is_left_over_stays():
    x = images(2, (1, 11, 14))
    made = patch_shuffle(x, 4, rng(2))  # patches of 2 x 3, a rim of 1 row or 2, 1 column
    inner = (slice(None), slice(None), slice(1, 9), slice(1, 13))
    rim = torch.ones_like(x, dtype=torch.bool)
    rim[inner] = False
    assert torch.equal(made[rim], x[rim])
    assert torch.equal(made[inner].flatten(1).sort().values, x[inner].flatten(1).sort().values)


def check_split(split) -> None:
    """The parts add up, each holds its frequencies only, by the full transform."""
    x = images(2, (1, 16, 20))
    for cutoff in (0.2, 0.5, 1.0):
        low, high = split(x, cutoff)
        assert torch.allclose(low + high, x, atol=1e-12)
        assert torch.allclose(low.mean(dim=(2, 3)), x.mean(dim=(2, 3)))
        down, across = np.fft.fftfreq(16) * 2, np.fft.fftfreq(20) * 2
        inside = np.hypot(down[:, None], across[None, :]) <= cutoff
        assert np.abs(np.fft.fft2(low.numpy())[..., ~inside]).max(initial=0) < 1e-10
        assert np.abs(np.fft.fft2(high.numpy())[..., inside]).max() < 1e-10


def test_low_and_high_add_up():
    check_split(split)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda x, f: (split(x, f)[0], split(x, f)[1] + x.mean()),
        lambda x, f: (split(x, f / 2)[0], x - split(x, f / 2)[0]),
        lambda x, f: split(x, f)[::-1],
    ],
)
def test_split_kills(mutant):
    with pytest.raises(AssertionError):
        check_split(mutant)


def test_waves_pass_or_do_not():
    """A wave of a quarter of Nyquist passes below a larger cut-off, or above a smaller one."""
    place = torch.arange(32, dtype=torch.float64)
    wave = (0.5 + 0.4 * torch.cos(2 * np.pi * 4 * place / 32)).expand(1, 1, 32, 32)
    flat = torch.full_like(wave, 0.5)
    for keeps, loses in ((low_pass, high_pass), (high_pass, low_pass)):
        cutoff = 0.26 if keeps is low_pass else 0.24
        assert torch.allclose(keeps(wave, cutoff), wave)
        assert torch.allclose(loses(wave, cutoff), flat)


def cross():
    x = torch.zeros(2, 1, 12, 12)
    x[0, 0, 3:9, 3:9] = 0.8
    x[0, 0, 5:7, 5:7] = 0.0  # a hole
    x[1, 0, 2:10, 5] = 0.3
    return x


def check_silhouette(silhouette) -> None:
    x = cross()
    mask = x > 0.1
    flat, told = silhouette(x, "flat")
    assert told.all()
    assert torch.equal(flat, mask.to(x.dtype))
    assert torch.equal(silhouette(x, "reversed")[0], 1 - flat)
    filled = silhouette(x, "filled")[0]
    assert torch.equal(filled[0, 0, 3:9, 3:9], torch.ones(6, 6))
    assert filled[0].sum() == 36
    outline = silhouette(x, "outline")[0] > 0
    for made, one in zip(outline[:, 0].numpy(), mask[:, 0].numpy(), strict=True):
        neighbours = scipy.ndimage.convolve(one.astype(int), [[0, 1, 0], [1, 0, 1], [0, 1, 0]])
        assert np.array_equal(made, one & (neighbours < 4))


def test_silhouettes():
    check_silhouette(silhouette)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda x, kind: (1 - silhouette(x, kind)[0], silhouette(x, kind)[1]),
        lambda x, kind: silhouette(x, "flat"),
        lambda x, kind: ((x > 0.5).to(x.dtype), silhouette(x, kind)[1]),  # one threshold for all
    ],
)
def test_silhouettes_kill(mutant):
    with pytest.raises(AssertionError):
        check_silhouette(mutant)


def test_no_silhouette_where_no_background_can_be_told():
    x = torch.cat([cross().expand(2, 1, 12, 12), images(1, (1, 12, 12)).float()])
    made, told = silhouette(x, "flat")
    assert told.tolist() == [True, True, False]
    assert torch.equal(made[2], x[2])
    light = 1 - cross()
    made, told = silhouette(light, "flat")
    assert told.all()
    assert torch.equal(made, 1 - silhouette(cross(), "flat")[0])  # dark on light stays so


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda x: patch_shuffle(x, 0, rng(3)), "1 to 16"),
        (lambda x: patch_shuffle(x, 17, rng(3)), "1 to 16"),
        (lambda x: low_pass(x, 0.0), "above 0"),
        (lambda x: high_pass(x, 1.5), "at most 1"),
        (lambda x: silhouette(x, "outlin"), "did you mean 'outline'"),
    ],
)
def test_bad_requests(call, told):
    with pytest.raises(BadRequest, match=told):
        call(images())
    assert seen.SILHOUETTES
