"""Locally connected layers: against a loop, and against the convolution that ties their weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustlab.backbones import builders
from robustlab.backbones.lectures.locally_connected import LocallyConnected2d


def drawn(wide, out, kernel, size):
    layer = LocallyConnected2d(wide, out, kernel, size).double()
    generator = torch.Generator().manual_seed(7)
    nn.init.normal_(layer.weight, generator=generator)
    nn.init.normal_(layer.bias, generator=generator)
    return layer


def by_loop(layer, x):
    side, kernel = layer.weight.shape[0], layer.kernel_size
    out = torch.empty(len(x), layer.out_channels, side, side, dtype=x.dtype)
    for i in range(side):
        for j in range(side):
            window = x[:, :, i : i + kernel, j : j + kernel]
            for k in range(layer.out_channels):
                value = (window * layer.weight[i, j, k]).sum((1, 2, 3)) + layer.bias[i, j, k]
                out[:, k, i, j] = value
    return out


def check_layer(layer, x):
    torch.testing.assert_close(layer(x), by_loop(layer, x))


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3)
)
def test_against_a_loop(wide, out, kernel, room, images):
    size = kernel + room
    generator = torch.Generator().manual_seed(size)
    x = torch.rand(images, wide, size, size, generator=generator, dtype=torch.float64)
    check_layer(drawn(wide, out, kernel, size), x)


def test_gradients():
    layer = drawn(2, 3, 2, 4)
    x = torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(layer, x.requires_grad_())


class Transposed(LocallyConnected2d):
    """Mutant: the weights of rows and columns are mixed up."""

    def forward(self, x):
        return super().forward(x.transpose(2, 3))


def test_that_check_kills_mixed_up_places():
    layer = drawn(1, 2, 3, 6)
    layer.__class__ = Transposed
    with pytest.raises(AssertionError):
        check_layer(layer, torch.rand(1, 1, 6, 6, dtype=torch.float64))


def tied(local, conv):
    """The weights of the convolution at every place."""
    with torch.no_grad():
        local.weight.copy_(conv.weight.expand_as(local.weight))
        local.bias.copy_(conv.bias.expand_as(local.bias))


def test_with_tied_weights_it_is_lenet5():
    shared, local = builders["lenet5"](seed=5), builders["local"]()
    for name in ("conv1", "conv2"):
        tied(local.get_submodule(name), shared.get_submodule(name))
    for name in ("fc1", "fc2", "fc3"):
        local.get_submodule(name).load_state_dict(shared.get_submodule(name).state_dict())
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(local(x), shared(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        local.conv1.weight[0, 0] += 1
    assert not torch.allclose(local(x), shared(x), rtol=1e-4, atol=1e-5)


def test_weights_of_places_differ_and_have_the_spread_of_their_window():
    layer = builders["local"](seed=3).conv2
    assert layer.weight.shape == (10, 10, 16, 6, 5, 5)
    assert layer.bias.shape == (10, 10, 16)
    assert layer.weight.var().item() == pytest.approx(2 / 150, rel=0.02)
    assert not torch.equal(layer.weight[0, 0], layer.weight[0, 1])


@pytest.mark.parametrize("shape", [(1, 1, 31, 32), (1, 1, 33, 33), (1, 2, 32, 32)])
def test_other_inputs_are_refused(shape):
    with pytest.raises(RuntimeError, match=r"takes \[n, 1, 32, 32\], not"):
        builders["local"]()(torch.zeros(shape))
