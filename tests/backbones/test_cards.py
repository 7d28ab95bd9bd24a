"""Cards: the shipped networks, and that listing them imports no torch."""

import json
import subprocess
import sys

import pytest

from robustlab import attack, shelf
from robustlab.backbones import list_backbones, load_backbone, read_card
from robustlab.backbones.cards import tried
from robustlab.data import load_data
from robustlab.errors import BadRequest
from robustlab.training import load_recipe

SHIPPED = [
    "lenet5-avg@digits",
    "lenet5-max@digits",
    "lenet5-robust@digits",
    "local@digits",
    "mlp@digits",
    "resnet20-narrow@digits",
    "twin-avg@digits",
    "twin-blur@digits",
    "twin-max@digits",
    "twin-polyphase@digits",
    "twin-strided@digits",
]


def test_shipped():
    assert [card["name"] for card in list_backbones()] == SHIPPED
    assert sum(path.stat().st_size for path in shelf.weights().iterdir()) < 4_000_000


def check_card(name, card):
    """The weights are those of the card, and so is their accuracy on the test split."""
    backbone = load_backbone(name)
    assert backbone.fingerprint == card["fingerprint"]
    assert backbone.parameters == card["parameters"]
    for part, key in (("val", "validation"), ("test", "test")):
        data = load_data(f"digits:{part}")
        assert data.fingerprint == card["data"][part]
        backbone.accepts(data)
        hits = backbone(data.batch(slice(None))).argmax(1).numpy() == data.labels
        # One image of leeway: another processor may round a close call the other way.
        assert abs(hits.mean() - card[key]["value"]) < 1.5 / len(data)


@pytest.mark.parametrize("name", SHIPPED)
def test_card(name):
    card = read_card(name)
    check_card(name, card)
    assert card["test"]["low"] < card["test"]["value"] <= card["test"]["high"]
    assert card["test"]["n"] == 360
    epochs = card["recipe"]["train"]["epochs"]
    assert {len(column) for column in card["curve"].values()} == {epochs}


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "0" * 64},
        {"test": {"value": 0.9}},
        {"data": {"val": "", "test": ""}},
        {"parameters": 1},
    ],
)
def test_that_check_kills(change):
    with pytest.raises(AssertionError):
        check_card("mlp@digits", read_card("mlp@digits") | change)


def test_the_lenets_reach_98_percent():
    assert all(read_card(name)["test"]["value"] >= 0.98 for name in SHIPPED[:2])


def check_tried(name):
    """A card without weights: of a recipe that is there, saying what the trial was."""
    card, recipe = read_card(name), load_recipe(name)
    assert card["name"] == recipe.name == name
    assert card["builder"] == recipe.builder
    assert card["trial"]
    assert card["test"]["low"] < card["test"]["value"] < card["test"]["high"]
    assert name not in [one["name"] for one in list_backbones()]


@pytest.mark.parametrize("name", tried())
def test_recipes_without_weights_have_the_card_of_a_trial(name):
    check_tried(name)
    with pytest.raises(BadRequest, match=f"comes without weights; 'robustlab train {name}'"):
        load_backbone(name)


def test_tried_are_those_that_need_a_download():
    recipes = {path.stem for path in shelf.recipes().glob("*.toml")}
    assert set(tried()) == recipes - set(SHIPPED) == {"lenet5@mnist", "resnet20@cifar10"}


def test_that_check_kills_a_shipped_network_among_them():
    with pytest.raises(KeyError):
        check_tried("mlp@digits")


def check_robust(name):
    """What adversarial training promises: PGD-100 with 5 restarts at Linf 0.1, clean images."""
    data = load_data("digits:test")
    found = attack("pgd", name, data, norm="linf", eps=["0.1"], steps=100, restarts=5, seed=0)
    assert found.robust_accuracy["0.1"].value >= 0.70
    hits = load_backbone(name)(data.batch(slice(None))).argmax(1).numpy() == data.labels
    assert hits.mean() >= 0.97


@pytest.mark.slow
def test_the_robust_lenet_is_robust():
    check_robust("lenet5-robust@digits")


@pytest.mark.slow
def test_that_check_kills_a_network_trained_without_attacks():
    with pytest.raises(AssertionError):
        check_robust("lenet5-max@digits")


def test_the_robust_lenet_differs_from_its_twin_in_training_alone():
    robust, plain = (load_backbone(f"lenet5-{one}@digits") for one in ("robust", "max"))
    assert repr(robust.module) == repr(plain.module)
    recipes = [read_card(one.name)["recipe"] for one in (robust, plain)]
    assert recipes[0].pop("adversarial")["eps"] == "0.1"
    assert all(recipe.pop("name") for recipe in recipes)
    assert recipes[0] == recipes[1]


def test_twins_differ_in_pooling_alone():
    recipes = [read_card(name)["recipe"] for name in SHIPPED[:2]]
    for recipe in recipes:
        assert (
            recipe.pop("name").split("-")[1]
            == f"{recipe['backbone']['options'].pop('pool')}@digits"
        )
    assert recipes[0] == recipes[1]


def test_cards_need_no_torch():
    code = (
        "import sys; from robustlab.backbones import list_backbones, parse_reference;"
        "from robustlab.training import list_recipes, load_recipe;"
        "assert list_backbones() and load_recipe(list_recipes()[0]);"
        "parse_reference('lenet5-max@digits');"
        "bad = {'torch', 'torchvision', 'sklearn', 'PIL'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "lacks name, builder"),
        (json.dumps({"name": "x"}), "lacks builder, options"),
    ],
)
def test_bad_cards(tmp_path, content, message):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadRequest, match=message):
        read_card(path)


def test_unknown_card():
    with pytest.raises(BadRequest, match="did you mean 'mlp@digits'"):
        read_card("mlp@digit")
