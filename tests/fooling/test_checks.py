"""What a sceptic asks of the file: each check fails on the broken thing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import robustlab
from robustlab.fooling.checks import check_file
from robustlab.fooling.keeping import write_picture
from robustlab.fooling.pictures import read_file
from robustlab.fooling.sight import Sight
from robustlab.fooling.tale import Request, stage

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

fool = partial(robustlab.fool, evidence=False)
DIGIT = "digits:test#3"  # a six


@pytest.fixture
def staged(tmp_path, lenet, larger):
    """Everything that a check is asked of: scene, sight, budget, a real answer, two files."""
    scene, sight, asked = stage(read_file(larger()), lenet, Request(None, 0.3))
    found = scene.search(asked, "0.3")
    original, changed = tmp_path / "original.png", tmp_path / "fooled.png"
    write_picture(original, scene.pixels)
    write_picture(changed, found.pixels)
    return original, changed, scene, sight, asked, found


def failed(*arguments):
    return [one.question for one in check_file(*arguments) if not one.passed]


def test_the_real_thing_passes(staged):
    assert failed(*staged) == []


def test_success_in_floats_that_rounding_undoes(staged):
    original, changed, scene, sight, asked, found = staged
    write_picture(changed, scene.pixels)  # the perturbation was a fraction of a level
    told = failed(original, changed, scene, sight, asked, found)
    assert any("bear out" in question for question in told)
    assert any("Opened again" in question for question in told)
    assert any("within the budget" in question for question in told)  # nothing was changed


def test_a_jpeg_under_the_name_of_a_png(staged):
    _, changed, *rest = staged
    Image.fromarray(staged[-1].pixels[0]).save(changed, "JPEG", quality=95)
    assert any(
        "PNG of the original's size" in question for question in failed(staged[0], changed, *rest)
    )


def test_a_budget_exceeded_by_one_level(staged):
    original, changed, scene, sight, asked, found = staged
    pixels = found.pixels.astype(int)
    step = pixels - scene.pixels
    place = np.unravel_index(np.abs(step).argmax(), step.shape)
    pixels[place] += np.sign(step[place])
    assert np.abs(pixels - scene.pixels).max() == asked.levels + 1
    write_picture(changed, pixels.clip(0, 255).astype(np.uint8))
    (question,) = failed(original, changed, scene, sight, asked, found)
    assert "within the budget" in question


def test_another_size(staged):
    original, changed, *rest = staged
    write_picture(changed, rest[-1].pixels[:, :-1])
    (question,) = failed(original, changed, *rest)
    assert "of the original's size" in question


def test_an_original_that_is_not_the_picture(staged):
    original, changed, *rest = staged
    write_picture(original, 255 - rest[0].pixels)
    assert any("still taken for" in question for question in failed(original, changed, *rest))


def test_a_wrong_crop_in_the_search(tmp_path, lenet, larger, monkeypatch):
    """The layer looks at the left end of the picture; the file is read in the middle."""
    window = Sight.window

    def left(self, height, width):
        top, _, high, wide = window(self, height, width)
        return top, 0, high, wide

    file = larger(44, 140)
    monkeypatch.setattr(Sight, "window", left)
    scene, sight, asked = stage(read_file(file), lenet, Request(None, 0.3))
    monkeypatch.setattr(Sight, "window", window)
    sight_seen = scene.seen.module.window
    assert sight_seen != sight.window(44, 140)
    label = int(scene.chances(scene.pixels).argmax())
    scene = replace(scene, label=label)
    found = scene.search(asked, "0.3")
    original, changed = tmp_path / "original.png", tmp_path / "fooled.png"
    write_picture(original, scene.pixels)
    write_picture(changed, found.pixels)
    assert failed(original, changed, scene, sight, asked, found)


def test_a_reader_who_crops_otherwise(staged):
    """The sight itself is wrong, and so is the search: torchvision's own pipeline is not."""
    original, changed, scene, sight, asked, found = staged
    other = replace(sight, resize=None)
    blank = np.zeros_like(scene.pixels)
    odd = replace(scene, read=lambda pixels: other.read(blank + pixels[:, ::-1]))
    assert failed(original, changed, odd, sight, asked, found)


def test_a_network_that_answers_otherwise_in_a_batch(staged, monkeypatch):
    original, changed, scene, sight, asked, found = staged
    call = type(scene.backbone).__call__

    def moody(self, x):
        logits = call(self, x)
        return logits if len(x) == 1 else logits + 1e4 * torch.eye(10)[scene.label]

    monkeypatch.setattr(type(scene.backbone), "__call__", moody)
    told = failed(original, changed, scene, sight, asked, found)
    assert any("another batch" in question for question in told)


def test_a_claim_is_no_success(tmp_path, lenet, forget, monkeypatch):
    """An attack that gives the clean picture back and says it succeeded."""
    from robustlab import Attack, probe

    @probe("boaster")
    class Boaster(Attack):
        """Claims everything."""

        def search(self, model, x, y, start, threat, rng):
            return x, torch.ones(len(x), dtype=torch.bool)

    found = fool(DIGIT, backbone=lenet, attack="boaster", eps=0.2, out=tmp_path / "a")
    assert not found.succeeded
    assert any("bear out" in one.question and not one.passed for one in found.checks)
