"""Layers and the demonstration on the page: a real run, its numbers recomputed from the arrays."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from torch import nn

import robustlab
from robustlab import Data, Suite
from robustlab.backbones import Backbone
from robustlab.reporting.invariance.demonstration import demonstration
from robustlab.reporting.invariance.layers import layers, sentence
from robustlab.reporting.invariance.layers_found import Found, found_in, share, shift_name, size
from robustlab.reporting.section import Story
from robustlab.results import Results, measure
from robustlab.statistics import Rate, bootstrap_mean, mean_of_pairs
from robustlab.suite import ProbeSpec

HOSTILE = '<script>alert("x")</script>'


def backbone(name, pool, seed=0, padding=0):
    torch.manual_seed(seed)
    side = 16 - 2 * (1 - padding)
    layers = (nn.Conv2d(1, 3, 3, padding=padding), nn.ReLU(), *pool)
    wide = 3 * (side // (2 if pool else 1)) ** 2
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(wide, 3)).eval()
    return Backbone(module, input_shape=(1, 16, 16), classes=3, name=name)


def images(n=8):
    generator = np.random.default_rng(0)
    ids = [f"own/{i}" for i in range(n - 1)] + [f"{HOSTILE}/{n - 1}"]
    pixels = generator.integers(0, 256, (n, 1, 16, 16), dtype=np.uint8)
    return Data(pixels, np.arange(n) % 3, classes=["a", "b", "<b>c</b>"][:3], ids=ids)


def run_of(folder, backbones, data, **params):
    suite = Suite(
        name="layers",
        shard=3,
        probes=(
            ProbeSpec("equivariance", {"shifts": [[0, 1], [2, 0]], **params}),
            ProbeSpec("demonstration"),
        ),
    )
    run = robustlab.run(suite, backbones=backbones, data=data, out=folder / "run")
    assert run.complete, [f.error for g in run.groups() for f in g.failures]
    return Results(folder / "run")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    nets = [
        backbone("max", (nn.MaxPool2d(2),)),
        backbone(HOSTILE, ()),
    ]
    return run_of(tmp_path_factory.mktemp("layers"), nets, images())


@pytest.fixture(scope="module")
def tree(results, parse):
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    return parse(page)


def group(results, name, probe="equivariance"):
    return next(g for g in results.groups() if g.backbone == name and g.plan["probe"] == probe)


def section_of(tree):
    (section,) = tree.all("section", id="invariance")
    return section


def check_table(results, section):
    """Every number of the first backbone's table, from the arrays."""
    arrays = group(results, "max").outcome.arrays
    table = next(t for t in section.all("table") if "Errors of max" in t.words)
    rows = [[c.words for c in r.all("td")] for r in table.all("tbody")[0].all("tr")]
    assert len(rows) == len(arrays["layers"])
    for place, row in enumerate(rows):
        columns = (("aligned", 4), ("best_roll", 5), ("in_place", 6))
        for name, column in columns:
            held = arrays[name][:, 0, place].astype(float)
            expected = bootstrap_mean(held)
            assert row[column] == ("" if expected.n == 0 else size(expected)), (name, place)
        unrelated = mean_of_pairs(arrays["unrelated"][:, 0, place], arrays["partner"])
        assert row[7] == size(unrelated)
        assert row[8] == share(bootstrap_mean(arrays["changed"][:, 0, place]))
    return rows


def test_the_table_is_recomputed(results, tree):
    rows = check_table(results, section_of(tree))
    assert rows[0][4].startswith("0 (")  # a convolution moves along
    assert float(rows[2][5].split()[0]) > 0.1
    assert [r[2] for r in rows[:3]] == ["1×1", "1×1", "2×2"]


@pytest.mark.parametrize("measure", ["aligned", "best_roll", "in_place", "changed"])
def test_that_check_kills_another_shift(results, parse, monkeypatch, measure):
    right = Found.mean

    def second(self, name, place, shift=0):
        return right(self, name, place, 1 if name == measure else shift)

    monkeypatch.setattr(Found, "mean", second)
    told = layers(Story.of(results), [g for g in results.groups() if "equi" in g.label])
    with pytest.raises(AssertionError):
        check_table(results, parse(f"<section>{told.body}</section>"))


def test_the_verdict_names_the_layer_and_what_is_left(results, tree):
    section = section_of(tree)
    arrays = group(results, "max").outcome.arrays
    title = section.all("h2")[0].words
    assert "Moving along with the image ends for max at 2 (MaxPool2d)" in title
    assert f"{HOSTILE} keeps it" in title
    first, second = (li.words for li in section.all("ul", class_="sentences")[0].all("li"))
    pooled = size(bootstrap_mean(arrays["best_roll"][:, 0, 2]))
    logits = size(bootstrap_mean(arrays["in_place"][:, 0, -1]))
    assert "at 2: after a shift by 1 pixel right its map differs" in first
    assert pooled in first
    assert f"a shift by 1 pixel right leaves {logits} of the distance" in first
    outcome = group(results, "max").outcome
    summed = measure(outcome, outcome.metrics["logit_error_over_shifts"])
    assert size(summed) != logits  # the first shift alone and both are different quantities
    assert f"(mean over all 2 shifts asked for: {size(summed)})" in first
    assert "(n = 8 images)" in first
    assert second.startswith(f"{HOSTILE} moves along with its image up to 1, the last map")


def test_names_are_escaped_and_the_data_complete(results, tree):
    section = section_of(tree)
    links = {a.attributes.get("download"): a.attributes["href"] for a in section.all("a")}
    rows = list(csv.DictReader(io.StringIO(unquote(links["layers-1.csv"].partition(",")[2]))))
    assert {r["backbone"] for r in rows} == {"max", HOSTILE}
    assert {r["shift"] for r in rows} == {"(0, 1)", "(2, 0)"}
    assert {"unrelated_in_place", "unrelated_best_roll"} <= {r["measure"] for r in rows}
    arrays = group(results, "max").outcome.arrays
    wanted = [
        r for r in rows if (r["layer"], r["measure"], r["shift"]) == ("0", "in_place", "(2, 0)")
    ]
    beside = [r for r in rows if r["measure"] == "unrelated_best_roll" and r["backbone"] == "max"]
    held = {(r["layer"], r["shift"]): float(r["mean"]) for r in beside}
    for s, where in enumerate(("(0, 1)", "(2, 0)")):
        mean = arrays["unrelated_best_roll"][:, s, 0].mean()
        assert held["0", where] == pytest.approx(mean, rel=1e-5)
    means = [float(r["mean"]) for r in wanted if r["backbone"] == "max"]
    assert means == pytest.approx([arrays["in_place"][:, 1, 0].mean()], rel=1e-5)
    assert not [n for n in section.walk() if n.tag == "script"]


def test_drawings_and_maps_are_there(tree):
    section = section_of(tree)
    plots = section.all("svg", class_="plot")
    assert len(plots) == 4  # two backbones, wide and narrow
    assert all("nan" not in str(p.attributes) for p in plots)
    ids = [n.attributes["id"] for n in section.walk() if "id" in n.attributes]
    assert len(ids) == len(set(ids))
    pictures = [i for i in section.all("img") if "channel" in i.attributes.get("alt", "")]
    assert len(pictures) == 3 * 3 * (2 + 1)  # before, after, difference of 3 channels a layer


def test_the_demonstration_on_the_page(results, tree):
    section = section_of(tree)
    tables = [t for t in section.all("table") if "demonstration" in t.attributes.get("class", "")]
    lecture = tables[0]
    rows = {r.all("th")[0].words: r for r in lecture.all("tbody")[0].all("tr")}
    cells = {name: [c.words for c in row.all("td")] for name, row in rows.items()}
    given = ["0.1", "1", "0.2", "0.1", "0.3*", "0.1*", "1*", "0.2*", "4 of 4", ""]
    assert cells["input"] == given
    assert cells["max, width 3, stride 1"] == [
        *("1", "1", "1", "0.2", "0.3*", "1", "1", "1*", "2 of 4", "0 of 1")
    ]
    assert cells["polyphase, width 2, stride 2"][-2:] == ["2 of 2", "0 of 1"]
    outcome = group(results, "max", "demonstration").outcome
    counted = next(t for t in section.all("table") if "Every row of" in t.words)
    for row in counted.all("tbody")[0].all("tr"):
        kind, cells = row.all("th")[0].words, [c.words for c in row.all("td")]
        held = outcome.samples[f"changed[{kind}]"]
        assert cells[0] == share(bootstrap_mean(held))
        names = [n.removeprefix("changed[").removesuffix("]") for n in outcome.samples if "[" in n]
        a, b = outcome.arrays["counts"][:, names.index(kind)].sum(axis=0)
        assert cells[1] == f"{a} of {b}"
    assert "4 of 4 inputs of the lecture's row change and 2 of 4 outputs" in section.words


def test_one_backbone_and_one_image(tmp_path, parse):
    results = run_of(
        tmp_path, [backbone("lonely", (nn.AvgPool2d(2),))], images(1), mode="circular", seams=True
    )
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    section = section_of(parse(page))
    assert "lonely" in section.all("h2")[0].words
    assert "seam" in section.words
    assert "no second picture" in section.words
    assert "nan" not in section.words.lower().split()


def test_a_limit_of_images_on_the_page(tmp_path, parse):
    """Arrays hold the measured images alone; the table is made of all of them and no other."""
    results = run_of(tmp_path, [backbone("max", (nn.MaxPool2d(2),))], images(), images=3)
    outcome = group(results, "max").outcome
    assert outcome.arrays["in_place"].shape[0] == outcome.samples["measured"].sum() == 3
    section = section_of(parse((results.folder / "report.html").read_text(encoding="utf-8")))
    check_table(results, section)
    assert "(n = 3 images)" in section.words
    error = outcome.samples["logit_error"]
    at = outcome.arrays["measured_row"]
    left = outcome.arrays["in_place"][:, :, -1].mean(axis=1)
    assert error[at] == pytest.approx(left, rel=1e-5)
    assert np.isnan(np.delete(error, at)).all()


def test_missing_cells_tell_nothing(results):
    story = Story.of(results)
    lost = [replace(g, outcome=None) for g in results.groups()]
    assert layers(story, lost) is None
    assert demonstration(story, lost) is None


def test_maps_that_no_cell_is_left_of(results):
    """A deep network on a small image: every cell sees the border, and the page says so."""
    found = found_in(group(results, "max"))
    arrays = {k: v.copy() for k, v in found.arrays.items()}
    for name in ("aligned", "best_roll"):
        arrays[name][...] = np.nan
    told = sentence(replace(found, arrays=arrays), "images")
    assert told.startswith("No map of `max` has a cell that sees the images alone")


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ((0, 1), "1 pixel right"),
        ((0, -2), "2 pixels left"),
        ((3, 0), "3 pixels down"),
        ((-1, 4), "1 pixel up and 4 right"),
        ((0, 0.5), "0.5 pixel right"),
        ((1, -2.5), "1 pixel down and 2.5 left"),
    ],
)
def test_shifts_in_words(shift, expected):
    assert shift_name(shift) == expected


def test_errors_in_words():
    assert size(Rate(0.0, 0.0, 0.0, 9)) == "0 (exact)"
    assert size(Rate(3e-8, 1e-8, 5e-8, 9)) == "0 (rounding)"
    assert size(Rate(0.5, 0.25, 0.75, 9)) == "0.500 [0.250, 0.750]"
    assert size(Rate(0.5, float("nan"), float("nan"), 1)) == "0.500"
    assert size(Rate(float("nan"), float("nan"), float("nan"), 0)) == "not measured"


def test_parts_of_a_cell(tmp_path, parse):
    """The column stands in circular mode alone, and holds the mean over the images."""
    from robustlab import statistics
    from robustlab.reporting.invariance.layers import _table

    nets = [backbone("max", (nn.MaxPool2d(2),), padding=1)]
    params = {"shifts": [[0, 0.5], [0, 1]], "mode": "circular", "seams": True}
    found = run_of(tmp_path, nets, images(), **params)
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    assert "0.5 pixel right" in page
    assert page.count("by parts of a cell</th>") == 1
    arrays = group(found, "max").outcome.arrays
    rows = _table(found_in(group(found, "max")))["rows"]
    for place in (0, 2):
        told = size(statistics.bootstrap_mean(arrays["fractional"][:, 0, place]))
        assert rows[place]["parts"] == told
        assert told.split()[0] in page
    assert "by parts of a cell</th>" not in "".join(_zero_page(tmp_path, nets))


def _zero_page(folder, nets):
    (folder / "zero").mkdir()
    found = run_of(folder / "zero", nets, images())
    return (found.folder / "report.html").read_text(encoding="utf-8")
