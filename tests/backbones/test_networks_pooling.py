"""Pooling sites: equal shapes for all words, and which value plain subsampling keeps."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from robustlab.backbones import builders
from robustlab.backbones.lectures.pooling import POOLS, Subsample, pooling
from robustlab.errors import BadRequest


def shape_or_none(layer, size):
    try:
        return tuple(layer(torch.zeros(1, 1, size, size + 1)).shape)
    except RuntimeError:
        return None


def divides(geometry, size):
    """Into strides; at a stride of 1 there is nothing to divide."""
    whole = all(geometry.fits(one, axis) for axis, one in enumerate((size, size + 1)))
    return whole or geometry.stride == (1, 1)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.booleans(), st.integers(1, 20))
def test_all_words_have_the_same_shape(kernel, stride, padding, ceil, size):
    assume(padding <= (kernel - 1) // 2)
    assume(not ceil or stride <= kernel // 2 + 1 - padding)
    words = {word: pooling(word, kernel, stride, padding, ceil=ceil) for word in POOLS}
    polyphase = words.pop("polyphase")
    shapes = {shape_or_none(layer, size) for layer in words.values()}
    assert len(shapes) == 1, shapes
    if None not in shapes and divides(polyphase.geometry, size):
        assert shape_or_none(polyphase, size) in shapes
    elif None not in shapes:
        with pytest.raises(BadRequest, match="does not divide into"):
            shape_or_none(polyphase, size)


@pytest.mark.parametrize("geometry", [(4, 1, 2), (2, 2, 1), (1, 2, 0, True), (3, 3, 0, True)])
def test_windows_whose_middle_may_lie_outside(geometry):
    with pytest.raises(ValueError, match="more than their half"):
        Subsample(*geometry)


def numbered(size):
    return torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil", "size", "kept"),
    [
        (2, 2, 0, False, 6, [0, 2, 4]),
        (2, 2, 0, False, 5, [0, 2]),
        (2, 2, 0, True, 5, [0, 2, 4]),
        (3, 2, 0, False, 7, [1, 3, 5]),
        (3, 2, 0, True, 8, [1, 3, 5, 7]),
        (3, 2, 1, False, 6, [0, 2, 4]),
        (1, 2, 0, False, 5, [0, 2, 4]),
        (3, 3, 0, False, 9, [1, 4, 7]),
    ],
)
def test_kept_values(kernel, stride, padding, ceil, size, kept):
    x = numbered(size)
    assert torch.equal(Subsample(kernel, stride, padding, ceil)(x), x[:, :, kept][..., kept])


def check_looks_at_no_neighbour(layer):
    """Each output depends on exactly one input."""
    x = numbered(7).requires_grad_()
    out = layer(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert set(gradient.unique().tolist()) <= {0.0, 1.0}
    assert gradient.sum() == out.numel()
    neighbours = (gradient == 0).float()
    torch.testing.assert_close(layer(x.detach() + 100 * neighbours), out)


@pytest.mark.parametrize("geometry", [(2, 2), (3, 2), (3, 2, 1)])
def test_subsampling_looks_at_no_neighbour(geometry):
    check_looks_at_no_neighbour(Subsample(*geometry))


@pytest.mark.parametrize("layer", [nn.AvgPool2d(2), nn.MaxPool2d(2)])
def test_that_check_kills(layer):
    with pytest.raises(AssertionError):
        check_looks_at_no_neighbour(layer)


def test_padding_does_not_darken_an_average():
    assert torch.equal(pooling("avg", 3, 2, 1)(torch.ones(1, 1, 8, 8)), torch.ones(1, 1, 4, 4))


def worst(network, images, shifts):
    """Largest change of a logit, in standard deviations of the logits."""
    logits = network(images)
    moved = [network(images.roll((down, right), (2, 3))) for down in shifts for right in shifts]
    return max(((one - logits).abs().max() / logits.std()).item() for one in moved)


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
@pytest.mark.parametrize("head", ["gap", "gmp", "gem"])
def test_polyphase_does_not_see_a_shift(name, head):
    channels = builders[name].input_shape({})[0]
    random = torch.Generator().manual_seed(0)
    images = torch.rand(2, channels, 16, 16, dtype=torch.float64, generator=random)

    def network(**options):
        given = {"size": 16, "padding": "circular", "pool": "polyphase", "head": head, **options}
        return builders[name](width=4, **given).double().eval()

    assert worst(network(), images, range(4)) < 1e-12
    for mutant in ({"padding": "zero"}, {"head": "flatten"}, {"pool": "blur"}, {"pool": "max"}):
        assert worst(network(**mutant), images, range(4)) > 1e-4, mutant


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(BadRequest, match="map of 15 rows does not divide into 7 strides of 2"):
        builders["lenet5"](size=30, padding="circular", pool="polyphase")
    builders["lenet5"](size=30, padding="circular", pool="blur")


def test_branches_of_a_residual_block_share_their_component():
    """Two choices that differ add maps of different grids: the mutant sees the shift."""
    network = builders["resnet20"](size=16, width=4, pool="polyphase", padding="circular")
    network = network.double().eval()
    images = torch.rand(
        8, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    assert worst(network, images, range(2)) < 1e-12
    for one in network.modules():
        if hasattr(one, "sampler"):
            one.sampler = type(one.sampler)()
    assert worst(network, images, range(2)) > 1e-4
