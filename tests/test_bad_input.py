"""Bad input through the front door: `robustlab run` answers each with one clear sentence and exit
code 2, and leaves nothing behind. The rooms test the same and more at their own doors; Ctrl-C, full
disks and failed cells are in `test_resume`.
"""

import errno
import os
import shutil

import numpy as np
import pytest

from robustlab import shelf

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

SUITE = """
schema = 1
[data]
source = "{data}"
[[backbone]]
ref = "{backbone}"
[[probe]]
use = "{attack}"
eps = ["{eps}"]
{more}
"""
GOOD = {"data": "digits:test", "backbone": "mlp@digits", "attack": "fgsm", "eps": "0.1", "more": ""}
DIGITS = np.linspace(0, 1, 4 * 32 * 32, dtype=np.float32).reshape(4, 1, 32, 32)
LABELS = np.array([0, 1, 2, 9])


@pytest.fixture
def answer(lab, tmp_path, monkeypatch):
    """What `robustlab run` says to a suite with one thing wrong."""
    monkeypatch.chdir(tmp_path)

    def run(**wrong):
        path = tmp_path / "mine.toml"
        path.write_text(SUITE.format(**{**GOOD, **wrong}), encoding="utf-8")
        before = sorted(tmp_path.rglob("*"))
        done = lab("run", path, "-o", tmp_path / "run")
        if done.code == 2:
            assert done.out == ""
            assert sorted(p for p in tmp_path.rglob("*") if "__pycache__" not in str(p)) == before
            assert len(done.err.splitlines()) == 1
        return done

    return run


def test_the_suite_is_good_where_nothing_is_wrong(answer):
    assert answer().code == 0


def check(done, *told):
    assert done.code == 2
    for text in told:
        assert text in done.err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"more": "step = 3"}, "mine.toml, probe 1: unknown parameter 'step' of 'fgsm'"),
        ({"more": "los = 'ce'"}, "unknown parameter 'los' of 'fgsm'; did you mean 'loss'?"),
        ({"more": "[dat]"}, "suite mine.toml: unknown key 'dat'; did you mean 'data'?"),
        ({"attack": "fsgm"}, "probe 1: unknown attack or probe 'fsgm'; did you mean 'fgsm'?"),
        ({"backbone": "mpl@digits"}, "backbone 1: unknown network 'mpl@digits'; did you mean"),
        ({"data": "digitss:test"}, "data: unknown data source 'digitss:test'; did you mean"),
        ({"eps": "8"}, "eps 8 (Linf) is larger than the whole box of images in [0, 1] (1); did"),
        ({"eps": "8"}, "did you mean '8/255'?"),
        ({"eps": "-0.1"}, "eps '-0.1' must be finite and at least 0"),
        ({"eps": "nan"}, "eps 'nan' must be finite and at least 0"),
    ],
)
def test_suites(answer, wrong, told):
    check(answer(**wrong), told)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"images": DIGITS * 255}, "float images range from 0 to 255, outside [0, 1]"),
        ({"images": DIGITS - 0.5}, "float images range from -0.5 to 0.5, outside [0, 1]; bring"),
        ({"images": np.where(DIGITS > 0.9, np.nan, DIGITS)}, "image 3 holds NaN or infinity"),
        ({"labels": np.array([0, 1, 2, 10])}, "knows 10 classes, own has 11"),
        ({"labels": np.array([0, 1, 2, -1])}, "label -1 of image 3 names no class"),
        ({"labels": np.array([0, 1, 9])}, "there are 4 images but 3 labels"),
        (
            {"images": np.repeat(DIGITS, 3, axis=1)},
            "takes images of 1 channel, those of own have 3",
        ),
        ({"images": np.repeat(DIGITS, 2, axis=1)}, "neither 1 nor 3 channels"),
    ],
)
def test_arrays(answer, tmp_path, arrays, told):
    np.savez(tmp_path / "own.npz", **{"images": DIGITS, "labels": LABELS, **arrays})
    check(answer(data="npz:own.npz"), told)


def test_good_arrays(answer, tmp_path):
    np.savez(tmp_path / "own.npz", images=DIGITS, labels=LABELS)
    assert answer(data="npz:own.npz").code == 0


def test_a_network_in_train_mode(answer, tmp_path):
    (tmp_path / "net.py").write_text(
        "import robustlab\nfrom torch import nn\n"
        "def build():\n"
        "    net = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(1024, 10)).eval()\n"
        "    net[0].train()\n"
        "    return robustlab.Backbone(net, input_shape=(1, 32, 32), classes=10)\n"
    )
    told = "its part '0' (Dropout) is in train mode; call .eval() on the network first"
    check(answer(backbone="python:net.py:build"), told)


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_truncated_weights_file(answer, tmp_path, keep):
    whole = (shelf.weights() / "lenet5-max@digits.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: int(keep * len(whole))])
    done = answer(backbone="file:cut.safetensors#lenet5")
    check(done, "cut.safetensors: ", "a damaged or cut-off safetensors file", "copy it again")


def test_a_malicious_pickle(answer, tmp_path):
    import torch

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save(Evil(), tmp_path / "evil.pt")
    done = answer(backbone="file:evil.pt#lenet5")
    check(done, "evil.pt", "refused and nothing in it was executed")
    assert not (tmp_path / "executed").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)  # it would have been
    assert (tmp_path / "executed").exists()


def test_a_broken_image(answer, tmp_path):
    from PIL import Image

    for name in "0123456789":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("L", (32, 32)).save(tmp_path / "pictures" / name / "a.png")
    assert answer(data="folder:pictures?mode=L").code == 0
    broken = tmp_path / "pictures" / "7" / "a.png"
    broken.write_bytes(broken.read_bytes()[:40])
    shutil.rmtree(tmp_path / "run")
    check(answer(data="folder:pictures?mode=L"), str(broken.relative_to(tmp_path)))


def test_an_out_folder_that_cannot_be_written(lab, tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    done = lab("run", tiny, "-o", tmp_path / "file" / "run")
    check(done, "cannot write to the folder", "Not a directory", "choose another with --out")

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(type(tmp_path), "mkdir", read_only)
    done = lab("run", tiny, "-o", tmp_path / "run")
    check(done, "cannot write to the folder", "Read-only file system", "choose another with --out")
