"""`train`: the same weights each time, the best epoch kept, and nothing left behind on failure."""

import json
from dataclasses import replace

import pytest
import torch

from robustlab.backbones import load_backbone
from robustlab.data import load_data
from robustlab.errors import BadRequest
from robustlab.statistics import wilson
from robustlab.training import Epoch, load_recipe, train
from robustlab.training.recipe import Source

NAME = "lenet5-max@digits"


def trained(folder, **options):
    """The fingerprint after two epochs."""
    options = {"recipe": NAME, "epochs": 2, **options}
    path = train(options.pop("recipe"), folder, **options)
    return load_backbone(f"file:{path}").fingerprint


def check_repeatable(tmp_path, run):
    assert run(tmp_path / "a") == run(tmp_path / "b")


def test_two_trainings_give_the_same_weights(tmp_path):
    """Whatever the global generator holds and however many threads are set."""
    before = torch.get_num_threads()
    surroundings = iter((1, 2))

    def run(folder):
        number = next(surroundings)
        torch.manual_seed(number)
        torch.set_num_threads(number)
        found = trained(folder)
        assert torch.get_num_threads() == number
        return found

    try:
        check_repeatable(tmp_path, run)
    finally:
        torch.set_num_threads(before)


def test_that_check_kills_a_changed_seed(tmp_path):
    seeds = iter((0, 1))
    with pytest.raises(AssertionError):
        check_repeatable(
            tmp_path,
            lambda folder: trained(folder, recipe=replace(load_recipe(NAME), seed=next(seeds))),
        )


def test_card_and_weights(tmp_path):
    epochs = []
    path = train("mlp@digits", tmp_path / "new" / "folder", progress=epochs.append, epochs=3)
    assert path == tmp_path / "new" / "folder" / "mlp@digits.safetensors"
    assert sorted(one.name for one in path.parent.iterdir()) == [
        "mlp@digits.json",
        "mlp@digits.safetensors",
        "mlp@digits.training.npz",
    ]
    card = json.loads(path.with_suffix(".json").read_text())
    assert [one.epoch for one in epochs] == [1, 2, 3]
    assert card["curve"]["val_accuracy"] == [round(one.val_accuracy, 6) for one in epochs]
    best = epochs[card["best_epoch"] - 1]
    assert best.better == max(one.better for one in epochs)
    assert card["recipe"]["train"]["epochs"] == 3
    assert card["builder"] == "mlp"
    assert {"hidden": "128,64", "seed": 0}.items() <= card["options"].items()
    assert card["torch"] == torch.__version__
    assert card["seconds"] > 0
    assert (card["threads"], card["device"], card["stopped"]) == (1, "cpu", "all epochs")
    assert {len(column) for column in card["curve"].values()} == {3}
    assert card["curve"]["train_accuracy"] == [round(one.train_accuracy, 6) for one in epochs]
    assert card["curve"]["lr"] == pytest.approx([0.002, 0.0015, 0.0005])  # cosine, epoch begun

    backbone = load_backbone(f"file:{path}")
    assert backbone.fingerprint == card["fingerprint"]
    for part, key in (("val", "validation"), ("test", "test")):
        data = load_data(f"digits:{part}")
        right = int((backbone(data.batch(slice(None))).argmax(1).numpy() == data.labels).sum())
        expected = wilson(right, 360)
        assert card[key] == {
            "value": expected.value, "low": expected.low, "high": expected.high, "n": 360
        }  # fmt: skip
        assert card["data"][part] == data.fingerprint
    assert card["validation"]["value"] == best.val_accuracy


def test_the_best_epoch_is_kept():
    """Accuracy first, then the loss, then the earliest."""
    curve = [
        Epoch(1, 5, 0.0, 0.1, 0.8),
        Epoch(2, 5, 0.0, 0.5, 0.9),
        Epoch(3, 5, 0.0, 0.4, 0.9),
        Epoch(4, 5, 0.0, 0.4, 0.9),
        Epoch(5, 5, 0.0, 0.0, 0.7),
    ]
    assert max(curve, key=lambda one: one.better).epoch == 3


def test_sgd_and_constant_rate_learn(tmp_path):
    recipe = load_recipe("mlp@digits")
    settings = replace(
        recipe.train, optimizer="sgd", schedule="constant", lr=0.02, batch=1000, epochs=30
    )
    path = train(replace(recipe, train=settings), tmp_path)
    curve = json.loads(path.with_suffix(".json").read_text())["curve"]
    assert curve["train_loss"][-1] < 0.7 * curve["train_loss"][0]


def test_an_interrupted_training_leaves_a_checkpoint_alone(tmp_path):
    threads = torch.get_num_threads()

    def interrupt(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("mlp@digits", tmp_path, progress=interrupt)
    assert [one.name for one in tmp_path.iterdir()] == ["mlp@digits.checkpoint.pt"]
    assert torch.get_num_threads() == threads


def test_the_global_generators_are_left_alone(tmp_path):
    state = torch.get_rng_state()
    trained(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"builder": "lenet"}, "unknown builder 'lenet'; did you mean 'lenet5'"),
        ({"options": {"pol": "max"}}, "recipe lenet5-max@digits: unknown option 'pol'"),
        ({"options": {"pool": "mex"}}, "recipe lenet5-max@digits: unknown pool 'mex'"),
        ({"data": Source("digit")}, "did you mean 'digits"),
        ({"data": Source("digits", take=1078)}, r"\[data\].* only 1077 images"),
    ],
)
def test_bad_recipes_are_refused_before_anything_is_made(tmp_path, change, message):
    with pytest.raises(BadRequest, match=message):
        train(replace(load_recipe(NAME), **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_epochs_and_folders(tmp_path):
    with pytest.raises(BadRequest, match="epochs 0 must be at least 1"):
        train(NAME, tmp_path, epochs=0)
    with pytest.raises(BadRequest, match="threads 0 must be at least 1"):
        train(NAME, tmp_path, threads=0)
    with pytest.raises(BadRequest, match="device 'cuba' cannot be used"):
        train(NAME, tmp_path, device="cuba")
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match="cannot write to the folder"):
        train(NAME, tmp_path / "file" / "out")


@pytest.mark.slow
def test_the_recipe_still_gives_98_percent(tmp_path):
    path = train(NAME, tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["test"]["value"] >= 0.98
    assert card["validation"]["value"] >= 0.98


def test_images_held_as_floats_and_read_by_batch_give_the_same_weights(tmp_path, monkeypatch):
    held = train(NAME, tmp_path / "held", epochs=1)
    monkeypatch.setattr("robustlab.training.learner._HELD", 0)
    read = train(NAME, tmp_path / "read", epochs=1)
    assert held.read_bytes() == read.read_bytes()
