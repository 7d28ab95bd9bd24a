"""Folders of image files: what is read, and every file that cannot be."""

import numpy as np
import pytest
from PIL import Image

from robustlab.data import load_data
from robustlab.errors import BadRequest

RNG = np.random.default_rng(2)


def picture(path, size=(6, 4), mode="RGB"):
    """A random picture of ``size`` (width, height); returns its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_classes_are_sorted_folders(tmp_path):
    root = tmp_path / "pets"
    dog = picture(root / "dog" / "b.png")
    cat = picture(root / "cat" / "sub" / "a.png")
    (root / "dog" / "notes.txt").write_text("no image")
    (root / "cat" / ".hidden.png").write_text("no image")
    (root / ".git").mkdir()
    data = load_data(f"folder:{root}")
    assert data.classes == ("cat", "dog")
    assert data.ids == ("pets/cat/sub/a.png", "pets/dog/b.png")
    assert data.labels.tolist() == [0, 1]
    assert data.shape == (3, 4, 6)
    np.testing.assert_array_equal(data.images.transpose(0, 2, 3, 1), [cat, dog])


def test_grey_stays_grey_and_mode_overrides(tmp_path):
    grey = picture(tmp_path / "a" / "1.png", mode="L")
    data = load_data(f"folder:{tmp_path}")
    np.testing.assert_array_equal(data.images[0, 0], grey)
    assert data.classes == ("a",)  # one class is enough
    assert load_data(f"folder:{tmp_path}?mode=RGB").shape == (3, 4, 6)
    picture(tmp_path / "a" / "2.png")
    assert load_data(f"folder:{tmp_path}").shape == (3, 4, 6)
    assert load_data(f"folder:{tmp_path}?mode=L").shape == (1, 4, 6)


def test_size_crops_the_middle(tmp_path):
    pixels = picture(tmp_path / "a" / "1.png", size=(8, 4))
    data = load_data(f"folder:{tmp_path}?size=4")
    np.testing.assert_array_equal(data.images[0].transpose(1, 2, 0), pixels[:, 2:6])


@pytest.mark.parametrize("kind", ["palette", "transparent", "bilevel"])
def test_other_kinds_of_png(tmp_path, kind):
    (tmp_path / "a").mkdir()
    grey = Image.fromarray(RNG.integers(0, 256, (4, 4), dtype=np.uint8))
    if kind == "palette":
        grey.convert("RGB").convert("P").save(tmp_path / "a/1.png", transparency=bytes(range(256)))
    elif kind == "transparent":
        grey.convert("RGBA").save(tmp_path / "a/1.png")
    else:
        grey.convert("1").save(tmp_path / "a/1.png")
    data = load_data(f"folder:{tmp_path}?size=2")
    assert data.shape == (1 if kind == "bilevel" else 3, 2, 2)


def damaged(path):
    picture(path, size=(40, 40))
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("how", ["text", "cut off", "empty"])
def test_a_broken_image_is_named(tmp_path, how):
    picture(tmp_path / "a" / "1.png")
    bad = tmp_path / "a" / "2.png"
    if how == "cut off":
        damaged(bad)
    else:
        bad.write_text("no image" if how == "text" else "")
    with pytest.raises(BadRequest, match=r"2\.png: no readable image.*repair or remove"):
        load_data(f"folder:{tmp_path}")


def test_differing_sizes_name_the_first_that_differs(tmp_path):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "a" / "2.png")
    picture(tmp_path / "b" / "3.png", size=(7, 4))
    with pytest.raises(BadRequest, match=r"3\.png: this image is 7x4 .* 6x4; .*\?size=4"):
        load_data(f"folder:{tmp_path}")
    assert load_data(f"folder:{tmp_path}?size=4").shape == (3, 4, 4)


@pytest.mark.parametrize("factor", [1, 3])
def test_decompression_bombs(tmp_path, monkeypatch, factor):
    """Both of Pillow's thresholds: it warns at the first and refuses at twice that."""
    picture(tmp_path / "a" / "1.png", size=(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1599 // factor)
    with pytest.raises(BadRequest, match=r"1\.png.*decompression bomb"):
        load_data(f"folder:{tmp_path}")


def test_deep_pixels_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(BadRequest, match=r"1\.png: pixels have more than 8 bits"):
        load_data(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("prepare", "query", "message"),
    [
        (lambda root: None, "/none", "no such folder"),
        (lambda root: None, "", "no class folders; make one"),
        (lambda root: picture(root / "1.png"), "", "belong to no class"),
        (lambda root: (root / "a").mkdir(), "", r"/a: this class holds no images \(\.bmp"),
        (lambda root: picture(root / "a" / "1.png"), "?sise=3", "'sise'; did you mean 'size'"),
        (lambda root: picture(root / "a" / "1.png"), "?size=big", "size 'big'"),
        (lambda root: picture(root / "a" / "1.png"), "?size=0", "size '0'"),
        (lambda root: picture(root / "a" / "1.png"), "?mode=RGBA", "'RGBA'; did you mean 'RGB'"),
        (lambda root: picture(root / "a" / "1.png"), "?size", "'size' is not of the form"),
        (lambda root: picture(root / "a" / "1.png"), "?size=2&size=3", "given twice"),
    ],
)
def test_folders_that_cannot_be_read(tmp_path, prepare, query, message):
    prepare(tmp_path)
    with pytest.raises(BadRequest, match=message):
        load_data(f"folder:{tmp_path}{query}")
