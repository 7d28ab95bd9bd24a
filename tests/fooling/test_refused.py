"""Bad requests are told, and nothing is written."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image
from torch import nn

import robustlab
from robustlab.doors import fool_folder
from robustlab.errors import BadRequest
from robustlab.fooling.keeping import write_picture
from robustlab.fooling.pictures import from_data

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

fool = partial(robustlab.fool, evidence=False)
DIGIT = "digits:test#3"  # a six


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"target": "6"}, "takes the picture for '6' already"),
        ({"target": "eight"}, "unknown target 'eight'"),
        ({"eps": 0}, "no 8-bit picture can hold it; the least is 1/255"),
        ({"eps": "0.5/255"}, "less than one grey level"),
        ({"eps": "x"}, "eps 'x' is not a number"),
        ({"eps": 4}, "did you mean '4/255'?"),
        ({"eps": "0.5", "attack": "pgd?norm=l0"}, "no whole number of pixels"),
        ({"attack": "clean"}, "'clean' is a probe, no attack"),
        ({"attack": "square"}, "knows 'score', no gradient"),
        ({"attack": "noise"}, "no gradient"),
        ({"attack": "transfer?surrogates=mlp@digits"}, "no gradient"),
        ({"attack": "universal"}, "learns from a set of images"),
        ({"attack": "pgdd"}, "did you mean 'pgd'?"),
        ({"attack": "pgd?step=3"}, "did you mean 'steps'?"),
        ({"attack": "pgd?eps=3"}, "--eps"),
        ({"attack": "spatial"}, ""),
        ({"on": "frame"}, "unknown --on 'frame'"),
        ({"resize": "hole"}, "or 'whole'"),
        ({"picture": "digits:test#999"}, "write digits:test#0 to digits:test#359"),
        ({"picture": "nose"}, "there is no file 'nose'"),
        ({"picture": "."}, "is a folder"),
        ({"picture": ""}, "the picture's name is empty"),
        ({"seed": -1}, "--seed -1: give a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "--seed 4294967296"),
        ({"backbone": "lenet6@digits"}, "did you mean"),
        ({"backbone": "file:nowhere.safetensors#lenet5"}, "there is no file"),
    ],
)
def test_bad_requests(tmp_path, lenet, changes, told):
    asked = {"picture": DIGIT, "backbone": lenet, "eps": 0.2, "out": tmp_path / "a", **changes}
    with pytest.raises(BadRequest) as error:
        fool(asked.pop("picture"), **asked)
    assert told in str(error.value)
    assert not (tmp_path / "a").exists()


def test_a_corrupted_weight_file(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken")
    with pytest.raises(BadRequest, match="damaged or cut-off"):
        fool(DIGIT, backbone=f"file:{tmp_path}/w.safetensors#lenet5", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_pictures_of_the_users_own_are_not_written_over(tmp_path, lenet):
    write_picture(tmp_path / "original.png", np.zeros((1, 4, 4), np.uint8))
    before = (tmp_path / "original.png").read_bytes()
    with pytest.raises(BadRequest, match=r"original\.png, which was not written by robustlab fool"):
        fool(DIGIT, target=8, backbone=lenet, eps=0.2, out=tmp_path)
    assert (tmp_path / "original.png").read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["original.png"]


def test_again_into_the_same_folder(tmp_path, lenet):
    """What is stale goes, what is another's stays."""
    asked = {"target": 8, "backbone": lenet, "eps": 0.2, "out": tmp_path}
    fool(DIGIT, **asked)
    for name in ("notes.txt", "way.png"):
        (tmp_path / name).write_text("mine")
    fool(DIGIT, **{**asked, "eps": "0.20"})
    assert not (tmp_path / "way.png").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "fooled.json").read_text())["succeeded"] is True


OTHERWISE = (
    ({"eps": "1/255"}, "eps 0.2, not 0.00392156863"),
    ({"attack": "fgsm"}, "attack pgd, not fgsm"),
    ({"attack": "pgd?steps=3"}, "other parameters"),
    ({"on": "crop"}, "on picture, not crop"),
    ({"seed": 1}, "seed 0, not 1"),
    ({"resize": "whole"}, "resize None, not whole"),
    ({"backbone": "lenet5-avg@digits"}, "backbone lenet5-max@digits, not lenet5-avg@digits"),
    ({"target": 1}, "target 8, not 1"),
    ({"picture": "digits:test#10"}, "other picture"),
)


@pytest.mark.parametrize(("changes", "told"), OTHERWISE)
def test_another_question_takes_no_answer_away(tmp_path, lenet, changes, told):
    asked = {"picture": DIGIT, "target": 8, "backbone": lenet, "eps": 0.2, "out": tmp_path / "a"}
    fool(asked["picture"], **{k: v for k, v in asked.items() if k != "picture"})
    before = {one.name: one.read_bytes() for one in (tmp_path / "a").iterdir()}
    other = {**asked, **changes}
    with pytest.raises(BadRequest, match=r"choose another folder with --out") as error:
        fool(other.pop("picture"), **other)
    assert told in str(error.value)
    assert {one.name: one.read_bytes() for one in (tmp_path / "a").iterdir()} == before


def test_by_itself_another_question_goes_into_a_folder_of_its_own(tmp_path, lenet, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [
        fool(DIGIT, target=8, backbone=lenet, eps=eps).facts["folder"]
        for eps in (0.2, "1/255", "2/255", "1/255")
    ]
    names = [folder.rpartition("/")[2] for folder in folders]
    stem = "fool-digits_test_3-8"
    assert names == [stem, f"{stem}-2", f"{stem}-3", f"{stem}-2"]
    told = [json.loads((tmp_path / f / "fooled.json").read_text())["succeeded"] for f in folders]
    assert told == [True, False, False, False]


def test_a_mark_that_says_no_question_is_another(tmp_path, lenet):
    """As earlier versions wrote it."""
    asked = {"target": 8, "backbone": lenet, "eps": 0.2, "out": tmp_path}
    fool(DIGIT, **asked)
    (tmp_path / ".robustlab-fool").write_text("robustlab fool writes here\n")
    with pytest.raises(BadRequest, match="another question"):
        fool(DIGIT, **asked)


def test_a_folder_of_pictures_asked_otherwise(tmp_path, lenet, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(from_data(DIGIT).pixels[0]).save(tmp_path / "in" / "six.png")
    asked = {"backbone": lenet, "target": 8, "evidence": False}
    places = [fool_folder(tmp_path / "in", eps=eps, **asked)[1] for eps in (0.2, "1/255", 0.2)]
    assert [one.name for one in places] == ["fool-in-8", "fool-in-8-2", "fool-in-8"]
    rows = [(one / "index.csv").read_text().splitlines()[1] for one in places]
    assert ["True" in row for row in rows] == [True, False, True]
    before = (places[0] / "index.csv").read_bytes()
    with pytest.raises(BadRequest, match=r"eps 0\.2, not 0\.3"):
        fool_folder(tmp_path / "in", eps=0.3, out=places[0], **asked)
    assert (places[0] / "index.csv").read_bytes() == before


def test_a_network_without_gradients_leaves_nothing(tmp_path, lenet):
    class Cut(nn.Module):
        def forward(self, x):
            return lenet.network((x * 16).round() / 16)

    cut = robustlab.Backbone(Cut().eval(), input_shape=(1, 32, 32), classes=10)
    try:
        found = fool(DIGIT, target=8, backbone=cut, eps=0.2, out=tmp_path / "a")
    except BadRequest:
        assert not (tmp_path / "a").exists()
    else:
        assert not found.succeeded


def test_too_large_to_attack_as_a_whole(tmp_path, lenet):
    Image.new("L", (5000, 4000)).save(tmp_path / "a.png")
    with pytest.raises(BadRequest, match="--on crop"):
        fool(tmp_path / "a.png", backbone=lenet, eps=0.2, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_which_a_late_one_is_too_large(tmp_path, lenet):
    """Nothing is written of the earlier ones either, and the picture is named."""
    (tmp_path / "in").mkdir()
    for name, size in (("a", (40, 40)), ("b", (5000, 4000))):
        Image.new("L", size).save(tmp_path / "in" / f"{name}.png")
    asked = {"backbone": lenet, "eps": 0.2, "out": tmp_path / "out", "evidence": False}
    with pytest.raises(BadRequest, match=r"b\.png.*--on crop"):
        fool_folder(tmp_path / "in", **asked)
    assert not (tmp_path / "out").exists()


def test_a_picture_that_is_not_there_is_told_before_the_network_is_loaded(tmp_path, monkeypatch):
    """Or the error speaks of weights that could not be had; nothing hidden is advised."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".pt").write_bytes(b"")
    (tmp_path / "panda.jpg").write_bytes(b"")
    for name, hint in (
        ("x.png", "there is no file 'x.png'; an image"),
        ("nopanda.jpg", "'panda.jpg'"),
    ):
        with pytest.raises(BadRequest) as error:
            fool(name, backbone="file:nowhere.safetensors#lenet5")
        assert "there is no file" in str(error.value)
        assert hint in str(error.value)
        assert ".pt'" not in str(error.value)
