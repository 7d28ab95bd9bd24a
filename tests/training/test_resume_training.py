"""A training that was killed goes on, to the same bits; a finished one is not made twice."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from robustlab.backbones import load_backbone
from robustlab.errors import BadRequest
from robustlab.training import load_recipe, train
from robustlab.training.checkpoint import Checkpoint, difference
from robustlab.training.learner import Learner
from robustlab.training.recipe import Adversarial

# Everything that draws or remembers: shifts, mirrors, dropout, momentum, plateau, random starts.
RECIPE = """
schema = 1
name = "killed"
[backbone]
builder = "mlp"
options = {hidden = "16", dropout = 0.2}
[data]
source = "digits"
take = 120
balanced = true
normalise = true
[train]
epochs = 12
batch = 16
optimizer = "sgd"
lr = 0.003
schedule = "plateau"
plateau_patience = 0
plateau_factor = 0.5
warmup = 2
[augment]
shift = 1
flip = 0.5
[adversarial]
method = "pgd"
eps = 0.01
steps = 2
"""

WAIT = """
import sys, time
from robustlab.training import train
def tell(epoch):
    print(epoch.epoch, flush=True)
    if epoch.epoch == 5:
        time.sleep(600)
train(sys.argv[1], sys.argv[2], progress=tell)
"""


def everything(folder, name="killed"):
    """What must be equal: the weights' bytes, the card but for its time, the page's arrays."""
    card = json.loads((folder / f"{name}.json").read_text())
    card.pop("seconds")
    with np.load(folder / f"{name}.training.npz") as file:
        arrays = {key: file[key].tobytes() for key in file.files}
    return (folder / f"{name}.safetensors").read_bytes(), card, arrays


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "killed.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def undisturbed(recipe_file, tmp_path):
    train(recipe_file, tmp_path / "undisturbed")
    return everything(tmp_path / "undisturbed")


def kill_in_epoch_6(recipe_file, folder):
    """A real process, killed where no Python code can clean up."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", WAIT, str(recipe_file), str(folder)],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    for line in child.stdout:
        if line.strip() == "5":
            break
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    assert [one.name for one in folder.iterdir()] == ["killed.checkpoint.pt"]


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits(recipe_file, undisturbed, tmp_path):
    folder = tmp_path / "out"
    kill_in_epoch_6(recipe_file, folder)
    said, epochs = [], []
    train(recipe_file, folder, say=said.append, progress=epochs.append)
    assert 1 < epochs[0].epoch <= 6
    assert said == [
        f"going on after epoch {epochs[0].epoch - 1}, kept in {folder / 'killed.checkpoint.pt'}"
    ]
    assert everything(folder) == undisturbed
    assert not (folder / "killed.checkpoint.pt").exists()


def stopped_and_resumed(recipe, folder):
    """Stopped by an exception after three epochs, then gone on with."""

    def stop(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder, progress=stop)
    train(recipe, folder)
    return everything(folder)


@pytest.fixture
def every_epoch(monkeypatch):
    """A checkpoint after every epoch, whatever it costs."""
    monkeypatch.setattr("robustlab.training.checkpoint._SHARE", float("inf"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "lost",
    ["module", "optimizer", "schedule", "order", "flip", "start", "dropout", "trace", "best"],
)
def test_that_check_kills_what_is_not_restored(
    recipe_file, undisturbed, tmp_path, lost, monkeypatch, every_epoch
):
    """Mutants: one thing at a time is left as a fresh training has it."""
    restore = Learner.restore

    def forgetful(self, state):
        fresh = self.state()
        if lost in self.chance:
            state = {**state, "chance": {**state["chance"], lost: fresh["chance"][lost]}}
        elif lost == "best":
            state = {**state, "best": {k: v + 0 for k, v in fresh["module"].items()}}
            state["curve"] = [vars(self_best(one)) for one in state["curve"]]
        else:
            state = {**state, lost: fresh[lost]}
        restore(self, state)

    def self_best(one):  # no later epoch is better, so the first weights would be kept
        from robustlab.training.epoch import Epoch

        return replace(Epoch(**one), val_robust_accuracy=1.0)

    monkeypatch.setattr(Learner, "restore", forgetful)
    assert stopped_and_resumed(recipe_file, tmp_path / "out") != undisturbed


def test_resumed_in_the_same_process(recipe_file, undisturbed, tmp_path, every_epoch):
    assert stopped_and_resumed(recipe_file, tmp_path / "out") == undisturbed


def test_a_finished_training_is_not_made_twice(tmp_path):
    path = train("mlp@digits", tmp_path, epochs=1)
    before = path.stat().st_mtime_ns
    epochs, said = [], []
    assert train("mlp@digits", tmp_path, epochs=1, progress=epochs.append, say=said.append) == path
    assert (epochs, path.stat().st_mtime_ns) == ([], before)
    assert said == [
        f"{path} is there already, from the same recipe and data; --again trains it anew"
    ]
    train("mlp@digits", tmp_path, epochs=1, progress=epochs.append, again=True)
    assert len(epochs) == 1
    with pytest.raises(BadRequest, match="is there already, from another recipe or other data"):
        train("mlp@digits", tmp_path, epochs=2, progress=epochs.append)
    train("mlp@digits", tmp_path, epochs=2, progress=epochs.append, again=True)
    assert len(epochs) == 3
    path.unlink()  # a card without weights does not count
    train("mlp@digits", tmp_path, epochs=2, progress=epochs.append)
    assert len(epochs) == 5


def left_behind(recipe, folder, **options):
    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder, progress=stop, **options)
    return folder / f"{recipe.name}.checkpoint.pt"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: replace(r, seed=1), "recipe.seed is 0 there and 1 here"),
        (lambda r: replace(r, train=replace(r.train, lr=0.1)), "recipe.train.lr is 0.02 there"),
        (lambda r: replace(r, adversarial=Adversarial("pgd", "0.1")), "recipe.adversarial is not"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(small, tmp_path, change, told):
    recipe = small()
    path = left_behind(recipe, tmp_path / "out")
    before = path.read_bytes()
    with pytest.raises(BadRequest, match=told) as caught:
        train(change(recipe), tmp_path / "out")
    assert f"delete {path} to begin anew, or choose another folder with -o" in str(caught.value)
    assert path.read_bytes() == before
    path.unlink()
    train(change(recipe), tmp_path / "out")


def test_a_checkpoint_of_other_data_is_refused(small, tmp_path):
    recipe = small()
    left_behind(recipe, tmp_path / "out")
    small(counts=(42, 20, 20))  # writes other images to the same place
    with pytest.raises(BadRequest, match=r"data\.train is \w+ there and \w+ here"):
        train(recipe, tmp_path / "out")


def test_a_checkpoint_of_other_threads_is_refused(small, tmp_path):
    left_behind(small(), tmp_path / "out", threads=1)
    with pytest.raises(BadRequest, match="threads is 1 there and 2 here"):
        train(small(), tmp_path / "out", threads=2)


class Harmful:
    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize("harm", ["pickle", "cut off", "text", "other tensors"])
def test_a_damaged_checkpoint_is_refused_and_not_executed(small, tmp_path, harm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = left_behind(small(), tmp_path / "out")
    if harm == "pickle":
        torch.save({"identity": Harmful()}, path)
    elif harm == "other tensors":
        torch.save({"weight": torch.ones(1)}, path)
    else:
        path.write_bytes(path.read_bytes()[:500] if harm == "cut off" else b"text")
    with pytest.raises(BadRequest, match="is no checkpoint that can be read; delete"):
        train(small(), tmp_path / "out")
    assert not (tmp_path / "executed").exists()


def test_writing_takes_a_fiftieth_of_the_time(tmp_path, monkeypatch):
    """On a clock of the test's own: writing costs 1 s, so the next comes 50 s later."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    written = []

    def write(path, content):
        written.append(now[0])
        now[0] += 1

    monkeypatch.setattr("robustlab.atomic.write", write)
    checkpoint = Checkpoint(tmp_path / "x.checkpoint.pt", {})
    for second in range(0, 200, 10):
        now[0] = max(now[0], second)
        checkpoint.save({})
    assert written == [0, 60, 120, 180]


def test_difference():
    assert difference({"a": {"b": [1]}}, {"a": {"b": [1]}}) == ""
    assert difference({"a": {"b": [1]}}, {"a": {"b": [2]}}) == "a.b is [1] there and [2] here"
    assert difference({}, {"a": 1}) == "a is not given there and 1 here"


def test_an_unfinished_training_leaves_the_old_network(tmp_path):
    """A folder with a finished network: interrupted remaking changes nothing in it."""
    path = train("mlp@digits", tmp_path, epochs=1)
    before = load_backbone(f"file:{path}").fingerprint
    left_behind(load_recipe("mlp@digits"), tmp_path, epochs=2, again=True)
    assert load_backbone(f"file:{path}").fingerprint == before
