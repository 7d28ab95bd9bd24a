"""Down-sampling that no layer or call is known for: refused, never passed over."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab.errors import BadRequest
from robustlab.pooling import exchanging, swap_pooling


def every_other_row(x):
    return torch.stack(x.unbind(2)[::2], dim=2)


def block_means(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


def fixed_block_means(x):
    return x.reshape(len(x), -1, 8, 2, 8, 2).mean((3, 5))


def narrow_product(x):
    pairs = torch.eye(x.shape[3] // 2, dtype=x.dtype).repeat_interleave(2, dim=0)
    return x @ pairs


def depth(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, -1, h // 2, 8)


def token_pairs(x):
    tokens = x.flatten(2)
    return tokens.reshape(*tokens.shape[:2], -1, 2).amax(-1)


def three_halves(x):
    """Two rows of every three, which halves nothing."""
    return torch.stack([row for k, row in enumerate(x.unbind(2)) if k % 3], dim=2)


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.detach().numpy()[:, :, ::2, ::2].copy())


class Odd(nn.Module):
    """A pooling that is known, with something else in front of it."""

    def __init__(self, thinned, takes=4):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, 1, 1)
        self.thinned = thinned
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(takes, 6, 3, 1, 1)
        self.head = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(6, 5)

    def forward(self, x):
        x = self.pool(self.thinned(self.first(x).relu()))
        return self.last(self.head(self.second(x)).flatten(1))


class Tokens(nn.Module):
    """Pairs of neighbours in a row of tokens."""

    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Linear(2, 5)

    def forward(self, x):
        return self.last(token_pairs(self.pool(x)).mean(-1))


THINNED = [
    every_other_row,
    block_means,
    fixed_block_means,
    narrow_product,
    three_halves,
    Custom.apply,
]


@pytest.mark.parametrize("thinned", THINNED, ids=lambda one: one.__qualname__)
def test_what_leaves_values_out_is_refused(lab_nets, thinned):
    backbone = lab_nets.backbone(lambda: Odd(thinned))
    with pytest.raises(BadRequest, match=r"out of maps of 1\dx1\d, and no pooling layer or call"):
        swap_pooling(backbone, "blur3")


def test_depth_by_hand_is_refused(lab_nets):
    network = lab_nets.backbone(lambda: Odd(depth, 16))
    with pytest.raises(BadRequest, match="out of maps of 16x16"):
        swap_pooling(network, "blur3")


def test_pairs_of_tokens_are_refused(lab_nets):
    with pytest.raises(BadRequest, match="amax is reached by 32 places out of maps of 8x8"):
        swap_pooling(lab_nets.backbone(Tokens), "blur3")


@pytest.mark.parametrize("thinned", [every_other_row, block_means, narrow_product])
def test_without_the_detector_half_a_network_is_swapped(lab_nets, thinned, monkeypatch):
    """The mutant: what these tests refuse was handed out, and is no more exact than before."""
    monkeypatch.setattr(exchanging, "check_density", lambda *_: None)
    swapped = swap_pooling(lab_nets.backbone(lambda: Odd(thinned)), "polyphase", "circular")
    assert lab_nets.change(swapped, lab_nets.images(0), 1, 1) > 1e-6


# What leaves nothing out --------------------------------------------------------------------------


def crop(x):
    return x[:, :, 4:-4, 4:-4]


def unpadded(x):
    return functional.conv2d(x, torch.ones(4, 4, 5, 5, dtype=x.dtype))


def last_channels(x):
    return functional.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2)


def shuffled_channels(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def rows_and_back(x):
    return torch.stack(x.unbind(2), dim=2)


def strips(x):
    return x * x.mean(3, keepdim=True).sigmoid() * x.mean(2, keepdim=True)


def selected(x):
    """Branches weighed by a global pool, as selective kernels do."""
    both = torch.stack([x, x.relu()], dim=1)
    share = functional.adaptive_avg_pool2d(both.sum(1), 1).sigmoid()
    return (both * share[:, None]).sum(1)


def attention(x):
    n, c, h, w = x.shape
    q = x.reshape(n, 2, 2, h * w).transpose(2, 3)
    there = (q @ q.transpose(2, 3)).softmax(-1) @ q
    return x + there.transpose(2, 3).reshape(n, c, h, w)


def windows(x):
    n, c, h, w = x.shape
    parts = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    parts = functional.layer_norm(parts, (c,)).view(n, h // 4, w // 4, 4, 4, c)
    return parts.permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


def up_and_down(x):
    larger = functional.conv_transpose2d(x, torch.ones(4, 4, 2, 2, dtype=x.dtype), stride=2)
    return functional.max_pool2d(larger, 2)


KEPT = [
    *(crop, unpadded, last_channels, shuffled_channels, rows_and_back, strips),
    *(selected, attention, windows, up_and_down),
]


@pytest.mark.slow
@pytest.mark.parametrize("kept", KEPT, ids=lambda one: one.__name__)
def test_what_leaves_no_value_out_is_swapped(lab_nets, kept):
    swapped = swap_pooling(lab_nets.backbone(lambda: Odd(kept)), "blur3")
    assert "pool" in [one.name for one in swapped.sites if one.changed]


class OneSize(nn.Module):
    """Takes images of one size, for its places have weights of their own."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept
        self.places = nn.Parameter(torch.randn(2, 16, 16))
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Linear(2, 5)

    def forward(self, x):
        return self.last(self.pool(self.kept(x + self.places)).mean((2, 3)))


def test_networks_of_one_size(lab_nets):
    for kept in (rows_and_back, strips):
        swap_pooling(lab_nets.backbone(lambda kept=kept: OneSize(kept)), "blur3")
    for thinned in (every_other_row, block_means, narrow_product):
        with pytest.raises(BadRequest, match="out of maps of 16x16"):
            swap_pooling(lab_nets.backbone(lambda thinned=thinned: OneSize(thinned)), "blur3")
