"""Maps against the straightforward loop: shift, forward, argmax, one shift after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone, load_backbone
from robustlab.data import Data, load_data
from robustlab.invariance import shift_maps
from robustlab.invariance.shift_maps import Mapper
from robustlab.invariance.shift_period import find_period, total_stride
from robustlab.invariance.shift_pools import sliced_pools
from robustlab.invariance.shift_shared import Shared, share, windows
from robustlab.invariance.shifts import MODES, ground, window

pytestmark = pytest.mark.usefixtures("one_thread")


class Polyphase(nn.Module):
    """Keeps of four grids the one of largest norm: invariant to every circular shift."""

    def forward(self, x):
        grids = torch.stack([x[..., a::2, b::2] for a in (0, 1) for b in (0, 1)], dim=1)
        best = grids.pow(2).sum(dim=(2, 3, 4)).argmax(dim=1)
        return grids[torch.arange(len(x)), best]


def network(pool=None, padding="circular", head="gap", size=16, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)

    def conv(wide, out):
        return nn.Conv2d(wide, out, 3, padding=1, padding_mode=padding)

    make = pool or (lambda: nn.MaxPool2d(2))
    layers = [conv(1, 6), nn.ReLU(), make(), conv(6, 8), nn.BatchNorm2d(8), nn.ReLU(), make()]
    values = 8 * (size // 4) ** 2
    if head == "gap":
        layers.append(nn.AdaptiveAvgPool2d(1))
        values = 8
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(values, 5))
    module[4].running_mean.uniform_(-0.5, 0.5)
    module[4].running_var.uniform_(0.5, 2.0)
    # Untrained logits hang on little but the bias: let them spread.
    module[-1].weight.data *= 20
    module = module.to(dtype).eval()
    return Backbone(
        module, input_shape=(1, size, size), classes=5, name="own", mean=[0.2], std=[0.4]
    )


def valid(dtype=torch.float32):
    """Without padding, strides 2 and 2, and a pooling that overlaps."""
    torch.manual_seed(1)
    module = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 6, 2, stride=2)),
        *(nn.ReLU(), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(24, 5)),
    )
    return Backbone(
        module.to(dtype).eval(),
        input_shape=(1, 16, 16),
        classes=5,
        name="valid",
        mean=[0.1],
        std=[0.5],
    )


def images(n=6, size=16, margin=4):
    rng = np.random.default_rng(2)
    x = np.zeros((n, 1, size, size), np.uint8)
    inner = slice(margin, size - margin)
    x[:, :, inner, inner] = rng.integers(0, 256, (n, 1, size - 2 * margin, size - 2 * margin))
    return Data(x, np.arange(n) % 5, classes=5)


def loop(backbone, data, radius, mode):
    """Logits [n, S, S, K], one shift after the other on the original network."""
    dtype = torch.float64 if backbone.dtype == torch.float64 else torch.float32
    x = torch.tensor(data.images).to(dtype) / 255
    picture, grid = ground(x, radius, mode), range(-radius, radius + 1)
    rows = [[backbone(window(picture, dy, dx, radius)) for dx in grid] for dy in grid]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).double()


def check(backbone, mode, radius=3, data=None, **settings):
    data = data or images()
    found = Mapper(backbone, radius, mode, **settings)(data)
    logits = loop(backbone, data, radius, mode)
    assert np.array_equal(found.prediction, logits.argmax(3).numpy())
    p = logits.softmax(3).numpy()
    true = np.take_along_axis(p, data.labels[:, None, None, None], 3)[..., 0]
    assert np.allclose(found.probability, true, atol=1e-5)
    assert np.allclose(found.loss, -np.log(true), rtol=1e-4, atol=1e-5)
    still = logits[:, radius, radius]
    assert np.allclose(found.logits, still.numpy(), rtol=1e-4, atol=1e-5)
    for n in range(len(data)):
        change = (logits[n] - still[n]).norm(dim=-1)
        assert np.allclose(found.logit_change[n], change.numpy(), rtol=1e-4, atol=2e-5)
    for axis, (dy, dx) in enumerate([(0, 1), (1, 0), (1, 1)]):
        for i, j in np.ndindex(*p.shape[1:3]):
            inside = i + dy < p.shape[1] and j + dx < p.shape[2]
            mine = found.dp[:, axis, i, j]
            if not inside:
                assert np.isnan(mine).all()
                continue
            top = p[:, i, j].argmax(1)
            rows = np.arange(len(p))
            assert np.allclose(
                mine, np.abs(p[rows, i, j, top] - p[rows, i + dy, j + dx, top]), atol=1e-3
            )
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [network, valid, lambda: network(padding="zeros", head="flatten")])
def test_maps_are_those_of_the_loop(make, mode):
    found = check(make(), mode)
    assert not found.anew.any()


@pytest.mark.parametrize("name", ["lenet5-max@digits", "local@digits", "mlp@digits"])
def test_maps_of_shipped_networks_are_those_of_the_loop(name):
    check(load_backbone(name), "zero", 2, load_data("digits:test", take=6))


def test_float64_and_half_precision():
    check(network(dtype=torch.float64), "circular")
    check(valid(torch.float64), "reflect")
    half = network(dtype=torch.bfloat16)
    found = Mapper(half, 1, "zero", batch=1)(images())
    with torch.no_grad():
        still = torch.cat([half(torch.tensor(images().batch([k]))) for k in range(6)])
    assert np.array_equal(found.prediction[:, 1, 1], still.argmax(1).numpy())


def test_the_embedding_is_the_input_of_the_last_linear_layer():
    backbone, data = valid(torch.float64), images()
    found = Mapper(backbone, 1, "reflect")(data)
    body = nn.Sequential(*list(backbone.module)[:-1])
    x = torch.tensor(data.images).double() / 255
    z = [body((window(ground(x, 1, "reflect"), 0, dx, 1) - 0.1) / 0.5) for dx in (0, 1)]
    true = (z[1] - z[0]).norm(dim=1)
    assert np.allclose(found.embedding, z[0].detach().numpy(), rtol=1e-5)
    assert np.allclose(found.embedding_change[:, 1, 2], true.detach().numpy(), rtol=1e-5)
    module = nn.Sequential(nn.Conv2d(1, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    without = Backbone(module, input_shape=(1, 16, 16), classes=5)
    assert Mapper(without, 1, "zero")(data).embedding is None


# What a network's structure says of its period.


def test_the_period_is_the_product_of_the_strides():
    assert (total_stride(network()), find_period(network(), 4)) == (4, 4)
    found = Mapper(network(), 7, "circular")(images())
    assert found.passes < 6 * (16 + 3)  # 16 of 225 shifts, and one more to check
    assert found.logit_change[:, 3, 3].max() == 0.0  # (-4, -4) is the unshifted image
    assert found.logit_change[:, 4, 3].max() > 1e-3


NEGATIVE = {
    "zero padding": {"padding": "zeros"},
    "reflect padding": {"padding": "reflect"},
    "flatten head": {"head": "flatten"},
    "indivisible size": {"size": 18},
}


@pytest.mark.parametrize("premise", NEGATIVE)
def test_without_a_premise_there_is_no_period(premise):
    backbone = network(**NEGATIVE[premise])
    assert Mapper(backbone, 1, "circular").period == 0
    check(backbone, "circular", 2, images(size=backbone.input_shape[1]))


def test_an_invariant_network_is_measured_and_not_believed():
    backbone = network(Polyphase, dtype=torch.float64)
    mapper = Mapper(backbone, 4, "circular")
    assert mapper.period == 4
    found = mapper(images(margin=0))
    assert found.passes >= 6 * 16
    assert 0 < found.logit_change.max() < 1e-12
    assert Mapper(network(Polyphase, padding="zeros"), 4, "circular").period == 0


class Remembering(nn.Module):
    """Seems to repeat every 4 pixels, but not for images with a bright corner."""

    def __init__(self):
        super().__init__()
        self.inner = network().module

    def forward(self, x):
        return self.inner(x) + 5 * (x[:, :, 0, 0] > 5.0) * torch.arange(5)


def test_what_disagrees_with_the_original_is_computed_anew():
    backbone = Backbone(
        Remembering().eval(), input_shape=(1, 16, 16), classes=5, mean=[0.0], std=[0.1]
    )
    rng = np.random.default_rng(0)
    x = rng.integers(0, 120, (12, 1, 16, 16)).astype(np.uint8)
    x[:6][rng.uniform(size=(6, 1, 16, 16)) < 0.3] = 200  # bright in the corner at some shifts
    data = Data(x, np.arange(12) % 5, classes=5)
    mapper = Mapper(backbone, 5, "circular")
    mapper.period = 4  # as if asking had missed it
    found = mapper(data)
    logits = loop(backbone, data, 5, "circular").argmax(3).numpy()
    assert found.anew.any()
    assert np.array_equal(found.prediction[found.anew], logits[found.anew])


def wrong_way(monkeypatch, change):
    """Run the quick way on a network with other weights."""
    real = shift_maps.share

    def broken(copied, *rest):
        change(copied)
        return real(copied, *rest)

    monkeypatch.setattr(shift_maps, "share", broken)


def test_a_copy_that_computes_otherwise_is_noticed(monkeypatch):
    def change(copied):
        for parameter in copied.parameters():
            parameter.mul_(1.02)

    wrong_way(monkeypatch, change)
    assert check(valid(), "zero").anew.all()


class Close(nn.Module):
    """Two logits that differ by rounding alone, the one or the other larger."""

    def forward(self, x):
        total = x.sum(dim=(1, 2, 3))
        return torch.stack([total, total * 1.0000001, 0 * total], dim=1)


def test_near_ties_are_decided_by_the_original_alone():
    backbone = Backbone(Close().eval(), input_shape=(1, 16, 16), classes=3)
    data = Data(images().images, np.arange(6) % 3, classes=3)
    found = Mapper(backbone, 1, "zero", batch=7)(data)
    assert (found.redecided == 9).all()
    x = torch.tensor(data.batch(slice(None)))
    picture = ground(x, 1, "zero")
    for n, i, j in np.ndindex(6, 3, 3):
        alone = backbone(window(picture, i - 1, j - 1, 1)[n : n + 1])
        assert found.prediction[n, i, j] == int(alone.argmax())


# Independence.


@pytest.mark.parametrize("make", [network, valid])
def test_no_figure_hangs_on_batch_order_or_shard(make):
    backbone, data = make(), images(9)
    whole = Mapper(backbone, 3, "zero", batch=256)(data)
    order = np.array([4, 2, 8, 0, 1, 7, 3, 6, 5])
    for batch, rows in ((5, np.arange(9)), (64, order), (64, np.array([6])), (3, np.arange(2, 7))):
        part = Mapper(backbone, 3, "zero", batch=batch)(data.subset(rows))
        assert np.array_equal(part.prediction, whole.prediction[rows])
        for name in ("probability", "logit_change", "embedding", "embedding_change", "loss"):
            mine, true = getattr(part, name), getattr(whole, name)[rows]
            assert np.allclose(mine, true, rtol=1e-4, atol=2e-6), name


def test_the_backbone_is_left_as_it_was():
    backbone = network()
    before = {k: v.clone() for k, v in backbone.network.state_dict().items()}
    Mapper(backbone, 2, "circular")(images())
    assert all(torch.equal(v, before[k]) for k, v in backbone.network.state_dict().items())
    assert not any(m._forward_hooks for m in backbone.network.modules())
    assert type(backbone.module[2]) is nn.MaxPool2d


# What windows share.


def test_windows_share_the_layers_that_do_not_pad():
    backbone = valid()
    found = share(backbone.network, (16, 16), 3)
    assert found is not None
    assert (found.grid, found.size) == (4, (2, 2))
    assert len(found.steps) == 8  # and the two of the normalisation
    padded = share(network().network, (16, 16), 3)
    assert padded is None


def test_sharing_stops_where_it_would_cost_more():
    module = nn.Sequential(nn.Conv2d(1, 2, 2, stride=4), nn.Flatten(), nn.Linear(32, 5)).eval()
    assert share(module, (16, 16), 1) is None  # one start in four each way is needed
    assert share(module, (16, 16), 8) is not None


def cut_all(shared, picture, radius):
    features = shared.features(picture)
    grid = [(i, j) for i in range(2 * radius + 1) for j in range(2 * radius + 1)]
    top, left = (torch.tensor([g[k] for g in grid]) for k in (0, 1))
    return shared.rest(windows(features, shared.size, torch.zeros_like(top), top, left)), grid


def check_shared(shared, module, radius=3):
    torch.manual_seed(0)
    picture = torch.rand(1, 1, 16 + 2 * radius, 16 + 2 * radius, dtype=torch.float64)
    made, grid = cut_all(shared, picture, radius)
    for row, (i, j) in enumerate(grid):
        true = module(picture[:, :, i : i + 16, j : j + 16])[0]
        assert torch.allclose(made[row], true, atol=1e-12)


def transposed(shared):
    real = shared.features
    return lambda picture: real(picture).transpose(1, 2)


def test_shared_layers_give_the_windows_their_own_values():
    network = valid(torch.float64).network
    found = share(network, (16, 16), 3)
    check_shared(found, network)
    check_shared(share(sliced_pools(valid(torch.float64).network), (16, 16), 3), network)
    check_shared(Shared(network, (16, 16)), network)
    found.features = transposed(found)  # mutant: starting points swapped
    with pytest.raises(AssertionError):
        check_shared(found, network)
