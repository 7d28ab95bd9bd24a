"""MNIST and CIFAR from small files in the real formats: to the bit as torchvision reads them, and
every damage told. A pickle that is not the published one is never opened.
"""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from robustlab.data import load_data
from robustlab.data.published import _root
from robustlab.errors import BadRequest


@pytest.fixture
def mnist(small_mnist, put, tmp_path):
    """The small set's root, packed files only; and the set."""
    put(tmp_path / "MNIST" / "raw", small_mnist.files)
    return tmp_path, small_mnist


@pytest.fixture
def cifar(small_cifar, put, tmp_path):
    put(tmp_path / small_cifar.folder, small_cifar.files)
    return tmp_path, small_cifar


def load(name, part, root, more=""):
    return load_data(f"{name}:{part}?root={root}&download=false{more}")


def test_mnist_is_what_was_written(mnist):
    root, made = mnist
    data = load("mnist", "test", root)
    np.testing.assert_array_equal(data.images[:, 0], made.test[0])
    assert data.labels.tolist() == made.test[1].tolist()
    assert data.classes == tuple("0123456789")
    assert (data.name, data.ids[7]) == ("mnist:test", "mnist/test/000007")


def test_packed_and_unpacked_are_the_same_and_as_torchvision_reads_them(mnist):
    from torchvision import datasets

    root, made = mnist
    packed = load("mnist", "train", root)
    raw = root / "MNIST" / "raw"
    for name, content in made.files.items():
        (raw / name).unlink()
        (raw / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
    data = load("mnist", "train", root)
    assert data.fingerprint == packed.fingerprint
    theirs = datasets.MNIST(root, train=True)
    rows = [int(one.rpartition("/")[2]) for one in data.ids]
    np.testing.assert_array_equal(data.images[:, 0], theirs.data.numpy()[rows])
    assert data.labels.tolist() == theirs.targets[rows].tolist()


def test_pad_frames_in_black(mnist):
    root, made = mnist
    data = load("mnist", "test", root, "&pad=2")
    assert data.shape == (1, 32, 32)
    np.testing.assert_array_equal(data.images[:, 0, 2:30, 2:30], made.test[0])
    assert data.images.sum() == made.test[0].sum()


def check_cut(train, val, count):
    """Disjoint, complete, the official order, and each class in its proportion."""
    assert sorted(train.ids + val.ids) == [f"mnist/train/{k:06d}" for k in range(count)]
    assert list(train.ids) == sorted(train.ids)
    assert np.bincount(val.labels, minlength=10).tolist() == [1] * 10


def test_val_is_cut_from_train(mnist):
    root, made = mnist
    train, val = load("mnist", "train", root), load("mnist", "val", root)
    check_cut(train, val, 40)
    for part in (train, val):
        rows = [int(one.rpartition("/")[2]) for one in part.ids]
        np.testing.assert_array_equal(part.images[:, 0], made.train[0][rows])
    # Fixed for good: a changed cut would change every result.
    assert " ".join(one[-2:] for one in val.ids) == "00 09 11 16 17 22 23 24 35 38"


@pytest.mark.parametrize("mutant", ["val in train", "one short", "first rows"])
def test_that_check_kills(mnist, mutant):
    root, _ = mnist
    train, val = load("mnist", "train", root), load("mnist", "val", root)
    if mutant == "val in train":
        train = load("mnist", "test", root)
    elif mutant == "one short":
        val = val.subset(slice(9))
    else:
        train, val = train.subset(slice(10, 30)), train.subset(slice(10))
    with pytest.raises(AssertionError):
        check_cut(train, val, 40)


def test_cifar_is_what_was_written(cifar):
    root, made = cifar
    data = load("cifar10", "test", root)
    np.testing.assert_array_equal(data.images, made.test[0])
    assert data.labels.tolist() == made.test[1].tolist()
    assert data.classes == tuple("abcdefghij")
    train, val = load("cifar10", "train", root), load("cifar10", "val", root)
    assert (len(train), len(val)) == (30, 10)
    batches = np.concatenate([made.train[0][batch::5] for batch in range(5)])
    for part in (train, val):
        rows = [int(one.rpartition("/")[2]) for one in part.ids]
        np.testing.assert_array_equal(part.images, batches[rows])


def test_cifar100_has_its_fine_labels(publish_cifar, put, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(200) % 100
    made = publish_cifar((images, labels), (images[:100], labels[:100]), fine=True, val=100)
    put(tmp_path / made.folder, made.files)
    data = load("cifar100", "test", tmp_path)
    assert (len(data.classes), data.classes[99]) == (100, "kind 99")
    np.testing.assert_array_equal(data.images, images[:100])
    assert sorted(load("cifar100", "val", tmp_path).labels) == list(range(100))


class Evil:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["test_batch", "data_batch_3", "batches.meta"])
def test_a_tampered_pickle_is_not_opened(cifar, name):
    root, made = cifar
    executed = root / "executed"
    evil = root / made.folder / name
    evil.write_bytes(pickle.dumps(Evil(executed)))
    for part in ("train", "val", "test"):
        with pytest.raises(BadRequest, match=rf"{name}: this is not the published .*not opened"):
            load("cifar10", part, root)
    assert not executed.exists()
    pickle.loads(evil.read_bytes())  # it would have been
    assert executed.exists()


def test_without_the_lab_s_look_torchvision_s_still_stands(cifar, monkeypatch):
    """The second line: with the first one off, torchvision's own check refuses the file."""
    root, made = cifar
    monkeypatch.setattr("robustlab.data.official._check_md5", lambda file, md5: None)
    for name in ("test_batch", "batches.meta"):
        kept = (root / made.folder / name).read_bytes()
        (root / made.folder / name).write_bytes(pickle.dumps(Evil(root / "executed")))
        with pytest.raises(RuntimeError, match="not found or corrupted"):
            load("cifar10", "test", root)
        (root / made.folder / name).write_bytes(kept)
    assert not (root / "executed").exists()


def cut(content):
    return content[:-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "its header says 20x28x28 bytes, 15679 are there; remove it"),
        (lambda content: content + b"0", "15681 are there"),
        (lambda content: content[:9], "no idx file of bytes in 3 dimensions"),
        (lambda content: b"", "no idx file"),
        (lambda content: b"\0\0\x0d" + content[3:], "no idx file of bytes"),
        (lambda content: content[:4] + b"\xff" * 12 + content[16:], "header says 4294967295x"),
        (lambda content: content[:-1] + b"0", "its SHA-256 is .* remove it"),
    ],
)
def test_damaged_idx_files(mnist, damage, message):
    root, made = mnist
    name = "t10k-images-idx3-ubyte"
    content = gzip.decompress(made.files[f"{name}.gz"])
    (root / "MNIST" / "raw" / name).write_bytes(damage(content))
    with pytest.raises(BadRequest, match=message):
        load("mnist", "test", root)


def test_packed_again_it_is_still_mnist(mnist):
    """The SHA-256 is that of the unpacked file: how it is packed does not count, a pixel does."""
    root, made = mnist
    name = "t10k-images-idx3-ubyte.gz"
    before = load("mnist", "test", root).fingerprint
    content = gzip.decompress(made.files[name])
    (root / "MNIST" / "raw" / name).write_bytes(gzip.compress(content, 1))
    assert load("mnist", "test", root).fingerprint == before
    noise = np.random.default_rng(0).bytes(len(content) - 16)
    (root / "MNIST" / "raw" / name).write_bytes(gzip.compress(content[:16] + noise))
    with pytest.raises(BadRequest, match="its SHA-256 is"):
        load("mnist", "test", root)


@pytest.fixture
def fashion(small_mnist, sized, put, monkeypatch, tmp_path):
    """The small set as Fashion-MNIST, packed; and a function that writes one image file unpacked
    with content of its own.
    """
    from torchvision import datasets

    monkeypatch.setattr(datasets.FashionMNIST, "resources", datasets.MNIST.resources)
    sized("fashion-mnist", train=40, test=20, val=10)
    raw = tmp_path / "FashionMNIST" / "raw"
    put(raw, small_mnist.files)

    def write(*shape):
        head = bytes((0, 0, 8, 3)) + np.array(shape, ">u4").tobytes()
        (raw / "t10k-images-idx3-ubyte").write_bytes(head + bytes(int(np.prod(shape))))

    return tmp_path, write


def test_fashion_unpacked_is_held_to_its_form(fashion):
    root, write = fashion
    assert len(load("fashion-mnist", "test", root)) == 20
    write(20, 28, 28)  # nothing tells these from the published ones
    assert len(load("fashion-mnist", "test", root)) == 20
    for shape, message in (
        ((20, 28, 27), "have 28x27 pixels, the published ones 28x28"),
        ((20, 32, 32), "have 32x32 pixels"),
        ((10, 28, 28), "10 images and 20 labels lie under .* has 20 of each"),
    ):
        write(*shape)
        with pytest.raises(BadRequest, match=message):
            load("fashion-mnist", "test", root)


def test_fashion_packed_is_held_to_its_md5(fashion):
    root, _ = fashion
    packed = root / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    labels = bytearray(gzip.decompress(packed.read_bytes()))
    labels[-1] ^= 1
    packed.write_bytes(gzip.compress(labels))
    with pytest.raises(BadRequest, match=r"ubyte\.gz: .* not the published file .* not opened"):
        load("fashion-mnist", "test", root)


@pytest.mark.parametrize("damage", [cut, lambda content: b"no gzip", lambda content: content[:90]])
def test_damaged_gzip_files(mnist, damage):
    root, made = mnist
    name = "t10k-images-idx3-ubyte.gz"
    (root / "MNIST" / "raw" / name).write_bytes(damage(made.files[name]))
    with pytest.raises(BadRequest, match=rf"{name}: damaged, "):
        load("mnist", "test", root)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnist", "name a split of mnist; there is train, val, test; write 'mnist:test'"),
        ("mnist:", "name a split of mnist"),
        ("mnist?pad=2", "name a split of mnist"),
        ("cifar10:tests", "cifar10 has no split 'tests'; did you mean 'test'"),
        ("mnist:test?bad=2", "mnist:test: unknown option 'bad'; did you mean 'pad'"),
        ("mnist:test?pad=-1", "pad '-1' is not a number of pixels, 0 to 4096"),
        ("mnist:test?download=no", "unknown download 'no'"),
    ],
)
def test_impossible_requests(source, message):
    with pytest.raises(BadRequest, match=message):
        load_data(source)


def test_the_root(monkeypatch):
    monkeypatch.delenv("ROBUSTLAB_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert _root() == Path.home() / ".cache" / "robustlab" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert _root() == Path("/cache/robustlab/data")
    monkeypatch.setenv("ROBUSTLAB_DATA", "~/sets")
    assert _root() == Path.home() / "sets"
