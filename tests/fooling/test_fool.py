"""One picture from beginning to end on a shipped network: what is written is what is told."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import robustlab
from robustlab.fooling import evidence
from robustlab.fooling.pictures import from_data, read_file
from robustlab.fooling.search import Scene
from robustlab.fooling.steps import many_steps
from robustlab.fooling.tale import Request, stage

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

fool = partial(robustlab.fool, evidence=False)
DIGIT = "digits:test#3"  # a six


@pytest.fixture(scope="module")
def done(tmp_path_factory, lenet):
    folder = tmp_path_factory.mktemp("fool") / "six"
    found = fool(DIGIT, target=8, backbone=lenet, eps=0.2, out=folder)
    return found, folder


def test_the_file_alone_tells_it(done, lenet):
    """What anyone would do with the two files, without the lab's sight."""
    found, folder = done
    assert found.succeeded
    for name, wanted in (("original", "6"), ("fooled", "8"), ("smallest", "8")):
        with Image.open(folder / f"{name}.png") as image:
            assert image.format == "PNG"
            assert image.size == (32, 32)
            x = torch.from_numpy(np.asarray(image)[None, None] / np.float32(255))
        assert lenet.classes[int(lenet(x).argmax())] == wanted


def test_the_figures_are_those_of_the_files(done, lenet):
    found, folder = done
    clean, changed, least = (
        np.asarray(Image.open(folder / f"{name}.png")).astype(int)
        for name in ("original", "fooled", "smallest")
    )
    step = np.abs(changed - clean)
    assert found.size.linf == step.max() <= 51
    assert found.size.l1 == step.sum()
    assert found.size.l2 == pytest.approx(np.linalg.norm(step))
    assert (found.size.l0, found.size.pixels) == ((step > 0).sum(), 1024)
    assert found.size.mean == pytest.approx(step.mean())
    assert found.smallest.linf == np.abs(least - clean).max() < 51
    assert np.array_equal(found.changed[0], changed)
    assert np.array_equal(found.smallest_changed[0], least)
    chances = lenet(changed[None, None].astype(np.float32) / 255).softmax(dim=1)[0]
    assert found.after.target == pytest.approx(float(chances[8]), abs=1e-6)
    assert found.before.index == 6
    assert found.after.index == 8


def test_the_json_says_the_same(done):
    found, folder = done
    told = json.loads((folder / "fooled.json").read_text(encoding="utf-8"))
    assert told["succeeded"] is True
    assert told["smallest"]["linf"] == found.smallest.linf
    assert told["after"]["top"][0][1] == "8"
    assert [one["question"] for one in told["checks"]] == [one.question for one in found.checks]


def test_the_smallest_is_the_smallest(done, lenet):
    """One level less does not do it: the same search, asked for it."""
    found, _ = done
    scene, _, asked = stage(from_data(DIGIT), lenet, Request(8, 0.2))
    below = [scene.search(asked, f"{k}/255").hit for k in range(1, found.smallest.linf)]
    assert not any(below[-3:])
    assert scene.search(asked, f"{found.smallest.linf}/255").hit


@pytest.mark.parametrize("eps", ["16/255", "0.0627451"])
def test_many_steps_at_its_own_budget_are_the_picture_itself(lenet, larger, eps, monkeypatch):
    """Through a resize the two roundings differ: one page must not tell two figures"""
    monkeypatch.setattr(evidence, "LEVELS", (16.0,))
    scene, _, asked = stage(read_file(larger()), lenet, Request(8, eps, "pgd?steps=5"))
    picture = scene.search(asked, asked.budget.text)
    _, many = evidence._steps(scene, asked)
    assert many.target[0] == picture.target
    assert many.label[0] == picture.label
    blind = many_steps(  # rounded towards the original alone
        *(scene.seen, scene.pixels, scene.label, scene.target),
        params={"steps": 5},
        levels=(16.0,),
        picture=scene.name,
        backbone=scene.backbone,
        read=scene.read,
    )
    assert blind.target[0] != picture.target


def test_any_mistake_will_do(tmp_path, lenet):
    found = fool(DIGIT, backbone=lenet, eps=0.2, out=tmp_path / "a")
    assert found.succeeded
    assert found.target is None
    assert found.after.index != 6
    assert np.isnan(found.after.target)


@pytest.mark.parametrize(("norm", "eps"), [("l2", "2"), ("l1", "30"), ("l0", "60px")])
def test_other_norms(tmp_path, lenet, norm, eps):
    found = fool(DIGIT, backbone=lenet, eps=eps, attack=f"pgd?norm={norm}", out=tmp_path / "a")
    assert found.succeeded
    spent = {"l2": found.size.l2 / 255, "l1": found.size.l1 / 255, "l0": found.size.l0}[norm]
    assert spent <= float(eps.removesuffix("px")) * (1 + 1e-6)
    least = {name: getattr(found.smallest, name) for name in ("l2", "l1", "l0")}
    assert least[norm] < getattr(found.size, norm)


def test_what_does_not_succeed_is_written_and_told(tmp_path, lenet):
    found = fool(DIGIT, target=1, backbone=lenet, eps="1/255", out=tmp_path / "a")
    assert not found.succeeded
    assert found.smallest is None
    assert not (tmp_path / "a" / "smallest.png").exists()
    assert (tmp_path / "a" / "fooled.png").exists()
    failed = [one.question for one in found.checks if not one.passed]
    assert any("is it taken for 1?" in question for question in failed)


def test_through_resize_and_crop(tmp_path, lenet, larger):
    file = larger()
    found = fool(file, backbone=lenet, eps=0.3, out=tmp_path / "a")
    assert found.succeeded
    assert found.changed.shape == (1, 44, 61)
    with Image.open(tmp_path / "a" / "fooled.png") as image:
        image = image.resize((44, 32), Image.Resampling.BILINEAR).crop((6, 0, 38, 32))
        x = np.asarray(image)[None, None] / np.float32(255)
    assert int(lenet(x).argmax()) == found.after.index != found.before.index


def test_on_the_crop(tmp_path, lenet, larger):
    file = larger()
    found = fool(file, backbone=lenet, eps=0.2, on="crop", out=tmp_path / "a")
    assert found.succeeded
    assert found.changed.shape == (1, 32, 32)
    # The file is the network's image: nothing is resized any more.
    assert "without a resize" in found.sight
    chances = lenet(found.changed[None].astype(np.float32) / 255).softmax(dim=1)[0]
    assert float(chances.max()) == pytest.approx(found.after.top[0][2], abs=1e-6)


def test_from_noise_black_and_white(tmp_path, lenet):
    for word in ("noise", "black", "white"):
        settings = {"attack": "pgd?steps=10", "eps": 0.5, "out": tmp_path / word}
        found = fool(word, backbone=lenet, target="second", **settings)
        assert found.original.shape == (1, 32, 32)
        assert found.succeeded


def test_a_colour_photograph_for_a_network_of_grey_images(tmp_path, lenet):
    found = fool(backbone=lenet, eps=0.3, attack="pgd?steps=10", out=tmp_path / "a")
    assert "takes grey images" in found.source
    assert found.original.shape == (1, 427, 640)


def test_the_same_seed_the_same_file(tmp_path, lenet):
    one, two, other = (
        fool(DIGIT, target=8, backbone=lenet, eps=0.2, seed=seed, out=tmp_path / name)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert np.array_equal(one.changed, two.changed)
    assert not np.array_equal(one.changed, other.changed)


def check_left_alone(file, lenet, folder):
    found = fool(file, target=8, backbone=lenet, eps=0.3, out=folder)
    height, width = found.original.shape[1:]
    side = (width - height) // 2 - 2  # the middle square is looked at, and what its edge mixes in
    step = found.changed.astype(int) - found.original
    assert side > 3
    assert step[:, :, side + 2 : -side - 2].any()
    assert not step[:, :, :side].any()
    assert not step[:, :, -side:].any()


def test_where_the_network_does_not_look_nothing_is_changed(larger, lenet, tmp_path):
    check_left_alone(larger(44, 61), lenet, tmp_path / "out")


def test_a_random_start_that_stays_is_seen(larger, lenet, tmp_path, monkeypatch):
    """Mutant: everything counts as looked at."""
    monkeypatch.setattr(Scene, "looked_at", True)
    with pytest.raises(AssertionError):
        check_left_alone(larger(44, 61), lenet, tmp_path / "out")
