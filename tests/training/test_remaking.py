"""The shipped cards are those of their recipes: a training, begun anew, goes as the card says. (All
epochs take minutes; `robustlab train NAME` runs them.)

A training amplifies the last bits, in which processors and versions of torch differ. So the first
steps are compared closely with losses noted here, and the first epoch with the card no closer than
it repeats. How closely that is, was measured from 16 trainings a network whose initial weights were
moved by up to 2^-20 of themselves; the bounds are some three times the largest difference.
"""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch

from robustlab.backbones import list_backbones, read_card
from robustlab.training import load_recipe
from robustlab.training.learner import Learner
from robustlab.training.loop import _surroundings
from robustlab.training.network import start
from robustlab.training.parts import load_parts

NAMES = [card["name"] for card in list_backbones()]
FIRST = 1e-5  # the first step's loss has no step's rounding in it


class Held(NamedTuple):
    """Losses of the first steps and how far later ones may be off; the same of the card's epochs.

    The second epoch repeats for the perceptron alone. Batch normalisation magnifies what Adam's
    first step makes of gradients near zero: of the residual network two steps repeat to a percent.
    """

    steps: tuple[float, ...]
    later: float
    train: float
    val: float
    epochs: int = 1


HELD = {
    "lenet5-avg@digits": Held((2.355166, 2.344656, 2.428194, 2.269438, 2.174086), 1e-5, 0.01, 0.1),
    "lenet5-max@digits": Held((2.474810, 2.390892, 2.437845, 2.363773, 2.177588), 1e-5, 0.01, 0.1),
    "lenet5-robust@digits": Held(
        (2.477517, 2.397335, 2.445506, 2.375835, 2.192692), 1e-5, 0.01, 0.15
    ),
    "local@digits": Held((3.697760, 2.776081, 2.458654, 2.244616, 2.293402), 1e-4, 0.01, 0.25),
    "mlp@digits": Held((2.329952, 2.321924, 2.348898, 2.158486, 2.120708), 1e-5, 0.002, 0.01, 2),
    "resnet20-narrow@digits": Held((3.155514, 2.741372, 2.363404), 0.01, 0.15, float("inf")),
    "twin-avg@digits": Held((2.309002, 2.321339, 2.376287, 2.335105, 2.289716), 2e-5, 2e-4, 2e-3),
    "twin-blur@digits": Held((2.323679, 2.33691, 2.400916, 2.36952, 2.30846), 2e-5, 2e-4, 2e-3),
    "twin-max@digits": Held((2.323451, 2.33662, 2.400883, 2.408939, 2.304197), 2e-5, 2e-4, 2e-3),
    "twin-polyphase@digits": Held(
        (2.322491, 2.336452, 2.398779, 2.403724, 2.305774), 2e-5, 2e-4, 2e-3
    ),
    "twin-strided@digits": Held(
        (2.308609, 2.320533, 2.380312, 2.33924, 2.293102), 2e-5, 2e-4, 2e-3
    ),
}
ROBUST = load_recipe("lenet5-robust@digits").adversarial
MUTANTS = {
    "seed": lambda r: replace(r, seed=1),
    "augment": lambda r: replace(r, augment=replace(r.augment, shift=0.0)),
    "lr": lambda r: replace(r, train=replace(r.train, lr=2 * r.train.lr)),
    "batch": lambda r: replace(r, train=replace(r.train, batch=64)),
    "adversarial": lambda r: replace(r, adversarial=None if r.adversarial else ROBUST),
}


class Noting(Learner):
    """Keeps the loss of every step, and ends after ``last`` of them."""

    noted: list[float]
    last: int

    def _loss(self, x, y, done):
        if len(self.noted) == self.last:
            raise StopIteration
        loss, logits = super()._loss(x, y, done)
        self.noted.append(loss.item())
        return loss, logits


def begin(recipe, moved=0.0):
    """A learner before its first step, each initial weight moved by up to a share of itself."""
    parts, begun = load_parts(recipe), start(recipe)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in begun.built.module.parameters():
            weight.mul_(1 + moved * (2 * torch.rand(weight.shape, generator=chance) - 1))
    return Noting(recipe, begun, (None, None), parts["train"], parts["val"], torch.device("cpu"))


def check_steps(recipe, held, moved=0.0):
    with _surroundings(1, recipe.seed):
        learner = begin(recipe, moved)
        learner.noted, learner.last = [], len(held.steps)
        with pytest.raises(StopIteration):
            learner.epoch(lambda share: None)
    assert learner.noted[0] == pytest.approx(held.steps[0], rel=FIRST)
    assert learner.noted[1:] == pytest.approx(held.steps[1:], rel=held.later)


def check_epochs(recipe, held, card, moved=0.0):
    with _surroundings(1, recipe.seed):
        learner = begin(recipe, moved)
        learner.noted, learner.last = [], -1
        for _ in range(held.epochs):
            learner.epoch(lambda share: None)
    for column, off in (("train_loss", held.train), ("val_loss", held.val), ("lr", FIRST)):
        found = [getattr(epoch, column) for epoch in learner.curve]
        assert found == pytest.approx(card["curve"][column][: held.epochs], rel=off), column


def test_every_network_is_held():
    assert list(HELD) == NAMES


@pytest.mark.parametrize("moved", [0.0, 2**-20])
@pytest.mark.parametrize("name", NAMES)
def test_the_first_steps_are_those_of_the_recipe(name, moved):
    assert read_card(name)["recipe"] == load_recipe(name).as_dict()
    check_steps(load_recipe(name), HELD[name], moved)


@pytest.mark.slow
@pytest.mark.parametrize("moved", [0.0, 2**-20])
@pytest.mark.parametrize("name", NAMES)
def test_the_first_epochs_are_those_of_the_card(name, moved):
    check_epochs(load_recipe(name), HELD[name], read_card(name), moved)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_steps_kill_another_recipe(name, mutant):
    with pytest.raises(AssertionError):
        check_steps(MUTANTS[mutant](load_recipe(name)), HELD[name])


# One of each kind of recipe. An epoch of resnet20-narrow and twin-avg does not tell every recipe
# from theirs; their steps above do.
KINDS = ["lenet5-max@digits", "lenet5-robust@digits", "local@digits", "mlp@digits"]
KINDS += ["twin-max@digits"]


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("name", KINDS)
def test_the_epochs_kill_another_recipe(name, mutant):
    with pytest.raises(AssertionError, match="train_loss"):
        check_epochs(MUTANTS[mutant](load_recipe(name)), HELD[name], read_card(name))
