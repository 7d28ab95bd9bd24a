"""Filters and norms of the training page are those of the arrays, which are not trusted."""

from __future__ import annotations

import base64
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustlab.reporting.training import write_training_page
from robustlab.reporting.training.layers import _strip, filters, norms
from robustlab.reporting.training.record import UNPACKED, Snapshots, read_training

spec = importlib.util.spec_from_file_location(
    "reporting_tests_make_training", Path(__file__).with_name("make_training.py")
)
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

SECTIONS = {"verdict", "belief", "filters", "layers", "making"}


@pytest.fixture(scope="module")
def page(tmp_path_factory, parse):
    """A card and its arrays to the page's tree."""

    def page(card, arrays=None):
        path = write_training_page(make.write(tmp_path_factory.mktemp("page"), card, arrays))
        return parse(path.read_text(encoding="utf-8"))

    return page


@pytest.fixture
def read(tmp_path):
    """A card and its arrays as they are read."""
    return lambda card, arrays=None: read_training(make.write(tmp_path, card, arrays))


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


def broken_arrays(kind):
    good = make.make_arrays()
    changes = {
        "pickle": {"layers": np.array([Trap()])},
        "layers are numbers": {"layers": np.zeros(5)},
        "one norm short": {"gradient_norm": np.ones((4, 3), np.float32)},
        "complex": {"weight_norm": np.ones((4, 5), complex)},
        "filters flat": {"filters": np.ones((6, 5), np.float32)},
        "epochs short": {"filter_epochs": np.arange(2)},
        "no filters": {"filters": None},
    }[kind]
    return {k: v for k, v in (good | changes).items() if v is not None}


@pytest.mark.parametrize(
    ("kind", "told", "gone"),
    [
        ("pickle", "cannot be read", {"filters", "layers"}),
        ("layers are numbers", "names of the layers are not recorded", {"layers"}),
        ("one norm short", "gradient norms of the layers are not recorded", set()),
        ("complex", "weight norms of the layers are not recorded", set()),
        ("filters flat", "not of the shape", {"filters"}),
        ("epochs short", "not of the shape", {"filters"}),
        ("no filters", "No filters of the first layer were recorded", {"filters"}),
    ],
)
def test_arrays_that_do_not_hold_are_said(page, tmp_path, monkeypatch, kind, told, gone):
    monkeypatch.chdir(tmp_path)
    tree = page(make.make_card(curve=None), broken_arrays(kind))
    assert told in make.section(tree, "belief").words
    assert {s.attributes["id"] for s in tree.all("section")} == SECTIONS - gone
    assert not (tmp_path / "sprung").exists()
    make.check_safe(tree)


def test_the_trap_is_a_trap(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "trap.npz", layers=np.array([Trap()]))
    with np.load(tmp_path / "trap.npz", allow_pickle=True) as archive:
        archive["layers"]
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["cut", "text", "empty", "npy", "bomb"])
def test_a_damaged_archive_is_said(tmp_path, kind):
    path = make.write(tmp_path, make.make_card(), make.make_arrays())
    npz = tmp_path / "resnet20-narrow@digits.training.npz"
    whole = npz.read_bytes()
    if kind == "npy":
        np.save(tmp_path / "x.npy", np.ones(3))
        whole = (tmp_path / "x.npy").read_bytes()
    if kind == "bomb":
        np.savez_compressed(npz, filters=np.zeros(UNPACKED // 8 + 1))
    else:
        npz.write_bytes({"cut": whole[:-300], "text": b"hello", "empty": b""}.get(kind, whole))
    training = read_training(path)
    assert training.layers is None
    assert "cannot be read" in training.missing[-1]


def decode(uri):
    kind, _, body = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def check_filters(held, drawn):
    """Pixels of colour filters are the weights on one scale, zero grey."""
    largest = np.abs(held).max()
    for (_, pictures), snapshot in zip(drawn["rows"], held, strict=True):
        for uri, one in zip(pictures, snapshot, strict=True):
            back = (decode(uri).astype(float) / 127.5 - 1) * largest
            assert np.abs(back.transpose(2, 0, 1) - one).max() <= largest / 127


def colour_filters():
    rng = np.random.default_rng(3)
    return rng.normal(0, 1, (3, 8, 3, 7, 7)) * np.array([0.1, 0.5, 1]).reshape(-1, 1, 1, 1, 1)


def test_filters_share_one_scale():
    held = colour_filters()
    drawn = filters(Snapshots((0, 2, 9), held))
    check_filters(held, drawn)
    assert drawn["range"] == f"{np.abs(held).max():.3g}"
    assert [epoch for epoch, _ in drawn["rows"]] == [0, 2, 9]


def test_the_check_of_filters_kills_a_scale_a_snapshot():
    held = colour_filters()
    own = held / np.abs(held).max(axis=(1, 2, 3, 4), keepdims=True)
    with pytest.raises(AssertionError):
        check_filters(held, filters(Snapshots((0, 2, 9), own)))


def test_one_channel_is_blue_white_red_about_zero():
    held = np.zeros((1, 1, 1, 1, 3))
    held[0, 0, 0, 0] = (-2, 0, 2)
    negative, zero, positive = decode(filters(Snapshots((5,), held))["rows"][0][1][0])[0]
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]
    assert zero.min() > 240


def test_how_far_filters_moved_is_told():
    held = np.ones((2, 4, 1, 3, 3))
    for factor, told in ((1.0, "hardly changed"), (1.5, "changed"), (3.0, "were made anew")):
        held[1] = factor * held[0]
        title = filters(Snapshots((0, 8), held))["title"]
        assert told in title
        assert f"{factor - 1:.2g} times" in title


def test_many_snapshots_are_thinned_and_said():
    drawn = filters(Snapshots(tuple(range(12)), np.ones((12, 64, 3, 11, 11))))
    assert 6 <= len(drawn["rows"]) < 12
    assert drawn["left_out"] == 12 - len(drawn["rows"])
    assert [drawn["rows"][0][0], drawn["rows"][-1][0]] == [0, 11]


def test_of_large_filters_fewer_are_drawn_at_more_epochs():
    drawn = filters(Snapshots(tuple(range(12)), np.ones((12, 64, 1, 32, 32))))
    assert 6 <= len(drawn["rows"]) < 12
    assert {len(pictures) for _, pictures in drawn["rows"]} == {64 - drawn["cut"]}
    assert 8 <= 64 - drawn["cut"] < 64


def test_a_few_towering_weights_do_not_bleach_the_others():
    held = np.full((2, 4, 1, 20, 20), 0.1)
    held[1, 0, 0, 0, :3] = (9, -9, 0.1)
    drawn = filters(Snapshots((0, 8), held))
    assert drawn["range"] == "0.1"
    assert drawn["clipped"] == pytest.approx(100 * 2 / 3200)
    first = decode(drawn["rows"][1][1][0])[0]
    assert (first[0] == first[2]).all()  # clipped to the end of the scale
    assert first[1, 2] > first[1, 0]
    assert filters(Snapshots((0, 8), held[:, :, :, :1, :3]))["range"] == "9"


def test_dead_and_broken_filters_are_drawn():
    held = np.zeros((2, 3, 1, 3, 3))
    assert "after epoch 4" in filters(Snapshots((0, 4), held))["title"]
    held[1, 0, 0, 0, 0] = np.nan
    assert filters(Snapshots((0, 4), held))["broken"]


@pytest.mark.parametrize(
    ("decay", "told"),
    [(0.8, "Gradients reach the first layer"), (0.01, "vanish"), (100.0, "explode")],
)
def test_the_flow_of_gradients_is_judged(read, decay, told):
    found = norms(read(make.make_card(), make.make_arrays(decay=decay)))
    assert told in found["title"]
    gradient = make.make_arrays(decay=decay)["gradient_norm"]
    assert f"{np.median(gradient[:, 0] / gradient[:, -1]):.2g} times" in found["told"][0]


@pytest.mark.parametrize(("head", "last"), [("aux2.fc2", "fc"), ("AuxLogits.fc", "fc"), ("z", "z")])
def test_the_last_layer_is_none_of_an_auxiliary_head(read, head, last):
    names = (*make.LAYERS, head)
    arrays = make.make_arrays(layers=names)
    found = norms(read(make.make_card(), arrays))
    gradient = arrays["gradient_norm"]
    ratio = np.median(gradient[:, 0] / gradient[:, names.index(last)])
    assert f"{ratio:.2g} times that of `{last}` (the last)" in found["told"][0]
    assert f"{ratio:.2g} times the last layer's" in found["title"]
    assert head in [row["name"] for row in found["rows"]]


def test_a_burst_and_frozen_layers_are_told(read):
    arrays = make.make_arrays()
    arrays["gradient_norm"][11, 2] = 1e4
    arrays["gradient_norm"][:, 0] = np.nan
    found = norms(read(make.make_card(), arrays))
    assert any("In epoch 12 the largest gradient was" in one for one in found["told"])
    assert "Without a gradient is 1 layer" in " ".join(found["told"])
    assert found["rows"][0]["gradient"]["values"] == ["frozen"] * 2
    assert (decode(found["rows"][0]["gradient"]["strip"])[..., 3] == 0).all()


def test_strips_brighten_with_the_norm_on_a_logarithmic_scale():
    strip = _strip(np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0, np.nan, 0.0, np.inf]), (1e-4, 1.0))[0]
    light = strip[:5, :3].astype(float).sum(1)
    assert (np.diff(light) > 30).all()
    assert strip[5, 3] == 0
    assert (strip[6] == strip[0]).all()
    assert (strip[7] == strip[4]).all()


def test_layers_that_say_nothing_do_not_break_the_page(page):
    for held in (np.nan, 0.0, np.inf, 1.0):
        arrays = make.make_arrays()
        arrays["gradient_norm"] = np.full((40, 5), held, np.float32)
        arrays["weight_norm"] = np.full((40, 5), held, np.float32)
        make.check_safe(page(make.make_card(curve=None), arrays))


def test_the_numbers_of_the_strips_are_those_of_the_arrays(page):
    arrays = make.make_arrays()
    tree = page(make.make_card(best_epoch=17), arrays)
    tables = make.section(tree, "layers").all("table", class_="strips")
    for table, key in zip(tables, ("gradient_norm", "weight_norm"), strict=True):
        head = [h.words for h in table.all("th", scope="col")]
        assert head[2:] == ["epoch 1", "epoch 17 (kept)", "epoch 40"]
        for row, name, values in zip(
            table.all("tbody")[0].all("tr"), make.LAYERS, arrays[key].T, strict=True
        ):
            assert row.all("code")[0].words == name
            told = [c.words for c in row.all("td", class_="num")]
            assert told == [f"{float(values[e]):.2g}" for e in (0, 16, 39)]
