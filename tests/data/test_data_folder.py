"""Folders of image files: what is read, and every file that cannot be."""

import os

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


def two_classes(root, **how):
    """One picture in each of the classes ``a`` and ``b``."""
    for name in ("a", "b"):
        picture(root / name / "1.png", **how)


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
    picture(tmp_path / "b" / "1.png", mode="L")
    grey = picture(tmp_path / "a" / "1.png", mode="L")
    data = load_data(f"folder:{tmp_path}")
    np.testing.assert_array_equal(data.images[0, 0], grey)
    assert load_data(f"folder:{tmp_path}?mode=RGB").shape == (3, 4, 6)
    picture(tmp_path / "a" / "2.png")
    assert load_data(f"folder:{tmp_path}").shape == (3, 4, 6)
    assert load_data(f"folder:{tmp_path}?mode=L").shape == (1, 4, 6)


def test_size_crops_the_middle(tmp_path):
    pixels = picture(tmp_path / "a" / "1.png", size=(8, 4))
    picture(tmp_path / "b" / "1.png", size=(8, 9))
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
    picture(tmp_path / "b" / "1.png", mode="L")
    data = load_data(f"folder:{tmp_path}?size=2")
    assert data.shape == (1 if kind == "bilevel" else 3, 2, 2)


def damaged(path):
    picture(path)
    path.write_bytes(path.read_bytes()[:80])


@pytest.mark.parametrize("how", ["text", "cut off", "empty"])
def test_a_broken_image_is_named(tmp_path, how):
    two_classes(tmp_path)
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
    two_classes(tmp_path, size=(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1599 // factor)
    with pytest.raises(BadRequest, match=r"1\.png.*decompression bomb"):
        load_data(f"folder:{tmp_path}")


def test_deep_pixels_are_refused(tmp_path):
    two_classes(tmp_path)
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(BadRequest, match=r"1\.png: pixels have more than 8 bits"):
        load_data(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("prepare", "query", "message"),
    [
        (lambda root: None, "/none", "no such folder"),
        (lambda root: None, "", "no class folders; make one"),
        (lambda root: picture(root / "1.png"), "", "belong to no class"),
        (
            lambda root: [(root / k).mkdir() for k in "ab"],
            "",
            r"/a: this class holds no images \(\.bmp",
        ),
        (two_classes, "?sise=3", "'sise'; did you mean 'size'"),
        (two_classes, "?size=big", "size 'big'"),
        (two_classes, "?size=0", "size '0'"),
        (two_classes, "?mode=RGBA", "'RGBA'; did you mean 'RGB'"),
        (two_classes, "?size", "'size' is not of the form"),
        (two_classes, "?size=2&size=3", "given twice"),
        (two_classes, "?resize=8", "give a size of at most 8"),
        (two_classes, "?resize=8&size=9", "give a size of at most 8"),
        (two_classes, "?size=8&interpolation=bicubic", "goes with resize; add resize=256"),
        (two_classes, "?interpolation=cubic", "'cubic'; did you mean 'bicubic'"),
    ],
)
def test_folders_that_cannot_be_read(tmp_path, prepare, query, message):
    prepare(tmp_path)
    with pytest.raises(BadRequest, match=message):
        load_data(f"folder:{tmp_path}{query}")


@pytest.mark.parametrize("where", ["a/pets/only", "a/pets", "a"])
def test_one_class_is_refused_and_the_folder_that_was_meant_is_named(tmp_path, where):
    """Given the folder above or below the one with the classes, the error names that one."""
    pets = tmp_path / "a" / "pets"
    two_classes(pets)
    if where == "a/pets/only":
        picture(pets / "only" / "deeper" / "1.png")
        picture(pets / "only" / "2.png")
    if where == "a/pets":
        assert load_data(f"folder:{pets}").classes == ("a", "b")
        return
    with pytest.raises(BadRequest, match="is the only class folder, and one class cannot") as told:
        load_data(f"folder:{tmp_path / where}")
    assert f"did you mean 'folder:{pets}' with 'a', 'b', ...?" in str(told.value)


def test_one_class_without_a_folder_that_was_meant(tmp_path):
    picture(tmp_path / "x" / "a" / "1.png")
    with pytest.raises(BadRequest, match=r"'a' is the only class folder.* beside it$"):
        load_data(f"folder:{tmp_path / 'x'}")


def test_loose_images_of_a_class_name_the_folder_above(tmp_path):
    two_classes(tmp_path)
    with pytest.raises(BadRequest, match=f"did you mean 'folder:{tmp_path}' with 'a', 'b'"):
        load_data(f"folder:{tmp_path / 'a'}")


@pytest.mark.parametrize(
    ("splits", "meant"), [(("train", "val"), "val"), (("train", "test"), "test"), ("xy", "x")]
)
def test_splits_are_not_classes(tmp_path, splits, meant):
    for split in splits:
        two_classes(tmp_path / split)
    with pytest.raises(BadRequest, match="look like splits, not classes") as told:
        load_data(f"folder:{tmp_path}")
    assert f"did you mean 'folder:{tmp_path / meant}' with 'a', 'b', ...?" in str(told.value)
    assert load_data(f"folder:{tmp_path / meant}").classes == ("a", "b")


@pytest.mark.parametrize("what", ["a picture beside", "one folder each", "other folders"])
def test_classes_with_folders_in_them_are_classes(tmp_path, what):
    for name in ("cat", "dog"):
        picture(tmp_path / name / "outdoors" / "1.png")
        if what != "one folder each":
            picture(
                tmp_path / name / ("sofa" if what == "other folders" else "in") / name / "2.png"
            )
    if what == "a picture beside":
        picture(tmp_path / "dog" / "3.png")
    if what == "other folders":
        picture(tmp_path / "dog" / "kennel" / "3.png")
    assert load_data(f"folder:{tmp_path}").classes == ("cat", "dog")


@pytest.mark.parametrize("where", [b"a/\xff.png", b"a/\xff/1.png", b"\xff/1.png"])
@pytest.mark.parametrize("take", [None, 1])
def test_a_name_that_is_not_utf8_is_named(tmp_path, where, take):
    """As an id it could be neither hashed nor written down."""
    two_classes(tmp_path)
    bad = os.path.join(os.fsencode(tmp_path), where)
    os.makedirs(os.path.dirname(bad), exist_ok=True)
    try:
        os.link(tmp_path / "a" / "1.png", bad)
    except OSError:  # macOS takes no such name
        pytest.skip("this file system takes only names in UTF-8")
    with pytest.raises(BadRequest, match=r"\\xff.*: this name is not UTF-8; rename"):
        load_data(f"folder:{tmp_path}", take=take)


def test_a_question_mark_in_a_path(tmp_path):
    """It starts the options: said where the folder in front of it is not there."""
    two_classes(tmp_path / "what?")
    for query in ("", "?size=4", "/more"):
        with pytest.raises(BadRequest, match=r"no such folder as '.*/what'; the first '\?' starts"):
            load_data(f"folder:{tmp_path}/what?{query}")
    (tmp_path / "what").mkdir()
    with pytest.raises(BadRequest, match="not of the form name=value"):
        load_data(f"folder:{tmp_path}/what?")


@pytest.mark.parametrize("n", [1, 4, 12])
@pytest.mark.parametrize("query", ["", "?size=3", "?size=3&mode=L", "?size=3&resize=4"])
def test_take_decodes_what_it_takes_alone(tmp_path, n, query):
    """As to decode all and then take, in grey or colour by all files, though none but the taken
    can be decoded; to decode all is what dies of it.
    """
    for name, count in (("cat", 7), ("dog", 5)):
        for index in range(count):
            picture(tmp_path / name / f"{index}.png", mode="L" if name == "cat" else "RGB")
    source = f"folder:{tmp_path}{query}"
    whole = load_data(source).take(n, 3)
    for file in tmp_path.rglob("*.png"):
        if f"{tmp_path.name}/{file.relative_to(tmp_path)}" not in whole.ids:
            file.write_bytes(file.read_bytes()[:60])
    part = load_data(source, take=n, seed=3)
    assert part.fingerprint == whole.fingerprint
    assert (part.classes, part.name, part.ids) == (whole.classes, whole.name, whole.ids)
    if n < 12:
        with pytest.raises(BadRequest, match="no readable image"):
            load_data(source).take(n, 3)


def test_resize_is_torchvisions_evaluation(tmp_path):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as drawn

    two_classes(tmp_path, size=(31, 20))
    for interpolation in ("bilinear", "bicubic"):
        query = f"?resize=12&size=9&interpolation={interpolation}"
        data = load_data(f"folder:{tmp_path}{query}")
        with Image.open(tmp_path / "a" / "1.png") as image:
            scaled = drawn.resize(image, [12], InterpolationMode(interpolation))
            wanted = drawn.pil_to_tensor(drawn.center_crop(scaled, [9])).numpy()
        np.testing.assert_array_equal(data.images[0], wanted)
        assert (load_data(f"folder:{tmp_path}?size=9").images[0] != wanted).any()  # other crops do


def test_a_strip_that_resizing_would_blow_up(tmp_path):
    two_classes(tmp_path, size=(1, 4000))
    with pytest.raises(BadRequest, match=r"1\.png: 1x4000 pixels with the shorter side at 4000"):
        load_data(f"folder:{tmp_path}?resize=4000&size=32&mode=L")
