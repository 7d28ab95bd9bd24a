"""`swap_pooling`: weights kept, sites told, shapes equal, and a reason wherever it refuses."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

import robustlab
from robustlab.backbones import Backbone, builders
from robustlab.errors import BadRequest
from robustlab.pooling import swap_pooling
from robustlab.pooling.exchanging import Exchanging

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def plain(lab_nets):
    return lab_nets.backbone(lab_nets.networks["plain"])


def test_the_public_name():
    assert robustlab.swap_pooling is swap_pooling


def test_sites_are_told(plain):
    swapped = swap_pooling(plain, "blur3", "circular", "gmp")
    assert swapped.name == "plain pool=blur3 padding=circular head=gmp"
    assert [(one.name, one.after, one.changed) for one in swapped.sites] == [
        ("2", "max 3x3, dense, blur3, stride 2x2, padding circular", True),
        ("5", "avg 2x2, dense, blur3, stride 2x2, padding circular", True),
        ("7", "GlobalPool(gmp)", True),
    ]
    assert swapped.sites[0].before.startswith("MaxPool2d(kernel_size=3, stride=2, padding=1")
    kept = swap_pooling(plain, "max").sites
    assert [one.changed for one in kept] == [False, True, False]
    assert json.loads(json.dumps(swapped.card["swap"]))["sites"][0]["name"] == "2"
    assert swapped.to("cpu").sites == swapped.renamed("x").sites == swapped.sites


def test_the_original_stays_as_it_was(plain):
    weights, program = copy.deepcopy(plain.module.state_dict()), repr(plain.module)
    before = plain.fingerprint
    swap_pooling(plain, "polyphase", "circular", "gem")
    assert repr(plain.module) == program
    assert all(torch.equal(weights[k], v) for k, v in plain.module.state_dict().items())
    again = Backbone(plain.module, input_shape=plain.input_shape, classes=5)
    assert again.fingerprint == before


@pytest.mark.parametrize("name", ["plain", "residual", "calls"])
@pytest.mark.parametrize("kind", ["avg", "strided", "dense", "blur5", "polyphase", "lowpass"])
def test_weights_and_their_names_are_kept(lab_nets, name, kind):
    original = lab_nets.backbone(lab_nets.networks[name])
    weights = original.module.state_dict()
    kept = swap_pooling(original, kind, "circular").module.state_dict()
    assert sorted(kept) == sorted(weights)
    assert all(torch.equal(weights[key], kept[key]) for key in weights)
    more = set(swap_pooling(original, "learned").module.state_dict()) - set(weights)
    assert more
    assert all(".sampler." in key for key in more)


@pytest.mark.parametrize("name", ["plain", "residual", "calls"])
def test_what_computes_the_same(lab_nets, name):
    """Space to depth starts as the plain stride; an own kind changes nothing."""
    original = lab_nets.backbone(lab_nets.networks[name])
    x = lab_nets.images(3)
    for kind in ("space2depth", "own"):
        torch.testing.assert_close(swap_pooling(original, kind)(x), original(x))
    assert (swap_pooling(original, "blur3")(x) - original(x)).abs().max() > 1e-3


def test_the_swap_of_a_lecture_network_is_its_twin():
    """The same words mean the same in the builders and here."""
    for options in ({}, {"padding": "circular", "head": "gap"}, {"padding": "zero"}):
        twins = {
            p: builders["lenet5"](pool=p, **options).eval() for p in ("max", "blur", "polyphase")
        }
        original = Backbone(twins["max"], input_shape=(1, 32, 32), classes=10)
        x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        padding = options.get("padding")
        for pool, kind in (("blur", "blur3"), ("polyphase", "polyphase")):
            with torch.no_grad():
                expected = twins[pool](x)
            torch.testing.assert_close(swap_pooling(original, kind, padding)(x), expected)


def test_fingerprints(plain, lab_nets, python):
    kinds = [("max", None, None), ("blur3", None, None), ("blur5", None, None)]
    kinds += [("blur3", "circular", None), ("blur3", None, "gmp"), ("blur3", "circular", "gem")]
    kinds += [("polyphase", None, None), ("polyphase-l1", None, None), ("learned", None, None)]
    kinds = [k for k in kinds if k[0] != "polyphase-l1"]
    prints = [swap_pooling(plain, *one).fingerprint for one in kinds]
    assert len({plain.fingerprint, *prints}) == len(kinds) + 1
    assert prints == [swap_pooling(plain, *one).fingerprint for one in kinds]
    swapped = swap_pooling(plain, "polyphase")
    before = swapped.fingerprint
    swapped(lab_nets.images(0))
    again = Backbone(swapped.module, input_shape=plain.input_shape, classes=5)
    assert again.fingerprint == before  # no choice is left in the network after a pass


CODE = """
import torch, robustlab
from robustlab.backbones import builders
net = builders["resnet20"](width=4, size=16, seed=1).eval()
backbone = robustlab.Backbone(net, input_shape=(3, 16, 16), classes=10)
print(robustlab.swap_pooling(backbone, KIND, "circular").fingerprint)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["polyphase", "learned"])
def test_fingerprints_are_the_same_in_every_process(python, kind):
    code = CODE.replace("KIND", repr(kind))
    first, second = (python("-W", "error", "-c", code).stdout for _ in range(2))
    assert len(first.strip()) == 64
    assert first == second


def test_a_rewritten_forward_is_in_the_fingerprint(lab_nets):
    """Two forwards over the same layers, which only the program tells apart."""

    class Twice(lab_nets.calls):
        def forward(self, x):
            return 2 * super().forward(x)

    one, two = (lab_nets.backbone(lambda kind=kind: kind()) for kind in (lab_nets.calls, Twice))
    swapped = [swap_pooling(each, "blur3") for each in (one, two)]
    assert swapped[0].fingerprint != swapped[1].fingerprint
    assert (
        swapped[0].fingerprint
        == Backbone(swapped[0].module, input_shape=(2, 16, 16), classes=5).fingerprint
    )


# What is refused ----------------------------------------------------------------------------------


class Branching(nn.Module):
    """Its forward depends on values, so that no graph of it can be had."""

    def __init__(self, call=False):
        super().__init__()
        self.call = call
        self.conv = nn.Conv2d(2, 4, 3, 2, 1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(4, 5)

    def forward(self, x):
        x = self.conv(x)
        if x.sum() > 1e6:  # never for the grey image that is tried
            x = functional.avg_pool2d(x, 2)
        elif self.call:
            x = functional.max_pool2d(x, 2)
        else:
            x = self.pool(x)
        return self.last(self.head(x).flatten(1))


def test_what_cannot_be_traced_is_swapped_by_layers_and_watched(lab_nets):
    original = lab_nets.backbone(Branching)
    swapped = swap_pooling(original, "blur3", "circular", "gmp")
    assert [one.name for one in swapped.sites] == ["conv", "pool", "head"]
    assert all(one.changed for one in swapped.sites)
    assert lab_nets.change(swapped, lab_nets.images(0), 4, 8) < 1e-12
    with torch.no_grad():
        swapped.module.module.conv.bias += 1e9
    with pytest.raises(BadRequest, match=r"avg_pool2d\(2\), which was not exchanged"):
        swapped(lab_nets.images(0))
    assert swapped.fingerprint != original.fingerprint


def test_what_cannot_be_traced_and_calls_functions(lab_nets):
    with pytest.raises(BadRequest, match=r"calls .*max_pool2d\(2.*as a function and cannot be tra"):
        swap_pooling(lab_nets.backbone(lambda: Branching(call=True)), "blur3")
    for kind in ("polyphase", "learned", "dense"):
        with pytest.raises(BadRequest, match=f"cannot be traced .*'{kind}' needs to know"):
            swap_pooling(lab_nets.backbone(Branching), kind)


class Slices(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(2, 5)

    def forward(self, x):
        return self.last(x[:, :, ::2, ::2].mean((2, 3)))


class Uneven(nn.Module):
    """One branch is sampled twice by 2, the other once by 4."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))
        self.once = nn.Conv2d(2, 4, 1, 4)
        self.last = nn.Linear(4, 5)

    def forward(self, x):
        return self.last((self.twice(x) + self.once(x)).mean((2, 3)))


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Linear(2, 5)

    def forward(self, x):
        return self.last(self.pool(self.pool(x)).mean((2, 3)))


class Shuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        return self.last(functional.pixel_unshuffle(x, 2).mean((2, 3)))


def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(512, 5))


@pytest.mark.parametrize(
    ("make", "arguments", "told"),
    [
        (Slices, ("blur3",), "a slice takes one value in 2 of maps of 16x16"),
        (Shuffled, ("blur3",), "pixel_unshuffle(2) makes 8x8 of maps of 16x16"),
        (Uneven, ("polyphase",), "are sampled a different number of times"),
        (Reused, ("dense",), "the layer 'pool' runs several times"),
        (Reused, ("polyphase",), "the layer 'pool' runs several times"),
        (flat, ("blur3",), "has no down-sampling site, so there is nothing to swap"),
        (Reused, ("blur3", None, "flatten"), "a flatten head does not fit it; leave head out"),
        (Reused, ("blur3", "mirror"), "unknown padding 'mirror'"),
        (Reused, ("blur3", None, "gaap"), "unknown head 'gaap'; did you mean 'gap'?"),
        (Reused, ("blur33",), "a blur has 2 to 7 taps, not 33"),
    ],
)
def test_refusals(lab_nets, make, arguments, told):
    with pytest.raises(BadRequest) as error:
        swap_pooling(lab_nets.backbone(make), *arguments)
    assert told in str(error.value)


def test_uneven_branches_and_reused_layers_where_nothing_is_chosen(lab_nets):
    for make in (Uneven, Reused):
        swapped = swap_pooling(lab_nets.backbone(make), "blur3", "circular")
        assert lab_nets.change(swapped, lab_nets.images(0), 4, 4) < 1e-12


def test_no_backbone_and_no_second_swap(plain):
    with pytest.raises(BadRequest, match="takes a Backbone, not a Sequential"):
        swap_pooling(plain.module, "blur3")
    with pytest.raises(BadRequest, match="2 is a pooling of the lab; swap the original"):
        swap_pooling(swap_pooling(plain, "blur3"), "polyphase")


def test_a_site_that_slips_by_is_seen(plain, monkeypatch):
    """The check that ends an exchange, on an exchange that forgets a site."""
    whole = Exchanging._place

    def forgetful(self, step, new):
        if step.owner != "5":
            whole(self, step, new)

    monkeypatch.setattr(Exchanging, "_place", forgetful)
    with pytest.raises(BadRequest, match="5 "):
        swap_pooling(plain, "blur3")


def test_a_layer_that_gives_maps_of_another_size_is_seen(plain, monkeypatch):
    from robustlab.pooling.blur import Blur

    whole = Blur.__call__
    monkeypatch.setattr(Blur, "__call__", lambda *a: functional.pad(whole(*a), (0, 1, 0, 1)))
    with pytest.raises(BadRequest, match=r"2 gives maps of \[\(1, 4, 9, 9\)\], and \[\(1, 4"):
        swap_pooling(plain, "blur3")


# Suites -------------------------------------------------------------------------------------------


SUITE = """
schema = 1
[data]
source = "digits:test"
take = 6
[[backbone]]
ref = "lenet5-max@digits"
[[backbone]]
ref = "lenet5-max@digits"
pool = "blur3"
[[backbone]]
ref = "lenet5-max@digits"
head = "gap"
name = "blind"
[[probe]]
use = "clean"
"""


@pytest.mark.slow
def test_a_suite_swaps(tmp_path):
    path = tmp_path / "swaps.toml"
    path.write_text(SUITE, encoding="utf-8")
    suite = robustlab.load_suite(path)
    assert robustlab.Suite.from_dict(suite.to_dict(), "swaps", tmp_path) == suite
    run = robustlab.run(path, out=tmp_path / "run")
    names = ["lenet5-max@digits", "lenet5-max@digits pool=blur3", "blind"]
    assert list(dict.fromkeys(run.summary().backbone)) == names
    assert len(set(run.samples().groupby("backbone").confidence.sum().round(6))) == 3


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pool = 'blr3'", "backbone 1: unknown pooling kind 'blr3'; did you mean 'blur3'?"),
        ("pool = 'dense'", "give head='gap'"),
        ("padding = 'circle'", "backbone 1: unknown padding 'circle'; did you mean 'circular'?"),
        ("pool = 3", "backbone 1: 'pool' must be a str, not 3"),
    ],
)
def test_a_suite_refuses(tmp_path, line, told):
    path = tmp_path / "swaps.toml"
    head = "[data]\ntake = 2\n[[backbone]]\nref = 'lenet5-max@digits'\n"
    path.write_text(f"{head}{line}\n[[probe]]\nuse = 'clean'\n", encoding="utf-8")
    with pytest.raises(BadRequest) as error:
        robustlab.run(path, out=tmp_path / "run")
    assert told in str(error.value)
    assert not (tmp_path / "run").exists()
