"""Deconvnets against pencil and paper, against captum where it is right; what they refuse."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from robustlab.errors import BadRequest
from robustlab.filters import projection, rectified
from robustlab.filters.projection import project, randomised
from robustlab.filters.rectified import Exchanged
from robustlab.hooks import find_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def last(network, x):
    return find_layers(network, x.repeat(2, 1, 1, 1)[:2])[0][-1]


# --- three layers by hand -----------------------------------------------------------------------


def by_hand():
    """conv (two 1x1 filters 1 and -1), ReLU, max pool 2, then 2 a - b, ReLU: on 2x2 pixels."""
    first, second = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
    first.weight = nn.Parameter(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1), requires_grad=False)
    second.weight = nn.Parameter(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1), requires_grad=False)
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU()).eval()


# Pixels 3 1 / -2 0. Filters give 3 1 / -2 0 and -3 -1 / 2 0; rectified and pooled 3 (upper left)
# and 2 (lower left); the unit is 2 * 3 - 2 = 4. One sent back gives 2 and -1 behind the pooling,
# unpooled to the upper left of the first map and the lower left of the second.
#   gradient:   filters 1 and -1 transposed: 2 there and (-1)(-1) = 1 here
#   deconvnet:  -1 is rectified away: 2 there, 0 here. So does guided, which has both masks.
BY_HAND = {
    "gradient": [[2.0, 0.0], [1.0, 0.0]],
    "deconvnet": [[2.0, 0.0], [0.0, 0.0]],
    "guided": [[2.0, 0.0], [0.0, 0.0]],
}
# relu(x) + relu(-x), summed over the pixels, on the same image.
SUMMED = {
    "gradient": [[1.0, 1.0], [-1.0, 0.0]],
    "deconvnet": [[0.0, 0.0], [0.0, 0.0]],
    "guided": [[1.0, 1.0], [-1.0, 0.0]],
}


def pencil(rule, network, x):
    layer = last(network, x)
    return project(network, layer, x, [(0, 0, 0)], rule, "one")


@pytest.mark.parametrize("rule", BY_HAND)
def test_three_layers_by_hand(rule):
    x = torch.tensor([[[[3.0, 1.0], [-2.0, 0.0]]]])
    values, found = pencil(rule, by_hand(), x)
    assert values.tolist() == [4.0]
    assert found[0, 0].tolist() == BY_HAND[rule]
    _, strong = project(by_hand(), last(by_hand(), x), x, [(0, 0, 0)], rule, "activation")
    assert strong[0, 0].tolist() == (4 * torch.tensor(BY_HAND[rule])).tolist()


def test_a_rectifier_that_was_off_passes_a_deconvnet_back():
    """At -2 the gradient is -1; a deconvnet sends back 1 - 1 everywhere, guided gradients through
    what was on: 1 where x > 0 and -1 where x < 0."""
    first, second = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 2, bias=False)
    first.weight = nn.Parameter(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1), requires_grad=False)
    second.weight = nn.Parameter(torch.ones(1, 2, 2, 2), requires_grad=False)
    network = nn.Sequential(first, nn.ReLU(), second).eval()
    x = torch.tensor([[[[3.0, 1.0], [-2.0, 0.0]]]])
    for rule, wanted in SUMMED.items():
        values, found = pencil(rule, network, x)
        assert values.tolist() == [6.0]
        assert found[0, 0].tolist() == wanted, rule


class Plain(Exchanged):
    """A mutant: nothing is exchanged."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Pooled(nn.Module):
    """A mutant of max pooling whose backward pass has forgotten the switches."""

    def forward(self, x):
        spread = functional.avg_pool2d(x, 2)
        return (functional.max_pool2d(x, 2) - spread).detach() + spread


def test_pencil_and_paper_kill_forgotten_switches():
    network = by_hand()
    network[2] = Pooled()
    _, found = pencil("deconvnet", network, torch.tensor([[[[3.0, 1.0], [-2.0, 0.0]]]]))
    assert found[0, 0].tolist() != BY_HAND["deconvnet"]


def test_a_plain_gradient_is_no_deconvnet(monkeypatch):
    """Where nothing was exchanged the graph shows it; were it not read, the numbers would."""
    x = torch.tensor([[[[3.0, 1.0], [-2.0, 0.0]]]])
    monkeypatch.setattr(projection, "Exchanged", Plain)
    with pytest.raises(BadRequest, match="the step Relu"):
        pencil("deconvnet", by_hand(), x)
    monkeypatch.setattr(projection, "check_rule", lambda *_: 0)
    assert pencil("deconvnet", by_hand(), x)[1][0, 0].tolist() == BY_HAND["gradient"]


# --- every spelling of a rectifier --------------------------------------------------------------

SPELLED = {
    "module": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "functional": lambda x: functional.relu(x),
    "functional in place": lambda x: functional.relu(x, inplace=True),
    "relu_": lambda x: torch.relu_(x),
    "in place, and what it returns is dropped": lambda x: (x.relu_(), x)[1],
    "method": lambda x: x.relu(),
    "torch": lambda x: torch.relu(x),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min_": lambda x: x.clamp_min_(0),
    "threshold": nn.Threshold(0, 0),
}


class Spelled(nn.Module):
    """Two convolutions, the same rectifier behind both."""

    def __init__(self, rectifier, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.a, self.b, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(16, 3)
        self.act = rectifier
        self.eval().requires_grad_(False)

    def forward(self, x):
        x = self.act(self.a(x))
        x = functional.max_pool2d(self.act(self.b(x)), 2)
        return self.head(x.flatten(1))


X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def projected(rectifier, rule="deconvnet"):
    network = Spelled(rectifier)
    return project(network, last(network, X), X, [(1, 0, 0), (2, 0, 0)], rule, "one")[1]


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
@pytest.mark.parametrize("name", SPELLED)
def test_every_spelling_gives_the_same(name, rule):
    found = projected(SPELLED[name], rule)
    assert torch.equal(found, projected(nn.ReLU(), rule))
    assert not torch.allclose(found, projected(nn.ReLU(), "gradient"))


@pytest.mark.parametrize("spelled", [nn.ReLU6(), functional.relu6, nn.Hardtanh(0, 6)])
def test_relu6_and_its_saturation(spelled):
    big = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Identity()).eval().requires_grad_(False)
    big[0].weight.fill_(10.0)
    network = nn.Sequential(big, Call(spelled), nn.Conv2d(1, 1, 1, bias=False)).eval()
    network[2].weight = nn.Parameter(torch.ones(1, 1, 1, 1), requires_grad=False)
    x = torch.tensor([[[[0.5, 0.9]]]])  # 5 and 9: the second is cut off at 6
    for column, wanted in ((0, 10.0), (1, 0.0)):
        layer = find_layers(network, x.repeat(2, 1, 1, 1))[0][-1]
        found = project(network, layer, x, [(0, 0, column)], "guided", "one")[1]
        assert found[0, 0, 0, column] == wanted
        found = project(network, layer, x, [(0, 0, column)], "deconvnet", "one")[1]
        assert found[0, 0, 0, column] == 10.0  # a deconvnet does not ask what was let through


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("name", ["functional", "clamp", "threshold"])
def test_a_missed_rectifier_is_told(monkeypatch, name):
    """The mutant: an exchange that does not know one of the functions."""
    missed = {"functional": "relu"}.get(name, name)
    monkeypatch.delitem(rectified._READ, missed)
    with pytest.raises(BadRequest, match="on the way to the image there is the step"):
        projected(SPELLED[name])


def test_only_some_exchanged_is_told():
    class Half(Spelled):
        def forward(self, x):
            x = functional.leaky_relu(self.a(x))
            return self.head(functional.max_pool2d(torch.relu(self.b(x)), 2).flatten(1))

    network = Half(None)
    with pytest.raises(BadRequest, match="LeakyRelu"):
        project(network, last(network, X), X, [(0, 0, 0)] * 2, "deconvnet")


REFUSED = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "elu": functional.elu,
    "tanh": torch.tanh,
    "leaky": functional.leaky_relu,
    "hardtanh": functional.hardtanh,
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "mask": lambda x: x * (x > 0),
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "masked fill": lambda x: x.masked_fill(x < 0, 0),
    "square": lambda x: x * x,
    "quotient": lambda x: 1 / (x + 9),
    "half abs": lambda x: (x + x.abs()) / 2,
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "own": None,
    "of the same name": None,
    "batch statistics": nn.BatchNorm2d(4, track_running_stats=False),
}


class OwnRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class Rectify(OwnRelu):
    """Called as the lab's own."""


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_other_non_linearities_are_refused(name, rule):
    function = {"own": OwnRelu.apply, "of the same name": Rectify.apply}.get(name, REFUSED[name])
    with pytest.raises(BadRequest, match=f"{rule} is not defined for layer 'head'"):
        projected(function, rule)
    assert torch.isfinite(projected(function, "gradient")).all()


def test_products_with_constants_are_linear():
    weights = torch.rand(4, 1, 1)
    found = projected(lambda x: torch.relu(x * weights / 3 + 1 - x.mean(dim=(2, 3), keepdim=True)))
    assert torch.isfinite(found).all()


def test_a_layer_is_seen_before_a_step_in_place_behind_it():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)).eval().requires_grad_(False)
    layer = find_layers(network, X)[0][0]
    values, found = project(network, layer, X, [(0, 1, 1)] * 2, "guided", "one")
    assert (values < 0).any() or (network[0](X)[:, 0, 1, 1] < 0).sum() == 0
    assert torch.equal(values, network[0](X)[:, 0, 1, 1])
    assert torch.equal(found[0, 0, 1:4, 1:4], network[0].weight[0, 0])


def test_circular_padding_is_seen_through():
    """torch pads by copies into slices; as indices the step can be read, and the values stay."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=(2, 1), padding_mode="circular"), nn.ReLU(), nn.Conv2d(3, 2, 8)
    ).eval().requires_grad_(False)  # fmt: skip
    layer = find_layers(network, X)[0][-1]
    values, found = project(network, layer, X, [(1, 0, 0)] * 2, "guided", "one")
    assert torch.equal(values, network(X)[:, 1, 0, 0])
    x = X.clone().requires_grad_()
    maps = network[:2](x)
    (at_maps,) = torch.autograd.grad(network[2](maps)[:, 1, 0, 0].sum(), maps, retain_graph=True)
    (wanted,) = torch.autograd.grad((maps * at_maps.clamp(min=0)).sum(), x)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_what_hides_behind_a_copy_into_a_slice_is_refused():
    def hidden(x):
        y = x * 1
        y[:, :2].sigmoid_()
        return y

    with pytest.raises(BadRequest, match="CopySlices"):
        projected(hidden)


def test_response_normalisation_is_held():
    norm = nn.LocalResponseNorm(3, alpha=0.5)
    network = nn.Sequential(nn.Conv2d(1, 4, 1), norm).eval().requires_grad_(False)
    layer = find_layers(network, X)[0][-1]
    values, found = project(network, layer, X, [(1, 2, 2)] * 2, "deconvnet", "one")
    before, after = network[0](X)[:, 1, 2, 2], network(X)[:, 1, 2, 2]
    assert torch.allclose(values, after)
    wanted = network[0].weight[1, 0, 0, 0] * after / before
    assert torch.allclose(found[:, 0, 2, 2], wanted)


# --- other libraries ----------------------------------------------------------------------------


def vgg_like():
    blocks = []
    for a, b in ((3, 8), (8, 12)):
        blocks += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(12 * 64, 20), nn.ReLU(), nn.Linear(20, 5))


def resnet():
    from torchvision.models import resnet18

    return resnet18(weights=None, num_classes=5)


@pytest.mark.parametrize("build", [vgg_like, resnet])
def test_captum_agrees_where_it_is_right(build):
    """ReLU modules, used twice in ResNet-18 and in place in both."""
    from captum.attr import NeuronDeconvolution, NeuronGuidedBackprop

    torch.manual_seed(0)
    network = build().eval().requires_grad_(False)
    x = torch.rand(2, 3, 32, 32)
    layers, _ = find_layers(network, x)
    convolution = [layer for layer in layers if layer.module == "Conv2d"][-1]
    cells = (layers[-1], (3,)), (convolution, (3, 0, 0))
    for layer, cell in cells:
        for rule, theirs in (("deconvnet", NeuronDeconvolution), ("guided", NeuronGuidedBackprop)):
            module = network.get_submodule(layer.name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # captum tells that it sets hooks
                wanted = theirs(network, module).attribute(x.clone().requires_grad_(), cell)
            place = (*cell, 0, 0)[:3]
            found = project(network, layer, x, [place] * 2, rule, "one")[1]
            scale = wanted.abs().max()
            assert scale > 0
            assert (found - wanted).abs().max() <= 1e-5 * scale, (layer.name, rule)
            plain = project(network, layer, x, [place] * 2, "gradient", "one")[1]
            assert (plain - wanted).norm() > 0.1 * wanted.norm()  # the check would see it


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2"])
def test_not_the_plain_gradient_that_captum_gives(name):
    from captum.attr import Deconvolution
    from torchvision import models

    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    network = getattr(models, name)(weights=None, num_classes=5, **options)
    network.eval().requires_grad_(False)
    x = torch.rand(1, 3, 64, 64)
    layer = last(network, x)
    plain, ours = (
        project(network, layer, x, [(1, 0, 0)], r, "one")[1] for r in ("gradient", "deconvnet")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = Deconvolution(network).attribute(x.clone().requires_grad_(), target=1)
    assert torch.allclose(theirs, plain, atol=1e-6 * float(plain.abs().max()))
    assert (ours - plain).norm() > 0.5 * plain.norm()


# --- left as it was found -----------------------------------------------------------------------


def state(network):
    return [
        [(n, p.requires_grad, p.grad is None) for n, p in network.named_parameters()],
        [(n, m.training, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
         for n, m in network.named_modules()],
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
    ]  # fmt: skip


def test_left_as_it_was_also_where_it_raises():
    network = Spelled(nn.ReLU())
    layer = last(network, X)
    before = state(network)
    with torch.inference_mode():
        inside = state(network)
        project(network, layer, X.clone(), [(0, 0, 0)] * 2)
        assert state(network) == inside
    assert state(network) == before
    network.head.register_forward_pre_hook(lambda *_: 1 / 0)
    before = state(network)
    with pytest.raises(ZeroDivisionError):
        project(network, layer, X, [(0, 0, 0)] * 2)
    assert state(network) == before
    y = torch.ones(1, requires_grad=True)
    torch.relu(y * -1).backward()  # no exchange is left behind
    assert y.grad == 0


def test_random_weights_keep_mean_and_spread_and_are_seeded():
    network = Spelled(nn.ReLU())
    one, same, other = randomised(network, 0), randomised(network, 0), randomised(network, 1)
    held = dict(network.named_parameters())
    for name, weights in one.named_parameters():
        assert torch.equal(weights, dict(same.named_parameters())[name])
        if weights.ndim > 1:
            assert not torch.equal(weights, dict(other.named_parameters())[name])
            assert not torch.allclose(weights, held[name], rtol=0.1)
        else:
            assert torch.equal(weights.sort().values, held[name].sort().values)
    big = randomised(nn.Sequential(nn.Linear(200, 200)), 0)[0].weight.detach()
    assert float(big.std()) == pytest.approx(1 / (200 * 3) ** 0.5, rel=0.03)
