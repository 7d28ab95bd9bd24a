"""Small sets in the real formats: idx files, and CIFAR's batches as Python 2 pickled them."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from robustlab.data.published import PUBLISHED


class Python2(pickle._Pickler):
    """Protocol 2 with the 8-bit strings of Python 2, and NumPy's spelling of those years."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, text):
        content = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)

    dispatch[str] = dispatch[bytes] = save_text

    def reducer_override(self, obj):
        if isinstance(obj, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def python2_pickle(value):
    file = io.BytesIO()
    Python2(file, 2).dump(value)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def idx(array):
    head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return head + array.tobytes()


def md5(content):
    return hashlib.md5(content).hexdigest()


def pixels(count, shape, classes):
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % classes


@pytest.fixture
def sized(monkeypatch):
    """Say how large a set is: ``sized("mnist", train=40, test=20, val=10)``."""

    def say(name, **sizes):
        monkeypatch.setitem(PUBLISHED, name, replace(PUBLISHED[name], **sizes))

    return say


@pytest.fixture
def small_mnist(monkeypatch, sized):
    """60 images of MNIST's form: ``.files`` by name (gzip), ``.train`` and ``.test`` arrays.

    torchvision's table has their MD5, the lab's the SHA-256 of what they unpack to.
    """
    from torchvision import datasets

    from robustlab.data import official

    made = {"train": pixels(40, (28, 28), 10), "t10k": pixels(20, (28, 28), 10)}
    files = {}
    for prefix, (images, labels) in made.items():
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx(images))
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels.astype(np.uint8)))
    sums = [(name, md5(content)) for name, content in files.items()]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    unpacked = {
        name.removesuffix(".gz"): hashlib.sha256(gzip.decompress(content)).hexdigest()
        for name, content in files.items()
    }
    monkeypatch.setitem(official.SHA256, "MNIST", unpacked)
    sized("mnist", train=40, test=20, val=10)
    return SimpleNamespace(files=files, train=made["train"], test=made["t10k"])


def cifar_files(train, test, fine):
    """Names and bytes of the batches of CIFAR-10, or with ``fine`` of CIFAR-100."""
    files = {}
    batches = [("train", train)] if fine else list(_five(train))
    for name, (images, labels) in [*batches, ("test" if fine else "test_batch", test)]:
        rows = np.ascontiguousarray(images.reshape(len(images), -1))
        entry = {"batch_label": name, "data": rows}
        entry["fine_labels" if fine else "labels"] = labels.tolist()
        files[name] = python2_pickle(entry)
    names = [f"kind {index}" for index in range(100)] if fine else list("abcdefghij")
    meta = {"fine_label_names": names} if fine else {"label_names": names, "num_vis": 3072}
    files["meta" if fine else "batches.meta"] = python2_pickle(meta)
    return files


def _five(train):
    for batch in range(5):
        yield f"data_batch_{batch + 1}", tuple(part[batch::5] for part in train)


@pytest.fixture
def publish_cifar(monkeypatch, sized):
    """Write files of `cifar_files` as CIFAR-10's or CIFAR-100's, known to torchvision by MD5."""
    from torchvision import datasets

    def publish(train, test, fine=False, val=10):
        source = datasets.CIFAR100 if fine else datasets.CIFAR10
        files = cifar_files(train, test, fine)
        sums = {name: md5(content) for name, content in files.items()}
        for table in ("train_list", "test_list"):
            listed = [[name, sums[name]] for name, _ in getattr(source, table)]
            monkeypatch.setattr(source, table, listed)
        meta = source.meta | {"md5": sums[source.meta["filename"]]}
        monkeypatch.setattr(source, "meta", meta)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(f"{source.base_folder}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        monkeypatch.setattr(source, "tgz_md5", md5(packed.getvalue()))
        sized("cifar100" if fine else "cifar10", train=len(train[1]), test=len(test[1]), val=val)
        return SimpleNamespace(
            files=files, folder=source.base_folder, tar=packed.getvalue(), source=source
        )

    return publish


@pytest.fixture
def small_cifar(publish_cifar):
    """40 + 20 images of CIFAR-10's form."""
    made = pixels(40, (3, 32, 32), 10), pixels(20, (3, 32, 32), 10)
    published = publish_cifar(*made)
    published.train, published.test = made
    return published


@pytest.fixture
def put():
    """Files by name into a folder, which is made."""

    def write(folder, files):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)

    return write
