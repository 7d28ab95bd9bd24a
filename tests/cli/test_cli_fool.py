"""fool: exit codes, JSON, folders, and that nothing is written on a bad request."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from robustlab.backbones import load_backbone
from robustlab.cli.fool import _least, fool
from robustlab.fooled import Size

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

NETWORK = ["--backbone", "lenet5-max@digits"]


@pytest.fixture
def quick(monkeypatch):
    """Without the evidence, which other tests look at."""
    from robustlab import doors

    whole = doors.fool
    monkeypatch.setattr(doors, "fool", lambda *a, **k: whole(*a, **k, evidence=False))


@pytest.fixture
def digits(tmp_path):
    """A folder of three digits: a six, a nought and an eight."""
    from robustlab import load_data

    data = load_data("digits:test")
    folder = tmp_path / "digits"
    folder.mkdir()
    for label in (6, 0, 8):
        row = int(np.flatnonzero(data.labels == label)[0])
        Image.fromarray(data.batch_8bit([row])[0, 0]).save(folder / f"digit {label}.png")
    return folder


@pytest.mark.slow
def test_one_picture_with_everything(lab, tmp_path):
    out = tmp_path / "six"
    arguments = ["digits:test#3", *NETWORK, "--target", "8", "--eps", "0.2", "-o", out, "--json"]
    done = lab("fool", *arguments)
    assert done.code == 0
    told = done.json
    assert told["succeeded"] is True
    assert told["label"] == "6"
    assert told["target"] == told["after"]["top"][0][1] == "8"
    assert told["smallest"]["linf"] < 51
    assert [one["name"] for one in told["ways"]] == ["straight line", "steps of the search"]
    assert len(told["controls"]) == 2
    assert all(one["hitting"] == 0 for one in told["controls"])
    assert [one["attack"] for one in told["steps"]] == ["fgsm", "pgd"]
    assert len(told["survival"]) == 6
    networks = [one["name"] for one in told["transfer"]]
    assert len(networks) == 3
    assert "lenet5-max@digits" not in networks
    assert set(told["facts"]["seconds"]) > {"search", "checks", "smallest", "controls"}
    files = {one.name for one in out.iterdir() if not one.name.startswith(".")}
    pictures = {"original.png", "fooled.png", "perturbation.png", "smallest.png", "way.png"}
    assert files == {*pictures, "triptych.png", "report.html", "fooled.json"}
    assert json.loads((out / "fooled.json").read_text())["after"] == told["after"]
    with Image.open(out / "way.png") as way:
        assert way.n_frames > 4
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "lenet5-max@digits" in page


def test_words_on_the_terminal(lab, tmp_path, quick):
    done = lab("fool", "digits:test#3", *NETWORK, "--eps", "0.2", "-o", tmp_path / "a")
    assert done.code == 0
    assert "before: 6 " in done.out
    assert f"fooled; see {tmp_path / 'a'}/report.html" in done.out
    assert "NO " not in done.out
    assert "searching with pgd at 0.2" in done.err


def test_an_empty_name_is_not_the_folder_one_stands_in(lab, digits, tmp_path, quick, monkeypatch):
    """As where a variable of the shell is not set: pictures there must not be attacked."""
    monkeypatch.chdir(digits)
    done = lab("fool", "", *NETWORK, "-o", tmp_path / "a")
    assert (done.code, done.out) == (2, "")
    assert "IMAGE is empty" in done.err
    assert not (tmp_path / "a").exists()


def test_the_smallest_is_told_in_the_norm_that_was_searched(lab, digits, tmp_path, quick):
    """And as found by that attack: another may find a smaller one."""
    asked = [*NETWORK, "--eps", "2", "--attack", "pgd?norm=l2&steps=10", "-o"]
    done = lab("fool", "digits:test#3", *asked, tmp_path / "a")
    told = json.loads((tmp_path / "a" / "fooled.json").read_text())["smallest"]
    assert f"smallest found by pgd (L2) at 8 bits: {told['l2']:.4g} grey levels;" in done.out
    table = lab("fool", digits, *asked, tmp_path / "b").out
    assert "smallest found (L2)" in table
    told = json.loads((tmp_path / "b" / "digit_6" / "fooled.json").read_text())["smallest"]
    assert f"{told['l2']:.4g} grey levels" in table


def test_a_single_level_is_told_as_one():
    size = Size(linf=1, l2=2.0, l1=4.0, l0=4, pixels=9, mean=0.1)
    found = SimpleNamespace(smallest=size, succeeded=True, norm="linf")
    assert _least(found) == "1 grey level"
    found.norm = "l0"
    assert _least(found) == "4 pixels"
    found.smallest, found.succeeded = None, False
    assert _least(found) == "not fooled"


def test_no_certainty_by_rounding(lab, tmp_path, quick):
    asked = [*NETWORK, "--target", "8", "--eps", "0.2", "-o", tmp_path / "a"]
    done = lab("fool", "digits:test#3", *asked)
    assert "after:  8 over 99.9 %" in done.out
    assert "over 99.99 % in a batch of 3; 8, over 99.99 % in float64" in done.out
    assert "100.0" not in done.out
    assert " 0.0 %" not in done.out


def test_not_fooled_is_one(lab, tmp_path, quick):
    arguments = [*NETWORK, "--target", "1", "--eps", "1/255", "-o", tmp_path / "a"]
    done = lab("fool", "digits:test#3", *arguments)
    assert done.code == 1
    assert "not fooled" in done.out
    assert (tmp_path / "a" / "fooled.png").exists()


def test_where_it_goes_by_itself(lab, tmp_path, quick, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lab("fool", "digits:test#3", *NETWORK, "--target", "8", "--eps", "0.2").code == 0
    assert lab("fool", "black", *NETWORK, "--eps", "0.6").code in (0, 1)
    found = {one.name for one in (tmp_path / "reports" / "out").iterdir()}
    assert found == {"fool-digits_test_3-8", "fool-black-any"}


@pytest.mark.slow
def test_other_networks_by_name(lab, tmp_path):
    from robustlab import doors

    found = doors.fool(
        "digits:test#3",
        backbone="lenet5-max@digits",
        others=["mlp@digits"],
        eps=0.2,
        out=tmp_path / "a",
    )
    (one,) = found.transfer
    backbone = load_backbone("mlp@digits")
    x = found.changed[None].astype(np.float32) / 255
    assert one.name == "mlp@digits"
    assert one.after.index == int(backbone(x).argmax())
    assert one.fooled == (one.after.index != one.before.index)


def test_a_folder(lab, digits, tmp_path, quick):
    out = tmp_path / "all"
    (digits / "notes.txt").write_text("no picture")
    arguments = [digits, *NETWORK, "--target", "8", "--eps", "0.3", "-o", out]
    done = lab("fool", *arguments)
    assert done.code == 0
    assert "2 of 2 fooled" in done.out
    assert "left out: target '8'" in done.err  # the eight is one already
    with (out / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["before"] for row in rows] == ["0", "6"]
    assert {row["after"] for row in rows} == {"8"}
    for row in rows:
        told = json.loads((out / row["folder"] / "fooled.json").read_text())
        assert told["smallest"]["linf"] == int(row["smallest_linf"])
    as_json = lab("fool", *arguments, "--json").json
    assert (as_json["fooled"], as_json["of"]) == (2, 2)


def test_a_folder_of_which_some_stand(lab, digits, tmp_path, quick):
    done = lab("fool", digits, *NETWORK, "--target", "1", "--eps", "1/255", "-o", tmp_path / "a")
    assert done.code == 1
    assert "0 of 3 fooled" in done.out


def test_a_folder_of_which_one_is_broken(lab, digits, tmp_path, quick):
    (digits / "z.png").write_bytes(b"no picture")
    done = lab("fool", digits, *NETWORK, "-o", tmp_path / "a")
    assert done.code == 2
    assert "z.png" in done.err
    assert not (tmp_path / "a").exists()


def test_a_folder_without_pictures(lab, tmp_path):
    done = lab("fool", tmp_path, *NETWORK, "-o", tmp_path / "a")
    assert done.code == 2
    assert "holds no pictures" in done.err
    assert not (tmp_path / "a").exists()


def test_two_of_one_name(lab, digits, tmp_path, quick):
    Image.open(digits / "digit 0.png").convert("RGB").save(digits / "digit 0.bmp")
    (digits / "digit 8.png").unlink()
    (digits / "digit 6.png").unlink()
    lab("fool", digits, *NETWORK, "--eps", "0.3", "-o", tmp_path / "a")
    found = {one.name for one in (tmp_path / "a").iterdir() if one.name[0] != "."}
    assert found == {"digit_0.bmp", "digit_0.png", "index.csv"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["digits:test#3", "--target", "ate"], "unknown target 'ate'"),
        (["digits:test#3", "--target", "6"], "already"),
        (["digits:test#3", "--eps", "0"], "no 8-bit picture can hold it"),
        (["digits:test#3", "--attack", "square"], "take a gradient attack"),
        (["nowhere.png"], "there is no file 'nowhere.png'"),
        (["noise", "--on", "sky"], "unknown --on 'sky'"),
        (["noise", "--resize", "5"], "--resize 5"),
        (["noise", "--device", "tpu"], "tpu"),
        (["noise", "--backbone", "resnet18@digits"], "resnet18"),
    ],
)
def test_bad_requests(lab, tmp_path, arguments, told):
    out = tmp_path / "a"
    network = [] if "--backbone" in arguments else NETWORK
    done = lab("fool", *arguments, *network, "-o", out, "--json")
    assert done.code == done.json["exit_code"] == 2
    assert told in done.json["error"]
    assert not out.exists()


def test_a_network_of_other_classes_is_not_asked(lab, tmp_path):
    twos = ["--backbone", "torchvision:squeezenet1_1?weights=none"]
    done = lab("fool", "digits:test#3", *NETWORK, *twos, "-o", tmp_path / "a")
    assert done.code == 2
    assert "channels" in done.err
    assert not (tmp_path / "a").exists()


def test_weights_that_cannot_be_had(lab, tmp_path, monkeypatch):
    """No network: the message says which file belongs where."""
    import torch

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    done = lab("fool", "-o", tmp_path / "a")
    assert done.code == 2
    assert "googlenet-1378be20.pth" in done.err
    assert "put the file into that folder" in done.err
    assert not (tmp_path / "a").exists()


def test_ten_options_at_most():
    names = {option for one in fool.params for option in one.opts if option.startswith("--")}
    assert len(names) == 10
