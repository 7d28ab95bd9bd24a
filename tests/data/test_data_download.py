"""Downloads from a loopback server: whole and checked, or nothing and one clear sentence."""

import functools
import http.server
import threading

import numpy as np
import pytest

from robustlab.data import load_data
from robustlab.errors import BadRequest


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def serve(tmp_path):
    """Serve files by name on 127.0.0.1: ``serve(files)`` gives the address, with a slash."""
    served = tmp_path / "served"
    served.mkdir()
    handler = functools.partial(Quiet, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def start(files):
            for name, content in files.items():
                (served / name).write_bytes(content)
            return f"http://127.0.0.1:{server.server_address[1]}/"

        yield start
        server.shutdown()
        thread.join()


@pytest.fixture
def mirrors(monkeypatch):
    """Say where torchvision has MNIST from."""
    from torchvision import datasets

    return lambda *addresses: monkeypatch.setattr(datasets.MNIST, "mirrors", list(addresses))


def left(root):
    """Everything under the root but the folders."""
    return sorted(file.name for file in root.rglob("*") if file.is_file())


def test_mnist_comes_from_the_second_mirror(small_mnist, serve, mirrors, tmp_path, capfd):
    good = serve(small_mnist.files)
    mirrors(f"{good}absent/", good)
    root = tmp_path / "root"
    data = load_data(f"mnist:test?root={root}")
    np.testing.assert_array_equal(data.images[:, 0], small_mnist.test[0])
    wanted = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    assert left(root) == wanted  # no packed file, nothing of the training set
    assert [one.name for one in root.iterdir()] == ["MNIST"]
    mirrors("http://127.0.0.1:9/")  # nobody is asked again
    assert load_data(f"mnist:test?root={root}").fingerprint == data.fingerprint
    assert len(load_data(f"mnist:test?root={root}&download=false")) == 20


def test_the_variable_names_the_root(small_mnist, serve, mirrors, tmp_path, monkeypatch, capfd):
    mirrors(serve(small_mnist.files))
    monkeypatch.setenv("ROBUSTLAB_DATA", str(tmp_path / "own"))
    assert len(load_data("mnist:val")) == 10
    assert left(tmp_path / "own") == ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]


def test_cifar_is_unpacked(small_cifar, serve, monkeypatch, tmp_path, capfd):
    address = serve({small_cifar.source.filename: small_cifar.tar})
    monkeypatch.setattr(small_cifar.source, "url", address + small_cifar.source.filename)
    root = tmp_path / "root"
    data = load_data(f"cifar10:test?root={root}")
    np.testing.assert_array_equal(data.images, small_cifar.test[0])
    assert left(root) == sorted(small_cifar.files)


def test_a_damaged_file_of_one_s_own_is_not_replaced(
    small_cifar, serve, monkeypatch, put, tmp_path, capfd
):
    address = serve({small_cifar.source.filename: small_cifar.tar})
    monkeypatch.setattr(small_cifar.source, "url", address + small_cifar.source.filename)
    put(tmp_path / small_cifar.folder, {"test_batch": b"mine"})
    with pytest.raises(BadRequest, match="test_batch: this is not the published file"):
        load_data(f"cifar10:test?root={tmp_path}")
    assert (tmp_path / small_cifar.folder / "test_batch").read_bytes() == b"mine"
    (tmp_path / small_cifar.folder / "test_batch").unlink()
    assert len(load_data(f"cifar10:test?root={tmp_path}")) == 20


def check_told(told, root):
    """Which files, where they are looked for, who has them, and what to do."""
    text = str(told.value)
    for word in (
        "mnist:test: missing in",
        str(root / "MNIST" / "raw"),
        "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte;",
        "gets them from 127.0.0.1",
        "?root=PATH",
    ):
        assert word in text
    assert "\n" not in text


@pytest.mark.parametrize("trouble", ["refused", "absent", "cut off", "other content"])
def test_a_failed_download_leaves_nothing(small_mnist, serve, mirrors, tmp_path, trouble, capfd):
    name = "t10k-labels-idx1-ubyte.gz"  # the second of the two files
    if trouble == "refused":
        mirrors("http://127.0.0.1:9/")
    else:
        files = dict(small_mnist.files)
        content = files.pop(name)
        if trouble != "absent":
            files[name] = content[:-1] if trouble == "cut off" else b"0" * len(content)
        mirrors(serve(files))
    root = tmp_path / "root"
    with pytest.raises(BadRequest, match="downloading them failed") as told:
        load_data(f"mnist:test?root={root}")
    check_told(told, root)
    assert left(root) == []
    assert list(root.glob(".*")) == []


def test_that_check_kills_torchvision_s_own_download(small_mnist, serve, mirrors, tmp_path, capfd):
    """Left to itself it keeps a file of the wrong content where the data belong."""
    from torchvision import datasets

    name = "t10k-labels-idx1-ubyte.gz"
    mirrors(serve(small_mnist.files | {name: b"other"}))
    with pytest.raises(RuntimeError):
        datasets.MNIST(tmp_path / "root", download=True)
    with pytest.raises(AssertionError):
        assert left(tmp_path / "root") == []


def test_download_false_asks_nobody(small_mnist, mirrors, tmp_path):
    mirrors("http://127.0.0.1:9/")
    with pytest.raises(BadRequest, match="leaving out download=false") as told:
        load_data(f"mnist:test?root={tmp_path / 'root'}&download=false")
    check_told(told, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_a_root_that_cannot_be_written(small_mnist, mirrors, tmp_path):
    mirrors("http://127.0.0.1:9/")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadRequest, match=r"downloading them failed .*Not a directory"):
        load_data(f"mnist:test?root={tmp_path / 'file' / 'root'}")
