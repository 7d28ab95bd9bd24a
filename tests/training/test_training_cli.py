"""``robustlab train``: what it prints, writes and returns."""

import sys

import pytest

from robustlab.training import load_recipe

RECIPE = """
schema = 1
name = "mine"
[backbone]
builder = "mlp"
options = {hidden = "16"}
[data]
source = "digits"
take = 60
[train]
epochs = 2
"""
ADVERSARIAL = '[adversarial]\nmethod = "fast"\neps = "8/255"\n'


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


def test_a_finished_training_is_told_and_not_made_twice(lab, recipe_file, tmp_path):
    first = lab("train", recipe_file, "-o", tmp_path / "out")
    assert first.code == 0
    assert "epoch 2/2  loss " in first.err
    again = lab("train", recipe_file, "-o", tmp_path / "out")
    assert (again.code, again.out) == (0, first.out)
    assert "is there already, from the same recipe and data; --again trains it anew" in again.err
    assert "epoch" not in again.err
    assert "epoch 2/2" in lab("train", recipe_file, "-o", tmp_path / "out", "--again").err


def test_the_page_is_written(lab, recipe_file, tmp_path):
    done = lab("train", recipe_file, "-o", tmp_path / "out")
    page = tmp_path / "out" / "mine.html"
    assert f"page: {page}\n" in done.out
    assert "mine" in page.read_text()
    assert lab("train", recipe_file, "-o", tmp_path / "out", "--json").json["page"] == str(page)


def test_robust_accuracy_is_told(lab, recipe_file, tmp_path):
    recipe_file.write_text(RECIPE + ADVERSARIAL)
    done = lab("train", recipe_file, "-o", tmp_path / "out")
    assert "  robust " in done.err
    line = next(one for one in done.out.splitlines() if one.startswith("robust accuracy "))
    assert line.endswith("at linf 8/255, PGD-10; a stronger attack may leave less")
    assert "] of 20 at" in line


def test_bad_recipes_exit_2(lab, recipe_file, tmp_path):
    recipe_file.write_text(RECIPE.replace("epochs", "epoch"))
    done = lab("train", recipe_file, "-o", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "unknown key 'epoch' in [train]; did you mean 'epochs'?" in done.err
    assert not (tmp_path / "out").exists()


def test_an_interrupted_training_says_how_to_go_on(lab, recipe_file, tmp_path, monkeypatch):
    from robustlab.training.learner import Learner

    epoch = Learner.epoch

    def interrupted(self, tick):
        if len(self.curve) == 1:
            raise KeyboardInterrupt
        return epoch(self, tick)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "epoch", interrupted)
        done = lab("train", recipe_file, "-o", tmp_path / "out")
    assert done.code == 130
    assert "run the same command to go on" in done.err
    done = lab("train", recipe_file, "-o", tmp_path / "out")
    assert done.code == 0
    assert "going on after epoch 1, kept in " in done.err
    assert "epoch 1/2" not in done.err


def test_threads_and_device_are_recorded(lab, recipe_file, tmp_path):
    options = ("--threads", "2", "--device", "cpu", "--json")
    done = lab("train", recipe_file, "-o", tmp_path / "out", *options)
    assert (done.json["card"]["threads"], done.json["card"]["device"]) == (2, "cpu")


def test_a_terminal_gets_a_bar(lab, recipe_file, tmp_path, monkeypatch):
    """Its result on stdout is the same as without."""
    plain = lab("train", recipe_file, "-o", tmp_path / "out")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    done = lab("train", recipe_file, "-o", tmp_path / "out", "--again")
    assert (done.code, done.out) == (0, plain.out)


def test_epochs_fit_the_schedule_and_the_warm_up(tmp_path):
    from robustlab.training.loop import _fitted

    fitted = _fitted(load_recipe("lenet5-robust@digits"), 4)
    assert (fitted.train.epochs, fitted.adversarial.warmup) == (4, 1.0)
