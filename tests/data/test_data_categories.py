"""ImageNet's classes by name and index; folders, tables and samples labelled by them."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as drawn

from robustlab.data import load_data, samples
from robustlab.data.categories import class_finder, class_names
from robustlab.data.wordnet import synsets
from robustlab.errors import BadRequest

RNG = np.random.default_rng(5)


def picture(path, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def check_finder(find):
    """Every name and index of torchvision's list leads to its own place; forms of a name too."""
    for index, name in enumerate(class_names()):
        assert find(name) == index
        assert find(str(index)) == index
        assert find(synsets()[index]) == index
    assert find("Giant_Panda") == 388
    assert find("  vulture ") == 23
    assert (find("Cardigan"), find("cardigan")) == (264, 474)  # a dog, and what one wears


def test_names_and_indices():
    check_finder(class_finder("here"))


@pytest.mark.parametrize(
    "mutant",
    [
        lambda text: class_finder("x")(text.lower()),
        lambda text: int(text) + 1 if text.isdecimal() else class_finder("x")(text),
        lambda text: sorted(class_names()).index(text) if text in class_names() else 388,
    ],
    ids=["case", "from 1", "alphabetical"],
)
def test_a_finder_that_is_wrong_is_seen(mutant):
    with pytest.raises((AssertionError, BadRequest)):
        check_finder(mutant)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vultur", "here: 'vultur' is none of ImageNet's classes; did you mean 'vulture'"),
        ("qqqq", "write a name as 'giant panda', an index from 0 to 999 or a WordNet id"),
        ("1000", "class 1000 is none of ImageNet's; they run from 0 to 999"),
        ("n01440765", "'n01440765' is none of"),
        ("-1", "none of ImageNet's classes"),
        ("", "none of ImageNet's classes"),
        ("CARDIGAN", r"is two of ImageNet's classes, 'Cardigan' \(264\) and 'cardigan' \(474\)"),
    ],
)
def test_no_such_class(text, message):
    with pytest.raises(BadRequest, match=message):
        class_finder("here")(text)


def test_folders_of_imagenet_classes(tmp_path):
    for name in ("giant_panda", "23", "Siamese cat", "n01440764"):
        picture(tmp_path / "mine" / name / "1.png")
    data = load_data(f"folder:{tmp_path}/mine?classes=imagenet")
    assert data.classes == class_names()
    assert dict(zip(data.ids, data.labels.tolist(), strict=True)) == {
        "mine/giant_panda/1.png": 388,
        "mine/23/1.png": 23,
        "mine/n01440764/1.png": 0,
        "mine/Siamese cat/1.png": 284,
    }


def test_one_folder_is_enough_where_the_classes_are_known(tmp_path):
    picture(tmp_path / "388" / "1.png")
    assert load_data(f"folder:{tmp_path}?classes=imagenet").labels.tolist() == [388]
    with pytest.raises(BadRequest, match="is the only class folder"):
        load_data(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("folder", "options", "message"),
    [
        ("giant pnda", "classes=imagenet", "'giant pnda' is none .* did you mean 'giant panda'"),
        ("a", "classes=imagnet", "unknown classes 'imagnet'; did you mean 'imagenet'"),
    ],
)
def test_folders_that_are_no_class(tmp_path, folder, options, message):
    picture(tmp_path / folder / "1.png")
    picture(tmp_path / "388" / "1.png")
    with pytest.raises(BadRequest, match=message):
        load_data(f"folder:{tmp_path}?{options}")


def table(root, text, name="t.csv"):
    root.mkdir(exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_a_table_of_imagenet_classes(tmp_path):
    root = tmp_path / "set"
    pixels = [picture(root / f"{one}.png", size=(8, 8)) for one in "abc"]
    path = table(root, "Id,TrueLabel\nb.png,389\na,24\nc,giant panda\n")
    source = f"csv:{path}?file=Id&label=TrueLabel&first=1&classes=imagenet"
    data = load_data(source)
    assert data.labels.tolist() == [388, 23, 388]
    assert data.ids == ("set/b.png", "set/a", "set/c")
    assert (data.name, data.classes) == ("set", class_names())
    np.testing.assert_array_equal(data.images[0].transpose(1, 2, 0), pixels[1])
    assert load_data(source.replace("first=1&", "")).labels.tolist() == [389, 24, 388]
    assert load_data(f"{source}&size=4").shape == (3, 4, 4)


def test_a_table_of_its_own_classes(tmp_path):
    for one in "abc":
        picture(tmp_path / f"{one}.png")
    path = table(tmp_path, "file,label,x\na,dog,1\nb,cat,2\nc,dog,3\n")
    data = load_data(f"csv:{path}")
    assert (data.classes, data.labels.tolist()) == (("cat", "dog"), [1, 0, 1])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("file,label\n", "", "there are no rows"),
        ("", "", "there is no column 'file'; there is none"),
        ("name,label\na,b\n", "", r"no column 'file'; there is label, name \(name it by \?file="),
        ("file,lable\na,b\n", "", "no column 'label'; did you mean 'lable'"),
        ("file,label\na,\n", "", "row 2: 'label' is empty"),
        ("file,label\na\n", "", "row 2: 'label' is empty"),
        ("file,label\nz,x\n", "", "there is no picture .*z'"),
        ("file,label\na,x\na.png,y\n", "", "'a.png' stands in two rows"),
        ("file,label\na,x\n", "", "'x' is the only class"),
        ("file,label\na,x\n", "?first=1", "first=1 counts indices; add classes=imagenet"),
        ("file,label\na,vultur\n", "?classes=imagenet", "row 2: .*did you mean 'vulture'"),
        ("file,label\na,0\n", "?classes=imagenet&first=1", "row 2: .*label 0 is below first=1"),
        ("file,label\na,1001\n", "?classes=imagenet&first=1", "class 1000 is none"),
        ("file,label\na,1\n", "?classes=imagenet&first=2", "unknown first '2'"),
        ("file,label\na,1\n", "?class=imagenet", "unknown option 'class'; did you mean 'classes'"),
        ('file,label\n"a,1\n', "?classes=imagenet", "no readable table"),
        ("file,label\ntwo,1\n", "?classes=imagenet", "there is two.jpg, two.png: say which"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, options, message):
    for name in ("a.png", "two.png", "two.jpg"):
        picture(tmp_path / name)
    with pytest.raises(BadRequest, match=message):
        load_data(f"csv:{table(tmp_path, text)}{options}")


@pytest.mark.parametrize("options", ["", "?classes=imagenet"])
def test_no_such_table(tmp_path, options):
    with pytest.raises(BadRequest, match="there is no such file"):
        load_data(f"csv:{tmp_path}/none.csv{options}")


def test_samples_are_what_the_package_ships():
    data = load_data("samples:imagenet")
    assert (data.shape, len(data), data.classes) == ((3, 224, 224), 20, class_names())
    assert len(set(data.ids)) == 20
    named = [int(one.rpartition("_")[2]) for one in data.ids]
    assert data.labels.tolist() == named
    file = samples._folder() / f"{data.ids[7].rpartition('/')[2]}.jpg"
    with Image.open(file) as image:
        scaled = drawn.resize(image, [256], InterpolationMode.BILINEAR, antialias=True)
        crop = np.asarray(drawn.center_crop(scaled, [224])).transpose(2, 0, 1)
    np.testing.assert_array_equal(data.images[7], crop)
    assert load_data("samples:imagenet?resize=64&size=64&interpolation=bicubic").shape[1] == 64


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("samples:imgenet", "there is no set 'imgenet'; did you mean 'imagenet'"),
        ("samples:", "there is no set ''"),
        ("samples:imagenet?mode=L", "unknown option 'mode'"),
        ("samples:imagenet?resize=100&size=224", "give a size of at most 100"),
    ],
)
def test_samples_that_are_not_there(source, message):
    with pytest.raises(BadRequest, match=message):
        load_data(source)


def test_a_package_without_pictures_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(samples, "_folder", lambda: tmp_path / "none")
    with pytest.raises(BadRequest, match="holds none of its sample pictures"):
        load_data("samples:imagenet")
