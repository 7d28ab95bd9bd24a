"""The probe `depth_trace`: exact cases, patching at cuts and beside branches, independence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.filters import depth_trace as probe_file
from robustlab.filters import trace_survey
from robustlab.filters.depth_trace import depth_trace
from robustlab.filters.trace_layers import traced_layers
from robustlab.filters.trace_patching import patched
from robustlab.hooks import feature_maps, find_layers


class Residual(nn.Module):
    """A block that a branch goes round, behind a convolution and in front of a head."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.relu(x + self.inner(x)))


def backbone(module, size=8, **settings):
    """Logits are centred, so that noise falls to several classes."""
    last = [m for m in module.modules() if isinstance(m, nn.Linear)][-1]
    noise = torch.tensor(np.random.default_rng(0).random((64, 1, size, size)))
    with torch.no_grad():
        last.bias -= module.eval()(noise.to(last.bias.dtype)).mean(dim=0)
    return Backbone(module.eval(), input_shape=(1, size, size), classes=3, name="net", **settings)


def plain(dtype=torch.float32, size=8):
    torch.manual_seed(3)
    wide = 5 * (size // 2) ** 2
    layers = (nn.Conv2d(1, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    return backbone(nn.Sequential(*layers, nn.Linear(wide, 3)).to(dtype), size)


def residual():
    torch.manual_seed(1)
    return backbone(Residual())


def images(net, n=10, seed=0, size=8):
    """Images whose labels are what the network says, so that all are right."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (n, 1, size, size), dtype=np.uint8)
    x = torch.tensor(pixels).to(net.dtype) / 255
    labels = net(x).argmax(dim=1).cpu().numpy()
    return Data(pixels, labels, classes=3, ids=[f"own/{i}" for i in range(n)])


ATTACK = {"attack": "pgd", "eps": "0.2", "images": 0, "layers": 0, "draws": 2}
SHIFT = {"change": "circular", "images": 0, "layers": 0, "draws": 2, "readout": 0}


def check_exact():
    """An identity amplifies by one; a linear layer as its weights say; layers in their order."""
    torch.manual_seed(0)
    net = backbone(nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(64, 3)))
    data = images(net)
    found = depth_trace(net, data, **SHIFT).checked(10)
    arrays = found.arrays
    assert arrays["layers"].tolist() == ["0", "1", "2"]
    assert arrays["channels"].tolist() == [1, 64, 3]
    far = arrays["relative_distance"] / arrays["input_distance"][:, None]
    assert far[:, :2] == pytest.approx(1.0, abs=1e-6)
    linear = net.network.get_submodule("2") if hasattr(net.network, "2") else net.network[2]
    weight, bias = linear.weight.double(), linear.bias.double()
    x = torch.tensor(data.images).double().flatten(1) / 255
    z = torch.tensor(np.roll(data.images, 1, axis=3)).double().flatten(1) / 255
    before, by = x @ weight.T + bias, (z - x) @ weight.T
    hand = (by.norm(dim=1) / before.norm(dim=1)) / ((z - x).norm(dim=1) / x.norm(dim=1))
    assert far[:, 2] == pytest.approx(hand.detach().numpy(), rel=1e-5)
    after = before + by
    cosine = (before * after).sum(1) / before.norm(dim=1) / after.norm(dim=1)
    assert arrays["cosine"][:, 2] == pytest.approx(cosine.detach().numpy(), abs=1e-6)
    flips = ((before > 0) != (after > 0)).double().mean(dim=1)
    assert arrays["flips"][:, 2] == pytest.approx(flips.numpy())
    # The permuted control has the size of the shift itself.
    assert arrays["control_input_distance"][:, 2] == pytest.approx(arrays["input_distance"])
    said = after.argmax(dim=1).numpy()
    assert arrays["predictions"][:, 1].tolist() == said.tolist()
    assert found.samples["lost"].tolist() == (said != data.labels).tolist()


def test_exact_cases():
    check_exact()


def test_that_check_kills_another_order_of_layers(monkeypatch):
    right = traced_layers
    turned = lambda *a: (right(*a)[0][::-1], *right(*a)[1:])  # noqa: E731
    monkeypatch.setattr(probe_file, "traced_layers", turned)
    with pytest.raises(AssertionError):
        check_exact()


def check_cuts():
    net = residual()
    found = depth_trace(net, images(net), **SHIFT).arrays
    names = found["layers"].tolist()
    exact = dict(zip(names, found["whole_exact"].all(axis=0).tolist(), strict=True))
    assert names == ["stem", "inner", "relu", "head.0", "head.1", "head.2"]
    assert exact == {name: name != "inner" for name in names}
    assert not found["whole_exact"][:, 1].any()
    plain_one = plain()
    assert depth_trace(plain_one, images(plain_one), **SHIFT).arrays["whole_exact"].all()


def test_setting_back_a_cut_gives_the_clean_logits_and_beside_a_branch_not():
    check_cuts()


def test_that_check_kills_patching_with_the_changed_values(monkeypatch):
    def own(network, x, layer, clean, keep):
        return patched(network, x, layer, feature_maps(network, x, [layer])[0][layer.name], keep)

    monkeypatch.setattr(trace_survey, "patched", own)
    with pytest.raises(AssertionError):
        check_cuts()


@pytest.fixture(scope="module")
def attacked():
    net = plain()
    data = images(net, 40)
    assert len(set(data.labels.tolist())) > 1
    return net, data, depth_trace(net, data, **ATTACK, folds=2).checked(40)


def test_an_attack_is_followed(attacked):
    net, data, found = attacked
    arrays, measured = found.arrays, found.samples["measured"]
    assert measured.sum() >= 10
    assert (found.samples["lost"] == measured).all()
    assert (arrays["predictions"][measured, 0] == data.labels[measured]).all()
    assert np.isnan(arrays["relative_distance"][~measured]).all()
    assert not arrays["restoring"][~measured].any()
    # Plain: all is a cut, so a count is found, none beyond what has changed.
    count, changed = arrays["restoring"][measured], arrays["changed_channels"][measured]
    assert ((count >= 1) & (count <= changed)).all()
    random = arrays["restoring_random"][measured]
    assert ((random >= 1) & (random <= changed[:, None])).all()
    assert (arrays["readout_clean"] >= 0).all()
    assert (found.samples["left_at"] >= 0).tolist() == measured.tolist()
    assert found.cost["backward"] > 0
    (note,) = [n for n in found.notes if "smallest counts" in n]
    tried = [int(part.split(":")[0].split()[-1]) for part in note.partition(": ")[2].split("; ")]
    assert sum(tried) == measured.sum() * len(arrays["layers"])
    pixels = np.stack([arrays["maps_image_clean"], arrays["maps_image_changed"]])
    said = net(torch.tensor(pixels) / 255).argmax(dim=1).tolist()
    assert said == arrays["predictions"][int(arrays["maps_row"])].tolist()
    by = np.abs(arrays["maps_changed_0"] - arrays["maps_clean_0"])
    assert (np.diff(np.linalg.norm(by, axis=(1, 2))) <= 1e-6).all()


def test_restoring_counts_against_trying_all(attacked):
    net, data, found = attacked
    arrays = found.arrays
    row = int(arrays["maps_row"])
    x, z = (
        torch.tensor(arrays[f"maps_image_{w}"][None]).float() / 255 for w in ("clean", "changed")
    )
    layers, _ = find_layers(net.network, x.repeat(2, 1, 1, 1))
    clean, changed = (feature_maps(net.network, v, layers)[0] for v in (x, z))
    for i, layer in enumerate(layers[:3]):
        apart = (changed[layer.name] - clean[layer.name]).flatten(2).norm(dim=2)[0]
        order = apart.argsort(descending=True).tolist()
        said = []
        for k in range(1, len(order) + 1):
            keep = torch.zeros(1, len(order), dtype=torch.bool)
            keep[0, order[:k]] = True
            logits = patched(net.network, z, layer, clean[layer.name], keep)
            said.append(int(logits.argmax()) == data.labels[row])
        assert arrays["restoring"][row, i] == said.index(True) + 1


def check_alone():
    """By id the same in another order, in other batches, and without the others."""
    net = residual()
    data = images(net, 8)
    asked = {**SHIFT, "change": "zero"}
    whole = depth_trace(net, data, **asked).arrays
    backwards = depth_trace(net, data.subset(np.arange(8)[::-1]), **asked, batch=3).arrays
    some = depth_trace(net, data.subset([5, 2]), **asked, batch=1).arrays
    for other, rows, mine in (
        (backwards, slice(None, None, -1), slice(None)),
        (some, slice(None), [5, 2]),
    ):
        for name in ("relative_distance", "control_relative_distance", "flips"):
            assert other[name][rows] == pytest.approx(whole[name][mine], rel=1e-4, abs=1e-6), name
        for name in ("restoring", "restoring_random", "predictions", "whole_exact"):
            assert (other[name][rows] == whole[name][mine]).all(), name


def test_no_number_hangs_on_order_batch_or_company():
    check_alone()


def test_that_check_kills_draws_by_place(monkeypatch):
    right = trace_survey.controls
    calls = iter(range(10**6))
    monkeypatch.setattr(
        trace_survey, "controls", lambda a, b, name, seed: right(a, b, str(next(calls)), seed)
    )
    with pytest.raises(AssertionError):
        check_alone()


def hooks_of(network):
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()] + [
        m.training for m in network.modules()
    ]


def test_hooks_and_mode_are_restored_when_something_raises(monkeypatch):
    net = plain()
    before = hooks_of(net.network)

    def broken(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(trace_survey, "smallest", broken)
    with pytest.raises(RuntimeError, match="planted"):
        depth_trace(net, images(net, 30), **{**ATTACK, "readout": 0})
    assert hooks_of(net.network) == before
    x = torch.rand(2, 1, 8, 8)
    layers, _ = find_layers(net.network, x)
    with pytest.raises(RuntimeError, match=r"size|expand|match|shape"):
        patched(net.network, x, layers[0], torch.rand(2, 5, 3, 3), torch.ones(2, 5) > 0)
    assert hooks_of(net.network) == before


def test_float64_networks():
    net = plain(torch.float64)
    found = depth_trace(net, images(net, 4), **SHIFT).checked(4)
    assert found.arrays["whole_exact"].all()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"change": "zero", "shift": (0, 0)}, "moves an image"),
        ({"change": "zero", "shift": (0, 9)}, "leaves nothing"),
        ({"attack": "clean"}, "is no attack"),
        ({"attack": "pgdd"}, "did you mean 'pgd'"),
        ({"layers": -1}, "layers=-1"),
        ({"images": -2}, "images=-2"),
        ({"folds": 1}, "folds=1"),
        ({"batch": 0}, "batch=0"),
    ],
)
def test_bad_requests(asked, message):
    net = plain()
    with pytest.raises(BadRequest, match=message):
        depth_trace(net, images(net, 4), **asked)


def test_nothing_is_fooled_at_a_tiny_budget():
    net = plain()
    found = depth_trace(net, images(net, 4), eps="0.0001", draws=1).checked(4)
    assert not found.samples["measured"].any()
    assert any("No image could be followed" in note for note in found.notes)


def test_an_image_that_does_not_change_has_no_amplification():
    net = plain()
    pixels = np.full((2, 1, 8, 8), 90, np.uint8)
    pixels[1, 0, 2, 3] = 200
    data = Data(pixels, net(torch.tensor(pixels) / 255).argmax(dim=1).numpy(), classes=3)
    found = depth_trace(net, data, **SHIFT).checked(2)
    assert np.isnan(found.samples["logit_amplification"]).tolist() == [True, False]
    assert np.isnan(found.samples["gaussian_logit_amplification"]).tolist() == [True, False]
    assert not found.samples["lost"][0]
