"""One picture from beginning to end on a shipped network: what is written is what is told."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robustlab
from robustlab.backbones import load_backbone
from robustlab.errors import BadRequest
from robustlab.fooling.checks import check_file
from robustlab.fooling.keeping import write_picture
from robustlab.fooling.pictures import from_data, read_file
from robustlab.fooling.search import Scene, measure, within
from robustlab.fooling.sight import Sight
from robustlab.fooling.smallest import smallest
from robustlab.fooling.tale import Request, stage

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

fool = partial(robustlab.fool, evidence=False)
DIGIT = "digits:test#3"  # a six


@pytest.fixture(scope="module")
def lenet():
    return load_backbone("lenet5-max@digits")


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


def picture(tmp_path, height=44, width=61):
    """A digit somewhere in a larger picture: resize and crop have something to do."""
    inner = from_data(DIGIT).pixels[0]
    small = np.asarray(Image.fromarray(inner).resize((40, 40), Image.Resampling.BICUBIC))
    whole = np.zeros((height, width), np.uint8)
    whole[2:42, 10:50] = small
    Image.fromarray(whole).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_through_resize_and_crop(tmp_path, lenet):
    file = picture(tmp_path)
    found = fool(file, backbone=lenet, eps=0.3, out=tmp_path / "a")
    assert found.succeeded
    assert found.changed.shape == (1, 44, 61)
    with Image.open(tmp_path / "a" / "fooled.png") as image:
        image = image.resize((44, 32), Image.Resampling.BILINEAR).crop((6, 0, 38, 32))
        x = np.asarray(image)[None, None] / np.float32(255)
    assert int(lenet(x).argmax()) == found.after.index != found.before.index


def test_on_the_crop(tmp_path, lenet):
    file = picture(tmp_path)
    found = fool(file, backbone=lenet, eps=0.2, on="crop", out=tmp_path / "a")
    assert found.succeeded
    assert found.changed.shape == (1, 32, 32)
    # The file is the network's image: nothing is resized any more.
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


# Mutants: each must make a check fail ----------------------------------------------------------


@pytest.fixture
def staged(tmp_path, lenet):
    """Everything that a check is asked of: scene, sight, budget, a real answer, two files."""
    scene, sight, asked = stage(read_file(picture(tmp_path)), lenet, Request(None, 0.3))
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


def test_a_wrong_crop_in_the_search(tmp_path, lenet, monkeypatch):
    """The layer looks at the left end of the picture; the file is read in the middle."""
    window = Sight.window

    def left(self, height, width):
        top, _, high, wide = window(self, height, width)
        return top, 0, high, wide

    file = picture(tmp_path, 44, 140)
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


def test_bisection_finds_the_first_level_that_works(lenet):
    """On a judge that is known: everything from 7 levels on works."""
    scene, _, asked = stage(from_data(DIGIT), lenet, Request(8, 0.2))
    whole, tried = Scene.search, []

    def known(self, asked, eps):
        levels = round(float(asked.made(eps, 8).budgets((1, 32, 32))[0].value * 255))
        tried.append(levels)
        pixels = np.where(self.pixels > 127, self.pixels - levels, self.pixels + levels)
        return replace(start, pixels=pixels.astype(np.uint8), hit=levels >= 7)

    start = whole(scene, asked, "0.2")
    try:
        Scene.search = known
        best, tries = smallest(scene, asked, known(scene, asked, "51/255"))
    finally:
        Scene.search = whole
    assert measure(best.pixels, scene.pixels).linf == 7
    assert tries == len(tried) - 1 <= 6


def test_sizes_in_grey_levels():
    clean = np.zeros((3, 2, 2), np.uint8)
    changed = clean.copy()
    changed[0, 0, 0], changed[1, 0, 0], changed[2, 1, 1] = 3, 4, 12
    found = measure(changed, clean)
    assert (found.linf, found.l1, found.l0, found.pixels) == (12, 19.0, 2, 4)
    assert found.l2 == pytest.approx(13.0)
    assert within(changed, clean, "linf", 12 / 255)
    assert not within(changed, clean, "linf", 11 / 255)
    assert within(changed, clean, "l2", 13 / 255)
    assert not within(changed, clean, "l2", 12.9 / 255)
    assert within(changed, clean, "l0", 2)
    assert not within(changed, clean, "l0", 1)
    assert not within(changed[:, :1], clean, "linf", 1.0)


# Bad requests: told, nothing written ----------------------------------------------------------


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
    fool(DIGIT, target=8, backbone=lenet, eps=0.2, out=tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    fool(DIGIT, target=1, backbone=lenet, eps="1/255", out=tmp_path)
    assert not (tmp_path / "smallest.png").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "fooled.json").read_text())["succeeded"] is False


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
