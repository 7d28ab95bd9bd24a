"""Starting from given weights, with parts afresh and parts held still."""

import json
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from robustlab.backbones import Backbone, load_backbone
from robustlab.errors import BadRequest
from robustlab.training import load_recipe, train
from robustlab.training.network import start, train_mode
from robustlab.training.parts import load_parts
from robustlab.training.recipe import Recipe, Source, Train

SHIPPED = "lenet5-max@digits"


def tuned(**fields):
    recipe = load_recipe(SHIPPED)
    return replace(recipe, name="tuned", seed=1, **fields)


def test_a_shipped_network_is_good_after_one_epoch(tmp_path):
    gently = replace(load_recipe(SHIPPED).train, lr=2e-4)
    path = train(tuned(weights=SHIPPED, train=gently), tmp_path, epochs=1)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["test"]["value"] >= 0.98
    assert card["weights"] == load_backbone(SHIPPED).fingerprint
    assert card["recipe"]["backbone"]["weights"] == SHIPPED
    afresh = train(tuned(train=gently), tmp_path / "afresh", epochs=1)
    assert json.loads(afresh.with_suffix(".json").read_text())["test"]["value"] < 0.9


def test_weights_are_poured_and_fresh_parts_are_not():
    given = load_backbone(SHIPPED).module.state_dict()
    plain = start(tuned()).built.module.state_dict()
    poured = start(tuned(weights=SHIPPED, fresh=("fc3",))).built.module.state_dict()
    for name, value in poured.items():
        assert torch.equal(value, (plain if name.startswith("fc3.") else given)[name])
    assert not torch.equal(plain["fc3.weight"], given["fc3.weight"])


def own(small, monkeypatch, **fields):
    """A small recipe that starts from a network of the test's own, and that network."""
    recipe = small(weights="given", **fields)
    module = small_module(2)
    given = Backbone(
        module.eval(), input_shape=(1, 8, 8), classes=2, mean=(0.4,), std=(0.2,), name="given"
    )
    monkeypatch.setattr("robustlab.training.network.load_backbone", lambda reference: given)
    return recipe, given


def small_module(classes, wide=4):
    torch.manual_seed(5)
    layers = {
        "conv1": nn.Conv2d(1, wide, 3, padding=1),
        "bn1": nn.BatchNorm2d(wide),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(wide * 64, classes),
    }
    return nn.Sequential(OrderedDict(layers))


def test_given_weights_bring_their_normalisation(small, monkeypatch, tmp_path):
    recipe, given = own(small, monkeypatch, network=small_module)
    card = json.loads(train(recipe, tmp_path / "out").with_suffix(".json").read_text())
    assert (card["mean"], card["std"]) == ([0.4], [0.2])
    assert card["weights"] == given.fingerprint


def check_frozen(path, given, frozen):
    """What is frozen is as it was given to the bit, running statistics too; the rest has moved."""
    found = load_file(path)
    for name, value in given.module.state_dict().items():
        held = name.startswith(frozen)
        assert torch.equal(found[name], value) == held, name


@pytest.mark.parametrize(
    ("parts", "held"),
    [
        ({"frozen": ("conv1", "bn1")}, ("conv1.", "bn1.")),
        ({"free": ("fc",)}, ("conv1.", "bn1.")),
        ({"frozen": ("fc",)}, ("fc.",)),
        ({"free": ("conv1", "bn1")}, ("fc.",)),
    ],
)
def test_frozen_parts(small, monkeypatch, tmp_path, parts, held):
    recipe, given = own(small, monkeypatch, network=small_module, **parts)
    check_frozen(train(recipe, tmp_path / "out"), given, held)


def test_that_check_kills_moving_statistics(small, monkeypatch, tmp_path):
    """Mutant: the whole network in train mode, frozen batch norm too."""
    recipe, given = own(small, monkeypatch, network=small_module, frozen=("conv1", "bn1"))
    monkeypatch.setattr(
        "robustlab.training.learner.train_mode", lambda module, held: train_mode(module, ())
    )
    with pytest.raises(AssertionError, match=r"bn1\.running_mean"):
        check_frozen(train(recipe, tmp_path / "out"), given, ("conv1.", "bn1."))


def test_that_check_kills_trained_weights(small, monkeypatch, tmp_path):
    """Mutant: nothing is frozen."""
    recipe, given = own(small, monkeypatch, network=small_module)
    with pytest.raises(AssertionError, match=r"conv1\.weight"):
        check_frozen(train(recipe, tmp_path / "out"), given, ("conv1.", "bn1."))


def test_another_shape_names_the_way_out(small, monkeypatch, tmp_path):
    recipe, _ = own(small, monkeypatch, network=lambda classes: small_module(2, wide=5))
    with pytest.raises(BadRequest, match=r'conv1\.weight have shape \[4, .* fresh = \["conv1"\]'):
        train(recipe, tmp_path / "out")
    again = replace(recipe, fresh=("conv1", "bn1"))
    with pytest.raises(BadRequest, match=r'fc\.weight .* fresh = \["conv1", "bn1", "fc"\]'):
        train(again, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    train(replace(again, fresh=("conv1", "bn1", "fc")), tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frozen": ("fc4",)}, r"frozen: the network has no part 'fc4'; did you mean 'fc\d'"),
        ({"free": ("conv",)}, "free: the network has no part 'conv'; did you mean 'conv"),
        ({"weights": SHIPPED, "fresh": ("fc33",)}, "fresh: the network has no part 'fc33'"),
        ({"weights": "mlp@digits"}, r"conv1\.weight are lacking"),
        ({"weights": "lenet5-mix@digits"}, "did you mean 'lenet5-max@digits'"),
        ({"frozen": ("conv1", "conv2", "fc1", "fc2", "fc3")}, "nothing to train"),
    ],
)
def test_refused(tmp_path, fields, message):
    with pytest.raises(BadRequest, match=message):
        train(tuned(**fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()


class TwoHeads(nn.Module):
    """An auxiliary head that speaks in train mode alone."""

    def __init__(self, classes):
        super().__init__()
        torch.manual_seed(0)
        self.main, self.aux = nn.Linear(64, classes), nn.Linear(64, classes)

    def forward(self, x):
        flat = x.flatten(1)
        return (self.main(flat), self.aux(flat)) if self.training else self.main(flat)


def test_auxiliary_heads_weigh_three_tenths(small, monkeypatch, tmp_path):
    """The first loss is main + 0.3 auxiliary; with lr near 0 it is that of the given weights."""
    settings = {"lr": 1e-12, "epochs": 1, "optimizer": "sgd"}
    path = train(small(network=TwoHeads, train=settings), tmp_path / "out")
    found = json.loads(path.with_suffix(".json").read_text())["curve"]["train_loss"][0]
    data = load_parts(small(network=TwoHeads))["train"]
    x, y = torch.from_numpy(data.batch(slice(None))), torch.tensor(data.labels)
    main, aux = (nn.functional.cross_entropy(one, y).item() for one in TwoHeads(2)(x))
    assert found == pytest.approx(main + 0.3 * aux, abs=1e-5)
    assert abs(aux) > 0.01  # so that any other weight would show


@pytest.mark.slow
def test_a_library_network_is_trained_and_tuned(tmp_path):
    """torchvision's; then its last layer alone, on other classes."""
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 3, 32, 32), dtype=np.uint8)
    for classes in (2, 3):
        for part, one in zip(("train", "val", "test"), images, strict=True):
            path = tmp_path / f"{part}{classes}.npz"
            np.savez(path, images=one, labels=np.arange(12) % classes)
    parts = ("train", "val", "test")
    sources = {k: {part: f"npz:{tmp_path / part}{k}.npz" for part in parts} for k in "23"}
    first = Recipe(
        name="first",
        seed=3,
        builder="torchvision:resnet18",
        options={"weights": "none", "classes": 2, "size": 32},
        data=Source(**sources["2"]),
        train=Train(epochs=1, batch=6),
    )
    path = train(first, tmp_path / "out")
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["options"]["seed"] == 3
    assert load_backbone(f"file:{path}").fingerprint == card["fingerprint"]
    second = replace(
        first,
        name="second",
        options={**first.options, "classes": 3},
        data=Source(**sources["3"]),
        weights=f"file:{path}",
        fresh=("fc",),
        free=("fc",),
    )
    tuned = load_file(train(second, tmp_path / "out"))
    given = load_file(path)
    assert tuned["fc.weight"].shape == (3, 512)
    for name, value in given.items():
        if not name.startswith("fc."):
            assert torch.equal(tuned[name], value), name
