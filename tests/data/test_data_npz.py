"""Numpy archives: what is read, and that nothing is unpickled."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from robustlab.data import load_data
from robustlab.errors import BadRequest

IMAGES = np.random.default_rng(1).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)


def save(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_read(tmp_path):
    source = save(tmp_path / "cats.npz", images=IMAGES, labels=[0, 1, 0, 1], classes=["cat", "dog"])
    data = load_data(source)
    assert data.classes == ("cat", "dog")
    assert data.shape == (3, 5, 6)
    assert data.ids[1] == "cats/000001"
    np.testing.assert_array_equal(data.images, IMAGES.transpose(0, 3, 1, 2))


def test_ids_and_extra_arrays(tmp_path):
    source = save(tmp_path / "a.npz", images=IMAGES, labels=[0] * 4, ids=list("wxyz"), more=[1])
    assert load_data(source, take=4).ids == tuple("wxyz")
    assert load_data(save(tmp_path / "b.npz", images=IMAGES, labels=[0] * 4, classes="cat")).classes


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_inside_is_refused_and_not_executed(tmp_path):
    trap = tmp_path / "trap"
    objects = np.array([Bomb(trap)], dtype=object)
    source = save(tmp_path / "evil.npz", images=IMAGES, labels=[0] * 4, classes=objects)
    with pytest.raises(BadRequest, match=r"Python objects.*the lab never does"):
        load_data(source)
    assert not trap.exists()
    with np.load(tmp_path / "evil.npz", allow_pickle=True) as archive:  # the mutant: it would run
        archive["classes"]
    assert trap.exists()


def test_a_bare_pickle_is_refused_and_not_executed(tmp_path):
    path = tmp_path / "evil.npz"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "trap")))
    with pytest.raises(BadRequest, match=r"no \.npz archive"):
        load_data(f"npz:{path}")
    assert not (tmp_path / "trap").exists()


def test_missing_file(tmp_path):
    with pytest.raises(BadRequest, match="there is no such file"):
        load_data(f"npz:{tmp_path}/none.npz")


def test_missing_array(tmp_path):
    with pytest.raises(BadRequest, match="no array 'labels'; did you mean 'label'"):
        load_data(save(tmp_path / "a.npz", images=IMAGES, label=[0] * 4))


def test_wrong_content_names_the_file(tmp_path):
    with pytest.raises(BadRequest, match=r"npz:.*a\.npz: there are 4 images but 3 labels"):
        load_data(save(tmp_path / "a.npz", images=IMAGES, labels=[0] * 3))


def test_cut_off(tmp_path):
    save(tmp_path / "a.npz", images=IMAGES, labels=[0] * 4)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadRequest, match=r"no \.npz archive, or it is cut off"):
        load_data(f"npz:{tmp_path}/a.npz")


@pytest.mark.parametrize("compress", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_byte(tmp_path, compress):
    path = tmp_path / "a.npz"
    (np.savez if compress == zipfile.ZIP_STORED else np.savez_compressed)(
        path, images=IMAGES, labels=[0] * 4
    )
    content = bytearray(path.read_bytes())
    content[250] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BadRequest, match="damaged archive"):
        load_data(f"npz:{path}")


def test_a_header_that_claims_too_much(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (999999999999999, 1), }"
    header = header.ljust(117) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", npy)
    with pytest.raises(BadRequest, match="damaged archive"):
        load_data(f"npz:{tmp_path}/a.npz")


def zipped(path, method=zipfile.ZIP_STORED):
    """The archive by the given method; returns its bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in (("images", IMAGES), ("labels", np.arange(4))):
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", file.getvalue())
    return bytearray(path.read_bytes())


def in_headers(content, local, central, value):
    """Sets a byte of each member's two headers, at these offsets."""
    for signature, offset in ((b"PK\3\4", local), (b"PK\1\2", central)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] = value
            at = content.find(signature, at + 4)
    return content


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ((6, 8, 1), r"cannot be unpacked \(.*encrypted.*\); write it again with numpy.savez"),
        ((8, 10, 97), r"cannot be unpacked \(.*not supported.*\); write it again"),
    ],
)
def test_archives_that_cannot_be_unpacked(tmp_path, where, message):
    """Locked with a password, or packed by a method that Python has not."""
    content = zipped(tmp_path / "a.npz")
    load_data(f"npz:{tmp_path}/a.npz")
    (tmp_path / "a.npz").write_bytes(in_headers(content, *where))
    with pytest.raises(BadRequest, match=message):
        load_data(f"npz:{tmp_path}/a.npz")


def test_damaged_lzma(tmp_path):
    content = zipped(tmp_path / "a.npz", zipfile.ZIP_LZMA)
    assert len(load_data(f"npz:{tmp_path}/a.npz")) == 4
    at = content.find(b"images.npy") + 16
    content[at : at + 24] = b"\xff" * 24
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(BadRequest, match="damaged archive"):
        load_data(f"npz:{tmp_path}/a.npz")


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (10, tuple("0123456789")),
        (np.array([b"cat", "käse".encode()]), ("cat", "käse")),
        (np.array(["cat", "dog"]), ("cat", "dog")),
        (["0", "1"], ("0", "1")),
    ],
)
def test_the_number_of_classes_or_their_names(tmp_path, classes, names):
    source = save(tmp_path / "a.npz", images=IMAGES, labels=[0, 1, 0, 1], classes=classes)
    assert load_data(source).classes == names


def test_bytes_are_utf8(tmp_path):
    source = save(tmp_path / "a.npz", images=IMAGES, labels=[0] * 4, ids=[b"w", b"x", b"y", b"z"])
    assert load_data(source).ids == tuple("wxyz")
    source = save(tmp_path / "b.npz", images=IMAGES, labels=[0] * 4, classes=np.array([b"\xff"]))
    with pytest.raises(BadRequest, match=r"b\.npz: a name is not UTF-8"):
        load_data(source)
