"""What theory says of circular shifts: circular padding, a global head, sizes that divide."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.pooling import KINDS, swap_pooling
from robustlab.pooling.blur import blurred
from robustlab.pooling.polyphase import NORMS, components

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT = ("dense", "polyphase", "blur3+polyphase", "max+polyphase", "learned")
BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-5}
NETWORKS = ("plain", "residual", "calls")
# Behind windows of some kinds these norms are tied, and refused: see below.
TIED = ("polyphase-l1", "polyphase-linf")
CASES = [(n, k) for n in NETWORKS for k in KINDS if n == "residual" or k not in TIED]


@pytest.fixture(scope="module")
def swapped(lab_nets):
    """A network of `conftest` by its name, swapped; each but once."""

    @functools.cache
    def swap(name, kind, dtype=torch.float64, padding="circular", head="gap"):
        network = lab_nets.backbone(lab_nets.networks[name], dtype=dtype)
        return swap_pooling(network, kind, padding, head)

    return swap


@pytest.mark.parametrize("dtype", BOUNDS, ids=["float64", "float32"])
@pytest.mark.parametrize(("name", "kind"), CASES)
@settings(max_examples=5)
@given(st.integers(0, 99), st.integers(-3, 3), st.integers(-3, 3))
def test_every_kind_at_multiples_of_the_total_stride(
    lab_nets, swapped, name, kind, dtype, seed, down, right
):
    network = swapped(name, kind, dtype)
    assert (
        lab_nets.change(network, lab_nets.images(seed, dtype=dtype), 4 * down, 4 * right)
        <= BOUNDS[dtype]
    )


@pytest.mark.parametrize("dtype", BOUNDS, ids=["float64", "float32"])
@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=15)
@given(st.integers(0, 99), st.integers(-16, 16), st.integers(-16, 16))
def test_dense_and_polyphase_at_all_shifts(lab_nets, swapped, name, kind, dtype, seed, down, right):
    network = swapped(name, kind, dtype)
    assert (
        lab_nets.change(network, lab_nets.images(seed, dtype=dtype), down, right) <= BOUNDS[dtype]
    )


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("head", ["gmp", "gem"])
def test_other_global_heads(lab_nets, swapped, name, kind, head):
    network = swapped(name, kind, head=head)
    assert max(lab_nets.change(network, lab_nets.images(s), s, 3 - s) for s in range(4)) <= 1e-12


@pytest.mark.parametrize("kind", TIED)
def test_other_norms_where_no_window_ties_them(lab_nets, swapped, kind):
    network = swapped("residual", kind)
    assert max(lab_nets.change(network, lab_nets.images(s), s, 3 - s) for s in range(8)) <= 1e-12


@pytest.mark.parametrize(
    ("window", "kind", "told"),
    [
        (nn.MaxPool2d(2), "polyphase-linf", "behind a max is tied"),
        (nn.AvgPool2d(2), "polyphase-l1", "behind an average is tied"),
        (nn.MaxPool2d(2), "blur3+polyphase-l1", "behind a blur is tied"),
    ],
)
def test_norms_that_are_tied_by_construction(lab_nets, window, kind, told):
    """Shown on the components themselves, which are as large as each other, then refused."""
    x = lab_nets.images(0)
    dense = type(window)(2, 1)(functional.pad(x, (0, 1, 0, 1), mode="circular"))
    if "blur" in kind:
        dense = blurred(blurred(dense, 3, "circular", -1), 3, "circular", -2)
    parts = components(dense, (2, 2)).flatten(2)
    norms = torch.linalg.vector_norm(parts, NORMS[kind.rpartition("-")[2]], 2)
    assert (norms[:, 0] - norms.T).abs().max() < 1e-12
    assert torch.linalg.vector_norm(parts, 2, 2).std(1).min() > 1e-4
    network = nn.Sequential(nn.ReLU(), window, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(BadRequest, match=told):
        swap_pooling(Backbone(network, input_shape=(2, 8, 8), classes=2), kind, "circular")


# Each premise taken away must show ----------------------------------------------------------------


def worst(lab_nets, network, seeds=range(3)):
    return max(
        lab_nets.change(network, lab_nets.images(s), down, 1) for s in seeds for down in range(4)
    )


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in (*EXACT, *TIED)])
def test_other_kinds_see_shifts_below_the_stride(lab_nets, swapped, kind):
    assert worst(lab_nets, swapped("plain", kind)) > 1e-4


@pytest.mark.parametrize("padding", ["zero", "reflect", "replicate"])
@pytest.mark.parametrize("kind", EXACT)
def test_without_circular_padding(lab_nets, swapped, kind, padding):
    assert worst(lab_nets, swapped("plain", kind, padding=padding)) > 1e-4


@pytest.mark.parametrize("kind", [k for k in EXACT if k != "dense"])
def test_with_a_flatten_head(lab_nets, kind):
    flat = lab_nets.backbone(lab_nets.networks["plain"], head="flatten")
    assert worst(lab_nets, swap_pooling(flat, kind, "circular")) > 1e-4
    assert worst(lab_nets, swap_pooling(flat, kind, "circular", "gap")) <= 1e-12
    with pytest.raises(BadRequest, match="'dense' would give the classifier more values"):
        swap_pooling(flat, "dense", "circular")
    assert worst(lab_nets, swap_pooling(flat, "dense", "circular", "gap")) <= 1e-12


@pytest.mark.parametrize("kind", [*EXACT, "space2depth"])
def test_sizes_that_do_not_divide(lab_nets, kind):
    odd = lab_nets.backbone(lab_nets.networks["plain"], size=18)
    with pytest.raises(BadRequest, match=r"5: a map of 9 rows does not divide into 4 strides of 2"):
        swap_pooling(odd, kind, "circular")
    assert swap_pooling(odd, "blur3", "circular").sites


@pytest.mark.parametrize("kind", ["polyphase", "polyphase-l1", "polyphase-linf"])
def test_tied_norms(lab_nets, kind):
    """Stripes of +1 and -1: all components are equally large, and not the same."""
    stripes = nn.Conv2d(1, 3, 1, bias=False).double().eval()
    head = nn.Sequential(nn.MaxPool2d(1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = Backbone(nn.Sequential(stripes, *head).eval(), input_shape=(1, 8, 8), classes=3)
    exact = swap_pooling(network, kind, "circular")
    x = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    x[..., ::2] = -1
    assert lab_nets.change(exact, x, 0, 1) > 1
    x += 0.1 * lab_nets.images(3, 8, channels=1)[:1]
    assert lab_nets.change(exact, x, 0, 1) <= 1e-12


def test_branches_that_choose_apart_are_seen(lab_nets, swapped):
    network = swapped("residual", "polyphase")
    assert worst(lab_nets, network) <= 1e-12
    apart = swap_pooling(lab_nets.backbone(lab_nets.networks["residual"]), "polyphase", "circular")
    for one in apart.module.modules():
        if hasattr(one, "sampler"):
            one.sampler = type(one.sampler)()
    assert worst(lab_nets, apart, range(20)) > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_each_grid_of_a_dense_network_is_the_strided_one(lab_nets, swapped, name):
    """The mean over all grids is that of the strided network over all shifts."""
    plain = swap_pooling(lab_nets.backbone(lab_nets.networks[name]), "own", "circular")
    x = lab_nets.images(1)
    shifts = [(down, right) for down in range(4) for right in range(4)]
    mean = torch.stack([plain(x.roll(one, (-2, -1))) for one in shifts]).mean(0)
    torch.testing.assert_close(swapped(name, "dense")(x), mean, rtol=1e-12, atol=1e-12)
