"""The real MNIST and the real CIFAR-10 test images, where they lie beside the repository."""

import gzip
import hashlib
import lzma
from pathlib import Path

import numpy as np
import pytest

from robustlab.data import load_data
from robustlab.data.official import SHA256
from robustlab.errors import BadRequest

pytestmark = pytest.mark.slow
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def needed(name):
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is not there")
    return SHARED / name


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """MNIST unpacked, in torchvision's layout."""
    root = tmp_path_factory.mktemp("mnist")
    (root / "MNIST" / "raw").mkdir(parents=True)
    for file in needed("mnist").glob("*.gz"):
        content = gzip.decompress(file.read_bytes())
        (root / "MNIST" / "raw" / file.name.removesuffix(".gz")).write_bytes(content)
    return root


def test_these_are_mnist_s_files(root):
    found = (root / "MNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()
    wanted = "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    assert hashlib.sha256(found).hexdigest() == wanted
    assert SHA256["MNIST"]["train-images-idx3-ubyte"] == wanted


@pytest.mark.parametrize("name", SHA256["MNIST"])
def test_a_changed_pixel_or_label_is_told(root, tmp_path, name):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (root / "MNIST" / "raw").iterdir():
        (raw / file.name).symlink_to(file)
    content = bytearray((raw / name).read_bytes())
    content[-1] ^= 1
    (raw / name).unlink()
    (raw / name).write_bytes(content)
    with pytest.raises(BadRequest, match=rf"{name}: damaged, its SHA-256 is"):
        load_data(f"mnist:{'train' if 'train' in name else 'test'}?root={tmp_path}&download=false")


# Fixed for good, as the digits' are: a changed cut or pixel would change every result.
GOLDEN = {
    "train": (54_000, "df248187112d545bb5cf02ac120b2cc48a131d2b52b54f523472170777ed56ad"),
    "val": (6_000, "2021acd7fde8838a043b5b60b07ecb47781ff56c0f8a950ae81be36fc7bad96e"),
    "test": (10_000, "3df0f6d7d3b1b4942343662835034d3f26e7743fc3f98ae28eea090873c06f4f"),
}


@pytest.mark.parametrize("part", GOLDEN)
def test_mnist(root, part):
    data = load_data(f"mnist:{part}?root={root}&download=false")
    assert data.shape == (1, 28, 28)
    assert (len(data), data.fingerprint) == GOLDEN[part]


def test_counts_of_the_classes(root):
    """The test set's, and the shares of train and val in the training set's."""
    parts = {part: load_data(f"mnist:{part}?root={root}&download=false") for part in GOLDEN}
    counts = {part: np.bincount(data.labels) for part, data in parts.items()}
    official = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (counts["train"] + counts["val"]).tolist() == official
    assert counts["test"].tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.abs(counts["val"] - np.array(official) / 10).max() < 1
    assert not set(parts["train"].ids) & set(parts["val"].ids)


def test_the_packed_files_do_too(root, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in needed("mnist").glob("*.gz"):
        (raw / file.name).symlink_to(file)
    data = load_data(f"mnist:test?root={tmp_path}&download=false&pad=2", take=100)
    assert data.ids == load_data(f"mnist:test?root={root}&download=false").take(100).ids
    assert data.shape == (1, 32, 32)


def test_cifar10_to_the_bit(publish_cifar, put, tmp_path):
    """The real test images, written as CIFAR's own file and read back."""
    with lzma.open(needed("cifar10") / "cifar10_test_images_u8.npy.xz") as file:
        images = np.load(file, allow_pickle=False).transpose(0, 3, 1, 2)
    labels = np.load(SHARED / "cifar10" / "cifar10_test_labels_u8.npy", allow_pickle=False)
    made = publish_cifar((images[:100], labels[:100].astype(int)), (images, labels.astype(int)))
    put(tmp_path / made.folder, made.files)
    data = load_data(f"cifar10:test?root={tmp_path}&download=false")
    np.testing.assert_array_equal(data.images, images)
    assert np.bincount(data.labels).tolist() == [1000] * 10
    assert data.labels.tolist() == labels.tolist()
