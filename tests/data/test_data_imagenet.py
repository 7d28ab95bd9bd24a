"""Folders of ImageNet: which index a synset gets, and pixels as torchvision evaluates them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet18_Weights

from robustlab.data import load_data
from robustlab.data.pictures import fit
from robustlab.errors import BadRequest

NAMES = ResNet18_Weights.DEFAULT.meta["categories"]
SYNSETS = [f"n{10**6 + 7 * k:08d}" for k in range(1000)]
RNG = np.random.default_rng(8)


def picture(path, size=(300, 280), mode="RGB"):
    """A smooth random picture, so that interpolation matters and JPEG keeps it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    small.resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)


def kaggle(path):
    """Kaggle's list: the id, a blank and the names; in any order."""
    lines = [f"{name} some fish, {index} of them" for index, name in enumerate(SYNSETS)]
    path.write_text("\n".join(reversed(lines)) + "\n")


@pytest.fixture
def few(tmp_path):
    """Three synsets of the 1,000 in ``val``, and Kaggle's list beside it."""
    for index in (7, 388, 999):
        picture(tmp_path / "val" / SYNSETS[index] / f"ILSVRC2012_val_{index:08d}.JPEG")
    kaggle(tmp_path / "LOC_synset_mapping.txt")
    return tmp_path


def test_labels_names_ids(few):
    data = load_data(f"imagenet:{few}")
    assert data.labels.tolist() == [7, 388, 999]
    assert (len(data.classes), data.classes[388]) == (1000, "giant panda")
    assert data.ids[1] == f"imagenet/{SYNSETS[388]}/ILSVRC2012_val_00000388.JPEG"
    assert (data.shape, data.name) == ((3, 224, 224), "imagenet:val")
    assert len(set(data.classes)) == 1000


def test_the_split_s_own_folder_is_the_same_data(few):
    whole = load_data(f"imagenet:{few}")
    for source in (f"{few / 'val'}", f"{few}?split=val", f"{few / 'val'}?split=val"):
        assert load_data(f"imagenet:{source}").fingerprint == whole.fingerprint


def check_preprocessing(data, files, weights):
    """Torchvision's transform of these weights, taken back before its normalisation."""
    transform = weights.transforms()
    mean, std = (torch.tensor(one)[:, None, None] for one in (transform.mean, transform.std))
    for image, file in zip(data.images, files, strict=True):
        with Image.open(file) as opened:
            wanted = transform(opened.convert("RGB")) * std + mean
        torch.testing.assert_close(torch.tensor(image) / 255, wanted, rtol=0, atol=1e-5)


@pytest.fixture
def shapes(few):
    """Wide, tall, odd, grey, transparent and small pictures; the files in their order."""
    folder = few / "val" / SYNSETS[7]
    made = [((640, 333), "RGB"), ((201, 500), "RGB"), ((257, 255), "L"), ((40, 60), "RGBA")]
    for index, (size, mode) in enumerate(made):
        picture(folder / f"a{index}.png", size, mode)
    return sorted(few.rglob("*.png")) + sorted(few.rglob("*.JPEG")), few


def in_order(data, files):
    names = [one.rpartition("/")[2] for one in data.ids]
    return data.subset([names.index(file.name) for file in files])


def test_pixels_are_those_torchvision_evaluates(shapes):
    files, root = shapes
    data = in_order(load_data(f"imagenet:{root}"), files)
    check_preprocessing(data, files, ResNet18_Weights.IMAGENET1K_V1)


def test_other_weights_other_sizes(shapes):
    from torchvision.models import ConvNeXt_Tiny_Weights, EfficientNet_B1_Weights

    files, root = shapes
    for weights, query in (
        (ConvNeXt_Tiny_Weights.DEFAULT, "size=224&resize=236"),
        (EfficientNet_B1_Weights.IMAGENET1K_V1, "size=240&resize=256&interpolation=bicubic"),
    ):
        data = in_order(load_data(f"imagenet:{root}?{query}"), files)
        check_preprocessing(data, files, weights)


def test_other_sizes_are_resized_in_proportion(few):
    """256 to 224 is what ImageNet is evaluated at; 299 of 342 is Inception v3's."""
    for size, resize in ((224, 256), (299, 342), (384, 439)):
        found = load_data(f"imagenet:{few}?size={size}")
        told = load_data(f"imagenet:{few}?size={size}&resize={resize}")
        assert found.shape == (3, size, size)
        assert found.fingerprint == told.fingerprint


@pytest.mark.parametrize("mutant", ["bicubic", "resize", "fit"])
def test_that_check_kills(shapes, mutant, monkeypatch):
    files, root = shapes
    query = {"bicubic": "?interpolation=bicubic", "resize": "?resize=257", "fit": ""}[mutant]
    if mutant == "fit":
        monkeypatch.setattr(
            "robustlab.data.folder.evaluation_crop", lambda resize, size, how: fit(size)
        )
    data = in_order(load_data(f"imagenet:{root}{query}"), files)
    with pytest.raises(AssertionError):
        check_preprocessing(data, files, ResNet18_Weights.IMAGENET1K_V1)


def test_grey(few):
    data = load_data(f"imagenet:{few}?mode=L&size=32&resize=32")
    assert data.shape == (1, 32, 32)


@pytest.mark.parametrize("n", [1, 2])
def test_take_decodes_what_it_takes_alone(few, n):
    whole = load_data(f"imagenet:{few}").take(n, 1)
    for file in few.rglob("*.JPEG"):
        if f"imagenet/{file.relative_to(few / 'val').as_posix()}" not in whole.ids:
            file.write_text("broken")
    assert load_data(f"imagenet:{few}", take=n, seed=1).fingerprint == whole.fingerprint
    with pytest.raises(BadRequest, match="no readable image"):
        load_data(f"imagenet:{few}")


def test_all_thousand_need_no_list(tmp_path):
    picture(tmp_path / "1.png", (32, 32))
    for name in SYNSETS:
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / "1.png").hardlink_to(tmp_path / "1.png")
    data = load_data(f"imagenet:{tmp_path}?size=8&resize=8", take=1000)
    assert data.labels.tolist() == list(range(1000))
    (tmp_path / "val" / "n99999999").mkdir()
    with pytest.raises(BadRequest, match="there are 1001 synsets, ILSVRC 2012 has 1,000"):
        load_data(f"imagenet:{tmp_path}")


def test_torchvision_s_list_does_too(few):
    whole = load_data(f"imagenet:{few}")
    (few / "LOC_synset_mapping.txt").unlink()
    torch.save((dict.fromkeys(SYNSETS, ("some", "fish")), ["n1"]), few / "meta.bin")
    assert load_data(f"imagenet:{few}").fingerprint == whole.fingerprint


class Evil:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (self.folder,)


def test_a_list_that_would_execute_is_refused(few):
    (few / "LOC_synset_mapping.txt").unlink()
    torch.save((Evil(str(few / "executed")), []), few / "meta.bin")
    with pytest.raises(BadRequest, match=r"meta\.bin: no synset list of torchvision"):
        load_data(f"imagenet:{few}")
    assert not (few / "executed").exists()
    torch.load(few / "meta.bin", weights_only=False)  # it would have been
    assert (few / "executed").exists()


def no_list(root):
    (root / "LOC_synset_mapping.txt").unlink()


def short_list(root):
    (root / "LOC_synset_mapping.txt").write_text("\n".join(SYNSETS[:400]))


def strange_list(root):
    (root / "LOC_synset_mapping.txt").write_text("tench\n")


def flat(root):
    (root / "flat").mkdir()
    picture(root / "flat" / "1.JPEG")


@pytest.mark.parametrize(
    ("prepare", "query", "message"),
    [
        (no_list, "", "3 of 1,000 synset folders are there.*put LOC_synset_mapping.txt"),
        (short_list, "", "there are 400 synsets, ILSVRC 2012 has 1,000"),
        (strange_list, "", "holds 'tench', no synset"),
        (lambda root: picture(root / "val" / "n00000001" / "1.png"), "", "'n00000001' is none of"),
        (lambda root: (root / "val" / SYNSETS[8]).mkdir(), "", "this class holds no images"),
        (flat, "?split=flat", "its images lie flat"),
        (lambda root: (root / "pets" / "cat").mkdir(parents=True), "?split=pets", "'folder:PATH'"),
        (lambda root: None, "?split=vall", "no folder 'vall'; did you mean 'val'"),
        (lambda root: None, "/none", "there is no such folder"),
        (lambda root: None, "/val?split=train", "a split itself and has no 'train'"),
        (lambda root: None, "?sise=3", "unknown option 'sise'; did you mean 'size'"),
        (lambda root: None, "?size=300&resize=256", "give a size of at most 256"),
        (lambda root: None, "/what?size=300", "first '.' starts the options"),
        (lambda root: None, "?interpolation=nearest", "unknown interpolation 'nearest'"),
    ],
)
def test_what_cannot_be_read(few, prepare, query, message):
    prepare(few)
    with pytest.raises(BadRequest, match=message):
        load_data(f"imagenet:{few}{query}")
