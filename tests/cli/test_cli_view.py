"""view: one PNG or one page of a probe on one network and image, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from robustlab.backbones import load_backbone
from robustlab.cli.image import image_of, in_front
from robustlab.cli.viewing import _default
from robustlab.data import load_data
from robustlab.errors import BadRequest
from robustlab.filters.first_layer import first_layer

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

NET = "lenet5-max@digits"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(path, size=(32, 32), mode="L", seed=0):
    """A picture of noise, of ``size`` (height, width)."""
    shape = size if mode == "L" else (*size, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_a_picture_of_the_weights_needs_no_image(lab, here):
    done = lab("view", "first_layer", NET)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[-2] == "picture: first_layer-lenet5-max@digits.png"
    assert "with -o first_layer-lenet5-max@digits.html" in lines[-1]
    drawn = np.asarray(Image.open(here / "first_layer-lenet5-max@digits.png"))
    blank = load_data("digits:test", take=10).subset([0])
    together = first_layer(load_backbone(NET), blank).pictures[0].pixels
    scale = 900 // max(p.pixels.shape[1] for p in first_layer(load_backbone(NET), blank).pictures)
    height, width = together.shape
    grown = together.repeat(scale, 0).repeat(scale, 1)
    assert np.array_equal(drawn[: height * scale, : width * scale, 0], grown)


def test_a_view_of_an_image_of_a_data_set(lab, here):
    done = lab("view", "feature_maps", NET, "digits:test#3", "--set", "layer=conv2", "--json")
    assert done.json["file"] == "feature_maps-lenet5-max@digits-digits-test-3-layer-conv2.png"
    assert load_data("digits:test").ids[3] in done.json["told"][0]
    assert "layer conv2" in done.json["told"][0]


def test_another_question_takes_no_picture_away(lab, here):
    for asked in (["digits:test#3"], ["digits:test#4"], ["digits:test#3", "--set", "layer=conv1"]):
        assert lab("view", "feature_maps", NET, *asked).code == 0
    assert len(list(here.glob("*.png"))) == 3


def test_long_questions_that_begin_alike_have_files_of_their_own():
    long = [_default(("view", "net", *["x" * 70] * 4, end)).name for end in ("a", "b")]
    assert long[0] != long[1]
    assert all(len(name.encode()) < 255 for name in [*long, _default(("é" * 80,) * 9).name])


def test_a_page(lab, here):
    done = lab(
        *("view", "retrieval", NET, "digits:test#3", "--data", "digits:test", "--take", "12"),
        *("--set", "eps=0.1", "--set", "steps=2", "--set", "queries=3", "-o", "near.html"),
    )
    assert (done.code, done.out.splitlines()[-1]) == (0, "page: near.html")
    page = (here / "near.html").read_text(encoding="utf-8")
    assert load_data("digits:test").ids[3] in page
    assert "robustlab view" in page or "How this was made" in page
    assert sorted(one.name for one in here.iterdir()) == ["near.html"]


def test_a_picture_that_fits_is_taken_as_it_is(here):
    backbone = load_backbone(NET)
    pixels = picture(here / "a.png")
    data = image_of("a.png", backbone, False)
    assert np.array_equal(data.images[0, 0], pixels)
    assert data.labels[0] == int(backbone(data.batch([0])).argmax())
    assert data.ids == ("a.png",)


def test_a_grey_picture_saved_in_colour_is_grey(here):
    pixels = picture(here / "a.png")
    Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)).save(here / "b.png")
    assert np.array_equal(image_of("b.png", load_backbone(NET), False).images[0, 0], pixels)


def test_fitting_scales_crops_and_greys(here):
    picture(here / "a.png", (64, 96), "RGB")
    data = image_of("a.png", load_backbone(NET), True)
    assert data.images.shape == (1, 1, 32, 32)
    wide = Image.open(here / "a.png").crop((16, 0, 80, 64)).resize((32, 32), 3).convert("L")
    inside = (slice(None), slice(2, -2))  # at a cut the one sees the pixels beyond, the other not
    apart = data.images[0, 0].astype(int)[inside] - np.asarray(wide, int)[inside]
    assert np.abs(apart).max() <= 1


def test_a_grey_picture_for_a_colour_network(here):
    picture(here / "a.png")
    backbone = load_backbone("resnet20?width=4&seed=0")
    assert image_of("a.png", backbone, False).images.shape == (1, 3, 32, 32)
    data = image_of("digits:test#0", backbone, True)
    assert data.images.shape == (1, 3, 32, 32)
    with pytest.raises(BadRequest, match="or give --fit"):
        image_of("digits:test#0", backbone, False)


def test_the_image_stands_in_front_of_the_data_once():
    data = load_data("digits:test", take=10)
    source = load_data("digits:test")
    place = source.ids.index(data.ids[4])
    joined = in_front(source.subset([place]), data)
    assert joined.ids[0] == data.ids[4]
    assert sorted(joined.ids) == sorted(data.ids)
    assert np.array_equal(joined.images[0], data.images[4])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["first_lair", NET], "did you mean 'first_layer'?"),
        (["pgd", NET], "is an attack, not a view"),
        (["first_layer", "lenet5-maks@digits"], "lenet5-max@digits"),
        (["first_layer", "mlp@digits"], "no convolution with shared weights"),
        (["kernels", NET, "--set", "layer=conv3"], "no convolution 'conv3'; did you mean 'conv"),
        (["kernels", NET, "--set", "layers=conv1"], "did you mean 'layer'?"),
        (["kernels", NET, "--set", "layer"], "write NAME=VALUE"),
        (["kernels", NET, "-o", "a.jpg"], "name a file .png or .html"),
        (["feature_maps", NET], "needs an image"),
        (["feature_maps", NET, "large.png"], "is 40x48 pixels (height x width)"),
        (["feature_maps", NET, "colour.png"], "is in colour"),
        (["feature_maps", NET, "larger.png"], "did you mean 'large.png'?"),
        (["feature_maps", NET, "text.png"], "no readable image"),
        (["feature_maps", NET, "digits:test#360"], "digits:test#0 to digits:test#359"),
        (["feature_maps", NET, "digits:test#-1"], "digits:test#0 to digits:test#359"),
        (["feature_maps", NET, "digts:test#1"], "unknown data source 'digts:test'"),
        (["first_layer", NET, "--take", "3"], "--take 3 of what?"),
        (["shift", NET, "digits:test#1", "--set", "radius=1"], "name a page: -o shift.html"),
        (["retrieval", NET, "digits:test#1", "-o", "a.html"], "neighbours of each need"),
    ],
)
def test_what_is_refused(lab, here, arguments, told):
    picture(here / "large.png", (40, 48))
    picture(here / "colour.png", mode="RGB")
    (here / "text.png").write_text("no picture")
    before = sorted(here.iterdir())
    done = lab("view", *arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert sorted(here.iterdir()) == before


def test_views_are_listed(lab):
    names = [row["name"] for row in lab("list", "views", "--json").json]
    wanted = {"feature_maps", "filter_bank", "first_layer", "kernels", "retrieval"}
    assert wanted <= set(names)
    assert not {"clean", "shift", "pgd"} & set(names)
    assert "next: robustlab view first_layer" in lab("list", "views").out
