"""The page's parts on severities, corruptions and what CNNs go by: figures recounted from a run."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest

import robustlab
from robustlab import Backbone, Data, Suite, statistics
from robustlab.reporting import write_report
from robustlab.reporting.invariance import PARTS, corruptions, seeing, severity, severity_curves
from robustlab.reporting.invariance.corruptions import mean_error, shade
from robustlab.reporting.invariance.severity_curves import Curve, at, pairs, said
from robustlab.reporting.invariance.severity_drawing import tiles
from robustlab.reporting.section import Story
from robustlab.results import Results
from robustlab.suite import BackboneSpec, ProbeSpec

pytestmark = pytest.mark.slow

NAMES = ("lenet5-max@digits", "mlp@digits")
CHANGES = ("rotation", "noise")
HOSTILE = '<img src=x onerror="alert(1)">'


def suite(names=NAMES, **changes) -> Suite:
    made = Suite(
        backbones=tuple(BackboneSpec(n) for n in names),
        probes=(
            ProbeSpec("severity", sweep={"change": list(CHANGES)}),
            ProbeSpec("corruptions", {"kinds": ["fog", "jpeg_compression"]}),
            ProbeSpec("seeing"),
        ),
        take=12,
        shard=5,
    )
    return replace(made, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Results:
    folder = tmp_path_factory.mktemp("severity")
    return Results(robustlab.run(suite(), out=folder / "run", device="cpu").folder)


@pytest.fixture(scope="module")
def tree(run, parse):
    return parse((run.folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def section(tree):
    (found,) = tree.all("section", id="invariance")
    return found


def groups(run, probe):
    return [g for g in run.groups() if g.plan["probe"] == probe]


def table_of(section, file):
    """The CSV file of that name inside the page, as dictionaries."""
    (link,) = [a for a in section.all("a") if a.attributes.get("download") == file]
    text = unquote(link.attributes["href"].partition(",")[2])
    return list(csv.DictReader(io.StringIO(text)))


def test_every_part_is_told(section, tree):
    assert {"severity", "corruptions", "seeing"} <= set(PARTS)
    assert len(section.all("h3")) == 2  # the first part's finding is the section's
    assert not tree.all("section", id="probes")


def check_curves(section, run) -> None:
    """Every row of the data, and every rate in the table, counted again from the arrays."""
    for place, change in enumerate(CHANGES):
        rows = table_of(section, f"severity-{place}.csv")
        for g in groups(run, "severity"):
            if g.plan["params"]["change"] != change:
                continue
            mine = [r for r in rows if r["backbone"] == g.backbone]
            correct, p = g.outcome.arrays["correct"], g.outcome.arrays["p_true"]
            assert correct.shape == (12, len(mine) - 1)
            for i, row in enumerate(mine[:-1]):
                hits = int(correct[:, i].sum())
                expected = statistics.wilson(hits, 12)
                assert float(row["accuracy"]) == pytest.approx(expected.value)
                assert float(row["low"]) == pytest.approx(expected.low)
                assert float(row["high"]) == pytest.approx(expected.high)
                assert float(row["mean_p_true"]) == pytest.approx(p[:, i].mean(dtype=float))
            every = int(np.logical_and.reduce(correct, axis=1).sum())
            assert mine[-1]["level"] == "all"
            assert float(mine[-1]["accuracy"]) == pytest.approx(every / 12)
            shown = [
                [c.words for c in row.all("td")]
                for row in section.all("table", class_="sortable")[0].all("tbody")[0].all("tr")
                if row.all("th")[0].words == change.capitalize()
            ]
            (cells,) = [c for c in shown if c[0] == g.backbone]
            assert cells[1] == str(statistics.rate(correct[:, mine_zero(mine)]))
            assert cells[2] == str(statistics.wilson(every, 12))
            assert cells[3] == half_by_hand(mine)


def mine_zero(rows):
    return [float(r["level"]) for r in rows[:-1]].index(0.0)


def half_by_hand(rows):
    clean = float(rows[mine_zero(rows)]["accuracy"])
    lost = [r for r in rows[:-1] if float(r["level"]) and 2 * float(r["accuracy"]) <= clean]
    if not lost:
        return "not in this range"
    first = min(lost, key=lambda r: abs(float(r["level"])))
    level = f"{float(first['level']):g}"
    unit = "degrees" if float(rows[0]["level"]) < 0 else "(standard deviation)"
    return f"at {level} {unit}"


def test_curves_are_recounted(section, run):
    check_curves(section, run)


MUTANTS = {
    "worst is any": ("worst_correct", lambda c: c.correct.any(axis=1)),
    "clean is the first level": ("clean", lambda c: c.rates[0]),
    "half is the largest level": (
        "half",
        lambda c: max(
            (i for i, r in enumerate(c.rates) if r.value <= c.clean.value / 2),
            key=lambda i: abs(c.places[i]),
            default=None,
        ),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_recounting_kills(run, parse, tmp_path, monkeypatch, mutant):
    name, broken = MUTANTS[mutant]
    monkeypatch.setattr(severity_curves.Curve, name, property(broken))
    page = write_report(run, tmp_path / "r.html").read_text(encoding="utf-8")
    (section,) = parse(page).all("section", id="invariance")
    with pytest.raises(AssertionError):
        check_curves(section, run)


def check_heat(section, run) -> None:
    rows = table_of(section, "corruptions.csv")
    tables = section.all("table", class_="heat")
    for g, table in zip(groups(run, "corruptions"), tables, strict=True):
        body = table.all("tbody")[0].all("tr")
        wrongs = []
        for kind, row in zip(("fog", "jpeg_compression"), body[:-1], strict=True):
            wrong = ~g.outcome.arrays[f"correct[{kind}]"]
            wrongs.append(wrong)
            cells = row.all("td")
            assert [c.words for c in cells[:5]] == [f"{100 * w:.0f}" for w in wrong.mean(axis=0)]
            told = [r for r in rows if (r["backbone"], r["corruption"]) == (g.backbone, kind)]
            assert [float(r["error"]) for r in told] == pytest.approx(wrong.mean(axis=0))
            assert cells[5].words.startswith(f"{100 * wrong.mean():.1f} %")
        last = body[-1].all("td")
        assert last[-1].words.startswith(f"{100 * np.mean(wrongs):.1f} %")
        assert [c.words for c in last[:5]] == [
            f"{100 * v:.0f}" for v in np.mean(wrongs, axis=(0, 1))
        ]
        every = np.concatenate(wrongs, axis=1)
        assert str(statistics.rate(~every.any(axis=1))) in table.words
    assert "No mCE is given" in section.words


def test_heat_tables_are_recounted(section, run):
    check_heat(section, run)


def test_heat_kills(run, parse, tmp_path, monkeypatch):
    right = {"_rates": lambda wrong: [statistics.rate(~column) for column in wrong.T]}
    monkeypatch.setitem(corruptions.__globals__, "_rates", right["_rates"])
    page = write_report(run, tmp_path / "r.html").read_text(encoding="utf-8")
    (section,) = parse(page).all("section", id="invariance")
    with pytest.raises(AssertionError):
        check_heat(section, run)


def test_seeing_is_recounted(section, run):
    for kind in ("patch_shuffle", "low_pass", "high_pass", "silhouette"):
        rows = table_of(section, f"seeing-{kind}.csv")
        for g in groups(run, "seeing"):
            mine = [r for r in rows if r["backbone"] == g.backbone]
            correct = g.outcome.arrays[f"correct[{kind}]"]
            assert mine[0]["version"] == "image"
            assert float(mine[0]["accuracy"]) == g.outcome.samples["clean_correct"].mean()
            assert [float(r["accuracy"]) for r in mine[1:]] == pytest.approx(correct.mean(axis=0))
            assert {r["n"] for r in mine} == {"12"}
    assert "10.0 %" in section.words  # chance
    assert "12 of 12 digits whose background can be told" in section.words


def test_titles_carry_their_numbers(run, section):
    story = Story.of(run)
    told = [
        part(story, groups(run, name))
        for name, part in (
            ("severity", severity),
            ("corruptions", corruptions),
            ("seeing", seeing),
        )
    ]
    curves = [severity_curves.curve_of(g) for g in groups(run, "severity")]
    worst = min(curves, key=lambda c: c.worst.value)
    lost = sum(c.half is not None for c in curves if c.backbone == NAMES[0])
    assert f"`{NAMES[0]}` within {lost} of 2 ranges of change" in told[0].title
    assert f"{worst.worst} of 12 digits" in told[0].title
    first = groups(run, "corruptions")[0]
    assert f"{100 * first.outcome.samples['mean_error'].mean():.1f} %" in told[1].title
    shuffled = statistics.rate(
        groups(run, "seeing")[0].outcome.arrays["correct[patch_shuffle]"][:, 0]
    )
    assert f"{shuffled} cut into 2 x 2 shuffled patches" in told[2].title


def test_a_corruption_is_shown_once_whatever_the_shards(section, run):
    outcome = groups(run, "corruptions")[0].outcome
    assert len(outcome.pictures) == 3 * 2  # a strip a shard and kind
    names = [h.words for h in section.all("h4")]
    assert [names.count(name) for name in ("fog", "JPEG compression")] == [1, 1]


def test_pictures_are_the_probes(section, run):
    """The tiles of the page put side by side are the strip of the probe."""
    import base64

    from PIL import Image

    strip = groups(run, "severity")[0].outcome.pictures[0].pixels
    (first, *_) = section.all("ol", class_="steps")
    shown = []
    for image in first.all("img"):
        data = base64.b64decode(image.attributes["src"].partition(",")[2])
        shown.append(np.asarray(Image.open(io.BytesIO(data))))
    assert np.array_equal(np.concatenate(shown, axis=1), strip)
    large = np.zeros((100, 300, 3), np.uint8)
    assert tiles(large, 3)[1]


# Words.


def curve(correct, levels=("-30", "0", "30", "60"), backbone="a", change="rotation"):
    array = np.asarray(correct, dtype=bool)
    return Curve(backbone, change, change, levels, array, array.astype(float))


def test_sentences():
    lost = curve([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 1]])
    assert lost.half == 2
    (sentence,) = said([lost])
    assert sentence.startswith("`a` has lost half of its clean 100.0 % [51.0, 100.0] at 30 degrees")
    assert "where 25.0 %" in sentence
    assert "right at every level: 0.0 %" in sentence
    kept = curve([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    assert kept.half is None
    assert "does not lose half" in said([kept])[0]
    assert "lowest accuracy is 75.0 %" in said([kept])[0]
    never = curve([[0, 0, 0, 0]] * 3)
    assert never.half is None
    assert "right on no image" in said([never])[0]
    assert at("noise", "0.1") == "at 0.1 (standard deviation)"
    assert at("scale", "-1") == "at -1 (octaves)"
    assert at("unknown", "3") == "at 3"


def test_pairs_are_paired_and_corrected():
    rng = np.random.default_rng(0)
    a = curve(rng.random((60, 4)) < 0.97)
    b = curve(rng.random((60, 4)) < 0.7, backbone="b")
    other = curve(rng.random((60, 2)) < 0.7, levels=("0", "30"), backbone="c")
    found = pairs([[a, b, other], [a, b]])
    assert [(p.first, p.second) for p in found] == [("a", "b")] * 2
    test = statistics.mcnemar(a.worst_correct, b.worst_correct)
    assert found[0].paired == test
    assert found[0].p == pytest.approx(min(1.0, 2 * test.p))


def test_a_mean_error_of_nothing_still_has_an_interval():
    none, every = np.zeros((30, 5), bool), np.ones((30, 5), bool)
    assert mean_error(none).high == statistics.wilson(0, 30).high > 0.05
    assert mean_error(every).low == statistics.wilson(30, 30).low < 0.95
    some = np.random.default_rng(0).random((30, 5)) < 0.3
    assert mean_error(some) == statistics.bootstrap_mean(some.mean(axis=1))


def test_ink_can_be_read():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    for share in np.linspace(0, 1, 51):
        look = shade(share)
        light, dark = sorted((luminance(look["ground"]), luminance(look["ink"])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


# What may go wrong.


def test_hostile_names_are_escaped(tmp_path, parse):
    trained = robustlab.load_backbone("mlp@digits").renamed(HOSTILE)
    data = robustlab.load_data("digits:test").take(3)
    hostile = Data(data.images, data.labels, 10, HOSTILE, [f"{HOSTILE}{i}" for i in range(3)])
    made = robustlab.run(suite(), backbones=[trained], data=hostile, out=tmp_path / "run")
    page = (made.folder / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "<img src=x" not in page
    (section,) = parse(page).all("section", id="invariance")
    assert HOSTILE in section.text


def test_one_backbone_and_one_image(tmp_path, parse):
    made = robustlab.run(suite(("mlp@digits",), take=None), data=one_image(), out=tmp_path / "run")
    page = (made.folder / "report.html").read_text(encoding="utf-8")
    (section,) = parse(page).all("section", id="invariance")
    assert "of 1 digit" in section.words or "of 1 image" in section.words
    assert "nan" not in re.findall(r"\w+", section.words.lower())


def one_image() -> Data:
    data = robustlab.load_data("digits:test").subset([0])
    return Data(data.images, data.labels, 10, "single", data.ids)


def test_missing_cells_are_left_out(run, tmp_path, parse):
    """A backbone whose cell is lost has no curve; the other's stays as it was."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    plan = json.loads((folder / "run.json").read_text())["plan"]
    for entry in plan:
        if entry["backbone"] == NAMES[0] and entry["probe"] in ("severity", "seeing"):
            (folder / "cells" / f"{entry['cell']}.json").unlink()
    page = write_report(Results(folder), folder / "r.html").read_text(encoding="utf-8")
    (section,) = parse(page).all("section", id="invariance")
    rows = table_of(section, "severity-0.csv")
    assert {r["backbone"] for r in rows} == {NAMES[1]}
    assert len(section.all("table", class_="heat")) == 2


def test_photographs_have_no_silhouettes(tmp_path, parse):
    """Pictures without a background that can be told: said so, and not counted."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 70 * 80, 2)).eval()
    backbone = Backbone(net, input_shape=(3, 70, 80), classes=2, name="net")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 70, 80)).astype(np.uint8)
    data = Data(pixels, [0, 1, 0, 1], 2, "noise")
    made = robustlab.run(suite(), backbones=[backbone], data=data, out=tmp_path / "run")
    page = (made.folder / "report.html").read_text(encoding="utf-8")
    (section,) = parse(page).all("section", id="invariance")
    assert "0 of 4 images whose background can be told" in section.words
    rows = table_of(section, "seeing-silhouette.csv")
    assert {r["n"] for r in rows} == {"0"}
    assert "made smaller" in section.words


def test_the_mce_of_a_run_that_has_one(run):
    """Recounted from the arrays, image by image; without the column nothing is said of it."""
    from dataclasses import replace

    from robustlab.invariance.mce import ALEXNET, mean_corruption_error

    table_of_group = corruptions.__globals__["_table"]
    (group, *_) = groups(run, "corruptions")
    rng = np.random.default_rng(0)
    n = len(group.outcome.samples["label"])
    right = {f"correct[{kind}]": rng.random((n, 5)) < 0.4 for kind in ALEXNET}
    samples = {**group.outcome.samples, "mce": np.zeros(n)}
    outcome = replace(group.outcome, arrays=right, samples=samples)
    table = table_of_group(None, replace(group, outcome=outcome))
    true = mean_corruption_error({k: 1 - right[f"correct[{k}]"].mean(axis=0) for k in ALEXNET})
    assert table["mce"].startswith(f"{100 * true:.1f} % [")
    plain = replace(group, outcome=replace(outcome, samples=group.outcome.samples))
    assert table_of_group(None, plain)["mce"] == ""
    assert table_of_group(None, group)["mce"] == ""
