"""The shipped cards are those of their recipes: the first epochs of a training, begun anew, go as
the card says. (All epochs take minutes; `robustlab train NAME` runs them.)"""

from dataclasses import replace

import pytest
import torch

from robustlab.backbones import list_backbones, read_card
from robustlab.training import load_recipe
from robustlab.training.learner import Learner
from robustlab.training.loop import _surroundings
from robustlab.training.network import start
from robustlab.training.parts import load_parts

NAMES = [card["name"] for card in list_backbones()]
EPOCHS = 2
# Another processor adds in another order; the mutants below are further off by far.
TOLERANCE = 0.02


def check_beginning(recipe, card):
    parts, begun = load_parts(recipe), start(recipe)
    with _surroundings(1, recipe.seed):
        learner = Learner(
            recipe, begun, (None, None), parts["train"], parts["val"], torch.device("cpu")
        )
        curve = [learner.epoch(lambda share: None) for _ in range(EPOCHS)]
    for column in ("train_loss", "val_loss"):
        found = [getattr(epoch, column) for epoch in curve]
        assert found == pytest.approx(card["curve"][column][:EPOCHS], rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_that_of_the_recipe(name):
    recipe, card = load_recipe(name), read_card(name)
    assert card["recipe"] == recipe.as_dict()
    check_beginning(recipe, card)


@pytest.mark.parametrize(
    "mutate",
    [
        lambda r: replace(r, seed=1),
        lambda r: replace(r, augment=replace(r.augment, shift=0.0)),
        lambda r: replace(r, train=replace(r.train, lr=0.004)),
        lambda r: replace(r, train=replace(r.train, batch=64)),
        lambda r: replace(r, adversarial=load_recipe("lenet5-robust@digits").adversarial),
    ],
    ids=["seed", "augment", "lr", "batch", "adversarial"],
)
def test_that_check_kills_another_recipe(mutate):
    with pytest.raises(AssertionError):
        check_beginning(mutate(load_recipe("lenet5-max@digits")), read_card("lenet5-max@digits"))
