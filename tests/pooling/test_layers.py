"""Each kind against a reference: torch or timm where they have it, a loop over pixels where not."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import comb
from torch import nn
from torch.nn import functional

from robustlab.errors import BadRequest
from robustlab.pooling import Geometry, GlobalPool, Pooling, parse_kind
from robustlab.pooling.depth import SpaceToDepth
from robustlab.pooling.geometry import PADDINGS, extended
from robustlab.pooling.polyphase import Polyphase

pytestmark = pytest.mark.usefixtures("one_thread")

MODES = {"zero": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def maps(seed=0, shape=(2, 3, 9, 11), dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def layer(kind, geometry, padding="zero", edge=None):
    read = parse_kind(kind)
    sampler = read.sampler(3, geometry.stride, 0)
    if isinstance(sampler, nn.Module):
        sampler = sampler.double()
    return Pooling(read.window, sampler, geometry, padding, edge).eval()


def geometry(kernel, stride, padding=0, dilation=1, ceil=False):
    pairs = ((one, one) for one in (kernel, stride, padding, dilation))
    return Geometry(*pairs, ceil=ceil)


# Windows --------------------------------------------------------------------------------------

BY_HAND = {
    "max": max,
    "avg": lambda v: sum(v) / len(v),
    "lp2": lambda v: math.sqrt(sum(x * x for x in v)),
    "lp3": lambda v: sum(abs(x) ** 3 for x in v) ** (1 / 3),
    "lpinf": lambda v: max(map(abs, v)),
    "lse10": lambda v: math.log(sum(math.exp(10 * x) for x in v) / len(v)) / 10,
    "mixed": lambda v: (max(v) + sum(v) / len(v)) / 2,
    "soft": lambda v: sum(math.exp(x) * x for x in v) / sum(map(math.exp, v)),
    "median": lambda v: sorted(v)[(len(v) - 1) // 2],
    "stochastic": lambda v: (
        sum(max(x, 0) * x for x in v) / sum(max(x, 0) for x in v) if max(v) > 0 else sum(v) / len(v)
    ),
}


def by_hand(kind, x, g):
    """Window by window over the values that lie on the map."""
    rows, columns = (g.out(size, axis) for axis, size in enumerate(x.shape[-2:]))
    found = torch.empty(rows, columns, dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            top, left = i * g.stride[0] - g.padding[0], j * g.stride[1] - g.padding[1]
            values = [
                x[top + a, left + b].item()
                for a in range(0, g.reach(0), g.dilation[0])
                for b in range(0, g.reach(1), g.dilation[1])
                if 0 <= top + a < x.shape[0] and 0 <= left + b < x.shape[1]
            ]
            found[i, j] = BY_HAND[kind](values)
    return found


@pytest.mark.parametrize("kind", BY_HAND)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.booleans())
def test_windows_by_hand(kind, kernel, stride, padding, dilation, ceil):
    assume(padding <= kernel // 2)
    g = geometry(kernel, stride, padding, dilation, ceil)
    x = maps(kernel)[:1, :1]
    torch.testing.assert_close(
        layer(kind, g)(x)[0, 0], by_hand(kind, x[0, 0], g), rtol=1e-12, atol=1e-12
    )


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.booleans(), st.integers(4, 12))
def test_windows_are_torchs(kernel, stride, padding, ceil, size):
    assume(padding <= kernel // 2)
    g, x = geometry(kernel, stride, padding, 1, ceil), maps(1, (2, 3, size, size + 1))
    same = {"rtol": 1e-12, "atol": 1e-12}
    plain = functional.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil)
    torch.testing.assert_close(layer("max", g)(x), plain, **same)
    plain = functional.avg_pool2d(x, kernel, stride, padding, ceil, count_include_pad=False)
    torch.testing.assert_close(layer("avg", g)(x), plain, **same)
    if padding == 0:
        plain = functional.lp_pool2d(x.abs(), 3, kernel, stride, ceil)
        hangs = ceil and any(
            g.out(n, a) != geometry(kernel, stride).out(n, a) for a, n in enumerate(x.shape[-2:])
        )
        if not hangs:  # torch's own scales a window that hangs over as if it were full
            torch.testing.assert_close(layer("lp3", g)(x.abs()), plain, **same)


def test_the_median_is_timms():
    median = pytest.importorskip("timm.layers.median_pool").MedianPool2d
    x = maps(2, (2, 3, 8, 8))
    torch.testing.assert_close(layer("median", geometry(3, 2))(x), median(3, 2)(x))


@pytest.mark.parametrize("kind", ["soft", "lse10", "lp3", "stochastic"])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e30])
def test_extreme_values_stay_finite_with_finite_gradients(kind, scale):
    x = (scale * maps(3, dtype=torch.float32)).requires_grad_()
    out = layer(kind, geometry(2, 2))(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert out.isfinite().all()
    assert gradient.isfinite().all()


def test_the_naive_form_overflows():
    """What the check above kills."""
    x = torch.full((1, 1, 2, 2), 100.0)
    assert not (x.exp() * x).sum().div(x.exp().sum()).isfinite()


def test_lp_is_a_sum():
    g, ones = geometry(2, 2), torch.ones(1, 1, 2, 2)
    assert [layer(f"lp{p}", g)(ones).item() for p in ("1", "2", "inf")] == [4, 2, 1]


def test_stochastic_draws_by_weight_in_training_and_never_in_eval():
    pool = layer("stochastic", geometry(2, 2))
    x = torch.tensor([[1.0, 3.0], [0.0, -2.0]]).reshape(1, 1, 2, 2)
    assert pool(x).item() == pytest.approx((1 + 9) / 4)
    many = x.repeat(4000, 1, 1, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = pool.train()(many)
        again = pool(many)
        torch.manual_seed(0)
        assert torch.equal(pool(many), drawn)
    assert not torch.equal(drawn, again)
    assert set(drawn.unique().tolist()) == {1.0, 3.0}
    assert (drawn == 3).float().mean().item() == pytest.approx(0.75, abs=0.03)


# What is past the edge ----------------------------------------------------------------------------


@given(st.sampled_from(PADDINGS), *(st.integers(0, 3) for _ in range(4)), st.integers(4, 7))
def test_edges_by_hand(padding, above, below, left, right, size):
    x = maps(4, (1, 1, size, size + 2))
    found = extended(x, (above, below), (left, right), padding)[0, 0]
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            row, column = i - above, j - left
            inside = 0 <= row < size and 0 <= column < size + 2
            if padding == "zero" and not inside:
                assert found[i, j] == 0
                continue
            row, column = (
                {
                    "zero": lambda k, n: k,
                    "replicate": lambda k, n: min(max(k, 0), n - 1),
                    "circular": lambda k, n: k % n,
                    "reflect": lambda k, n: abs(k) if k < n else 2 * (n - 1) - k,
                }[padding](k, n)
                for k, n in ((row, size), (column, size + 2))
            )
            assert found[i, j] == x[0, 0, row, column]


def test_edges_too_wide_for_the_map():
    x = maps(0, (1, 1, 2, 8))
    with pytest.raises(BadRequest, match="reflect padding of 2 needs maps of at least 3 values"):
        extended(x, (2, 0), (0, 0), "reflect")
    with pytest.raises(BadRequest, match="circular padding of 3 needs maps of at least 3 values"):
        extended(x, (3, 0), (0, 0), "circular")
    assert extended(x, (2, 0), (0, 0), "circular").shape[-2] == 4


# Samplers -----------------------------------------------------------------------------------------


def filtered(x, taps, stride, padding):
    """The binomial filter as a convolution with its kernel."""
    row = torch.tensor([comb(taps - 1, k, exact=True) for k in range(taps)], dtype=x.dtype)
    kernel = torch.outer(row, row) / row.sum() ** 2
    around = [(taps - 1) // 2, taps // 2] * 2
    wide = functional.pad(x, around, mode=MODES[padding])
    kernels = kernel.expand(x.shape[1], 1, taps, taps)
    return functional.conv2d(wide, kernels, stride=stride, groups=x.shape[1])


@given(st.integers(2, 7), st.integers(2, 4), st.sampled_from(PADDINGS), st.integers(7, 14))
def test_blur_is_the_binomial_filter(taps, stride, padding, size):
    x = maps(taps, (2, 3, size, size + 1))
    pool = layer(f"max+blur{taps}", geometry(1, stride, ceil=True), padding)
    torch.testing.assert_close(pool(x), filtered(x, taps, stride, padding), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("taps", [3, 5, 7])
@pytest.mark.parametrize("padding", ["reflect", "replicate", "circular"])
def test_odd_blurs_are_timms(taps, padding):
    blur = pytest.importorskip("timm.layers.blur_pool").BlurPool2d
    x = maps(5, (2, 3, 12, 12), torch.float32)
    theirs = blur(3, filt_size=taps, stride=2, pad_mode=padding)(x)
    torch.testing.assert_close(layer(f"max+blur{taps}", geometry(1, 2), padding)(x), theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("taps", range(2, 8))
def test_the_filter_is_exact_in_every_precision(taps, dtype):
    """Of one value the filter gives its own weights: whole numbers over a power of two."""
    point = torch.zeros(1, 1, 16, 16, dtype=dtype)
    point[..., 8, 8] = 1
    found = layer(f"max+blur{taps}", geometry(1, 2, ceil=True), "circular")(point)
    exact = filtered(point.double(), taps, 2, "circular")
    assert torch.equal(found.double(), exact)


@pytest.mark.parametrize("size", [6, 8, 9, 12])
@pytest.mark.parametrize("stride", [2, 3])
def test_lowpass_keeps_what_the_thinner_grid_can_hold(size, stride):
    """Waves below the border pass unchanged, those above are gone; no rounding moves the border."""
    if size % stride:
        pytest.skip("a rest")
    pool, places = layer("max+lowpass", geometry(1, stride)), torch.arange(size)
    for k in range(size // 2 + 1):
        wave = torch.cos(2 * torch.pi * k * places.double() / size + 0.3)
        x = wave.expand(1, 1, size, size)
        share = {True: 1.0, False: 0.0}[2 * stride * k < size]
        if 2 * stride * k == size:
            share = 0.5
        expected = share * x[..., ::stride, ::stride]
        if 0 < share < 1:  # half of each of its two frequencies
            assert (pool(x) - expected).abs().max() < 1e-12
        else:
            torch.testing.assert_close(pool(x), expected, rtol=1e-12, atol=1e-12)


def test_lowpass_of_odd_maps_is_the_crop_of_the_spectrum():
    x = maps(6, (2, 3, 9, 9))
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1))[..., 3:6, 3:6]
    crop = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real / 9
    torch.testing.assert_close(layer("max+lowpass", geometry(1, 3))(x), crop)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("stride", [2, 3])
def test_polyphase_keeps_the_largest_component(norm, stride):
    x = maps(7, (5, 3, 12, 12))
    kept = layer(f"max+polyphase-{norm}", geometry(1, stride), "circular")(x)
    order = {"l1": 1, "l2": 2, "linf": math.inf}[norm]
    for image, found in zip(x, kept, strict=True):
        parts = [image[:, i::stride, j::stride] for i in range(stride) for j in range(stride)]
        best = max(parts, key=lambda one: torch.linalg.vector_norm(one, order).item())
        assert torch.equal(found, best)


def test_ties_go_to_the_first_component():
    x = torch.ones(1, 1, 4, 4)
    x[..., 1::2, :] = -1
    assert torch.equal(Polyphase()(x, (2, 2), "circular"), torch.ones(1, 1, 2, 2))
    assert torch.equal(Polyphase()(x.roll(1, -2), (2, 2), "circular"), -torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("stride", [(2, 2), (3, 3), (2, 3)])
def test_space_to_depth(stride):
    x = maps(8, (2, 3, 12, 12))
    deep = SpaceToDepth(stride)(x)
    assert deep.shape == (2, 3 * stride[0] * stride[1], 12 // stride[0], 12 // stride[1])
    assert torch.equal(deep.flatten().sort().values, x.flatten().sort().values)
    if stride[0] == stride[1]:
        assert torch.equal(deep, functional.pixel_unshuffle(x, stride[0]))


def test_space_to_depth_in_a_network_starts_as_the_stride():
    x, g = maps(9, (2, 3, 12, 12)), geometry(3, 2, 1)
    assert torch.equal(layer("max+space2depth", g)(x), functional.max_pool2d(x, 3, 2, 1))


def test_learned_weights_train_and_mix():
    pool = layer("max+learned", geometry(2, 2), "circular").train()
    x = maps(10, (2, 3, 8, 8))
    with torch.random.fork_rng():
        pool(x).sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in (pool.sampler.first.weight,))
    assert layer("max+learned", geometry(2, 2)).sampler.first.weight.equal(
        pool.sampler.first.weight
    )


# Heads --------------------------------------------------------------------------------------------


def test_global_pools():
    x = maps(11).abs() + 1e-3
    flat = x.flatten(2)
    torch.testing.assert_close(GlobalPool("gap", keep=False)(x), flat.mean(2))
    torch.testing.assert_close(GlobalPool("gmp", keep=False)(x), flat.amax(2))
    expected = flat.pow(3).mean(2).pow(1 / 3)
    torch.testing.assert_close(GlobalPool("gem", keep=False)(x), expected)
    torch.testing.assert_close(GlobalPool("gem", power=1, keep=False)(x), flat.mean(2))
    assert GlobalPool("gem")(1e30 * x.float()).isfinite().all()
    assert GlobalPool("gem")(x).shape == (2, 3, 1, 1)


# Words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("blr3", "unknown pooling kind 'blr3'; did you mean 'blur3'?"),
        ("blur8", "a blur has 2 to 7 taps, not 8"),
        ("blur1", "a blur has 2 to 7 taps, not 1"),
        ("lp0.5", "Lp pooling needs p of at least 1, not 0.5"),
        ("lse0", "log-sum-exp needs a sharpness above 0"),
        ("polyphase-l3", "did you mean 'polyphase-l1'?"),
        ("polyphase+blur3", "unknown pooling kind 'polyphase+blur3'; did you mean"),
        ("max+", "unknown pooling kind 'max+'; did you mean 'max'?"),
        ("max+avg", "unknown pooling kind 'max+avg'; did you mean"),
        ("", "unknown pooling kind ''"),
        (3, "a pooling kind is text, as 'blur3', not 3"),
    ],
)
def test_wrong_kinds(kind, told):
    with pytest.raises(BadRequest) as error:
        parse_kind(kind)
    assert told in str(error.value)


def test_wrong_padding():
    with pytest.raises(BadRequest, match="unknown padding 'zeros'; did you mean 'zero'"):
        layer("max", geometry(2, 2), "zeros")
