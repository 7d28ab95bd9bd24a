"""Training on attacked images: the search, the losses, what is measured and kept."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from robustlab import attack
from robustlab.adversarial.losses import cross_entropy
from robustlab.adversarial.threats import Threat
from robustlab.backbones import load_backbone
from robustlab.data import load_data
from robustlab.training import load_recipe, train
from robustlab.training.adversarial import (
    attacked,
    divergence,
    robust_hits,
    single_step_hits,
)
from robustlab.training.learner import Learner
from robustlab.training.network import start
from robustlab.training.parts import load_parts
from robustlab.training.recipe import Adversarial

PGD = Adversarial("pgd", "0.1")
EVERY = [
    PGD,
    Adversarial("pgd", "1.5", norm="l2", steps=5),
    Adversarial("trades", "0.1"),
    Adversarial("trades", "1.5", norm="l2"),
    Adversarial("fast", "0.1", steps=1),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits(one_thread):
    data = load_data("digits:test", take=40)
    network = load_backbone("lenet5-max@digits").network
    return network, torch.from_numpy(data.batch(slice(None))), torch.tensor(data.labels)


def check_search(find, digits, adversarial):
    """Inside the ball and the box, and what the method raises has risen well above its start's."""
    network, x, y = digits
    x_adv = find(network, x, y, adversarial, adversarial.budget, generator())
    delta = (x_adv - x).flatten(1)
    size = delta.abs().amax(1) if adversarial.norm == "linf" else delta.norm(dim=1)
    assert size.max() <= adversarial.budget * (1 + 1e-5)
    assert size.max() >= adversarial.budget / 2
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    with torch.no_grad():
        before, after = network(x), network(x_adv)
    loss = nn.functional.cross_entropy
    if adversarial.method == "trades":
        assert divergence(before, after).mean() > 0.2
    else:
        assert loss(after, y) > 10 * loss(before, y) + 0.2


@pytest.mark.parametrize("adversarial", EVERY, ids=lambda one: f"{one.method}-{one.norm}")
def test_search(digits, adversarial):
    check_search(attacked, digits, adversarial)


@pytest.mark.parametrize("adversarial", EVERY, ids=lambda one: f"{one.method}-{one.norm}")
@pytest.mark.parametrize("mutant", ["no projection", "no box", "downhill", "at rest"])
def test_that_check_kills(digits, adversarial, mutant, monkeypatch):
    projected = Threat.constrain
    changed = {
        "no projection": lambda self, x_adv, x: x + 2 * (projected(self, x_adv, x) - x),
        "no box": lambda self, x_adv, x: x + self.geometry.project(x_adv - x, self.eps),
        "downhill": projected,
        "at rest": lambda self, x_adv, x: x,
    }
    monkeypatch.setattr(Threat, "constrain", changed[mutant])
    if mutant == "downhill":
        for loss in (cross_entropy, divergence):
            monkeypatch.setattr(
                f"robustlab.training.adversarial.{loss.__name__}",
                lambda *given, loss=loss: -loss(*given),
            )
    with pytest.raises(AssertionError):
        check_search(attacked, digits, adversarial)


def test_the_search_is_decided_by_its_generator(digits):
    network, x, y = digits
    first, again, other = (attacked(network, x, y, PGD, 0.1, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(one.grad is None for one in network.parameters())


def test_fast_in_closed_form():
    """On a linear network the step is known: 1.25 eps along the sign from the start, clipped."""
    weight = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 0.0, 0.0, 0.0]])
    linear = nn.Linear(4, 2, bias=False)
    linear.weight = nn.Parameter(weight)
    network = nn.Sequential(nn.Flatten(), linear)
    x, y = torch.full((500, 1, 2, 2), 0.5), torch.zeros(500, dtype=torch.long)
    fast = Adversarial("fast", "0.1", steps=1)
    found = attacked(network, x, y, fast, 0.1, generator()) - x
    begun = 0.2 * torch.rand(500, 1, 2, 2, generator=generator()) - 0.1
    expected = (begun - 0.125 * weight[0].sign().view(1, 1, 2, 2)).clamp(-0.1, 0.1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (expected.abs() < 0.0999).any()  # from far enough one step does not reach the edge


def kl(p, q):
    """In NumPy, from logits."""
    p, q = (np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in (p, q))
    return (p * np.log(p / q)).sum(1)


def test_divergence():
    clean, other = (torch.randn(6, 4, generator=generator(k), dtype=torch.float64) for k in (0, 1))
    np.testing.assert_allclose(divergence(clean, other), kl(clean.numpy(), other.numpy()))
    assert divergence(clean, clean).abs().max() < 1e-12
    swapped = divergence(other, clean).numpy()  # mutant
    assert np.abs(swapped - kl(clean.numpy(), other.numpy())).max() > 0.1


def learner(recipe):
    parts = load_parts(recipe)
    begun = start(recipe)
    return Learner(recipe, begun, (None, None), parts["train"], parts["val"], torch.device("cpu"))


def decided(classes):
    """A linear network whose logits lie far apart."""
    torch.manual_seed(0)
    linear = nn.Linear(64, classes)
    linear.weight.data *= 10
    return nn.Sequential(nn.Flatten(), linear)


def trades_loss(small, monkeypatch):
    """The loss of a batch whose attacked images are known, and its parts in NumPy."""
    recipe = small(classes=3, network=decided, adversarial=Adversarial("trades", "0.3", beta=4.0))
    monkeypatch.setattr(
        "robustlab.training.learner.attacked", lambda network, x, *rest: (x + 0.3).clamp(0, 1)
    )
    one = learner(recipe)
    x, y = one._batch(torch.arange(8))
    loss, _ = one._loss(x, y, done=0.0)
    with torch.no_grad():
        clean = one.network(x).double().numpy()
        other = one.network((x + 0.3).clamp(0, 1)).double().numpy()
    chosen = clean[np.arange(8), y.numpy()]
    plain = (np.log(np.exp(clean).sum(1)) - chosen).mean()
    return loss.item(), plain, kl(clean, other).mean()


def test_trades_is_equation_5(small, monkeypatch):
    loss, plain, apart = trades_loss(small, monkeypatch)
    assert loss == pytest.approx(plain + 4 * apart, rel=1e-5)
    assert apart > 0.01  # so that a wrong beta would show


def test_that_check_kills_a_wrong_divergence(small, monkeypatch):
    monkeypatch.setattr(
        "robustlab.training.learner.divergence", lambda clean, other: divergence(other, clean)
    )
    loss, plain, apart = trades_loss(small, monkeypatch)
    assert loss != pytest.approx(plain + 4 * apart, rel=1e-3)


def test_eps_grows_over_the_warm_up(small, monkeypatch):
    seen = []

    def watched(network, x, y, adversarial, eps, generator):
        seen.append(eps)
        assert not network.training  # the search looks in evaluation mode
        return x

    monkeypatch.setattr("robustlab.training.learner.attacked", watched)
    one = learner(small(adversarial=Adversarial("pgd", "0.4", warmup=2.0)))
    for _ in range(3):
        one.epoch(lambda share: None)
    assert seen == pytest.approx([0.04 * k for k in range(1, 11)] + [0.4] * 5)


def test_order_and_shifts_are_those_of_plain_training(small, monkeypatch):
    """What the search draws comes from a generator of its own."""
    seen = {}
    for name, adversarial in (("plain", None), ("pgd", PGD)):
        one = learner(small(adversarial=adversarial))
        one.epoch(lambda share: None)
        seen[name] = one.chance["order"].get_state()
    assert torch.equal(seen["plain"], seen["pgd"])


def test_robust_accuracy_is_that_of_the_catalogue():
    """The same search as the attack `pgd` of as many steps, but for single close images."""
    backbone, data = load_backbone("lenet5-max@digits"), load_data("digits:test", take=150)
    ours = robust_hits(backbone.network, data, Adversarial("pgd", "0.05"), 0)
    found = attack("pgd", backbone, data, norm="linf", eps="0.05", steps=10)
    assert abs(ours.mean() - found.robust_accuracy["0.05"].value) < 0.05
    clean = backbone(data.batch(slice(None))).argmax(1).numpy() == data.labels
    assert not (ours & ~clean).any()
    single = single_step_hits(
        backbone.network, data, Adversarial("fast", "0.05", steps=1), 0
    )  # mutant: a search that is too weak
    assert single.mean() > ours.mean() + 0.05


@pytest.mark.slow
def test_adversarial_training_makes_robust(tmp_path, one_thread):
    """Three epochs from a shipped network's weights, on some digits; and what the card says."""
    name = "lenet5-max@digits"
    hard = Adversarial("pgd", "0.07", steps=3)
    recipe = replace(load_recipe("lenet5-robust@digits"), weights=name, adversarial=hard)
    recipe = replace(
        recipe,
        data=replace(recipe.data, take=300),
        train=replace(recipe.train, epochs=3, schedule="constant", lr=0.001),
    )
    card = trained_card(recipe, tmp_path / "hard")
    figures = card["adversarial"]
    assert (figures["norm"], figures["eps"], figures["steps"]) == ("linf", "0.07", 10)
    assert figures["test"]["n"] == card["test"]["n"] == 100
    assert figures["test"]["low"] < figures["test"]["value"] <= card["test"]["value"]
    robust = card["curve"]["val_robust_accuracy"]
    assert robust[card["best_epoch"] - 1] == max(robust)
    before = robust_hits(load_backbone(name).network, load_parts(recipe)["test"], hard, 0).mean()
    assert figures["test"]["value"] > before + 0.1
    plain = trained_card(replace(recipe, adversarial=None), tmp_path / "plain")  # mutant
    assert "adversarial" not in plain
    assert "val_robust_accuracy" not in plain["curve"]
    backbone = load_backbone(f"file:{tmp_path / 'plain' / recipe.name}.safetensors")
    after = robust_hits(backbone.network, load_parts(recipe)["test"], hard, 0).mean()
    assert not after > before + 0.1


def trained_card(recipe, folder):
    return json.loads(train(recipe, folder).with_suffix(".json").read_text())
