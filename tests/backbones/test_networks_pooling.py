"""Pooling sites: equal shapes for all words, and which value plain subsampling keeps."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from robustlab.backbones.lectures.pooling import POOLS, Subsample, pooling


def shape_or_none(layer, size):
    try:
        return tuple(layer(torch.zeros(1, 1, size, size + 1)).shape)
    except RuntimeError:
        return None


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.booleans(), st.integers(1, 20))
def test_all_words_have_the_same_shape(kernel, stride, padding, ceil, size):
    assume(padding <= (kernel - 1) // 2)
    assume(not ceil or stride <= kernel // 2 + 1 - padding)
    words = [pooling(word, kernel, stride, padding, ceil=ceil) for word in POOLS]
    shapes = {shape_or_none(layer, size) for layer in words}
    assert len(shapes) == 1, shapes


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
