"""Units, attribution and maximisation on the page: a real run, its numbers recounted."""

from __future__ import annotations

import base64
import csv
import dataclasses
import importlib
import io
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robustlab
from robustlab import Data, Suite
from robustlab.backbones import Backbone
from robustlab.filters.tiles import BACK
from robustlab.reporting.doubts import made_images
from robustlab.reporting.filters import looks
from robustlab.reporting.filters import units as page_units
from robustlab.reporting.filters.attribution import TAB10, attribution
from robustlab.reporting.filters.units import deconvnet, maximisation, signed_number
from robustlab.reporting.section import Story
from robustlab.results import Results
from robustlab.statistics import bootstrap_mean
from robustlab.suite import ProbeSpec

pytestmark = pytest.mark.usefixtures("one_thread")

HOSTILE = '<script>alert("x")</script>'
PROBES = (
    ProbeSpec("deconvnet", {"units": 2}),
    ProbeSpec(
        "attribution",
        {"images": 4, "pictures": 2, "samples": 2, "steps": 4, "attack": "fgsm", "eps": ["0.3"]},
    ),
    ProbeSpec("maximisation", {"steps": 4, "channels": 2, "classes": 2, "diversity": 2}),
)

SIDES = ("over", "beside")
PARTS = {"deconvnet": deconvnet, "attribution": attribution, "maximisation": maximisation}


def backbone(name, seed, act=nn.ReLU):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), act(), nn.MaxPool2d(2), nn.Flatten())
    module.append(nn.Linear(3 * 25, 3)).eval()
    return Backbone(module, input_shape=(1, 12, 12), classes=3, name=name)


def images(n=9):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, 12, 12), dtype=np.uint8)
    ids = [f"own/{i}" for i in range(n - 1)] + [f"{HOSTILE}/{n - 1}"]
    return Data(pixels, np.arange(n) % 3, classes=["a", "b", "<b>c</b>"], ids=ids)


def run_of(folder, backbones, probes=PROBES):
    suite = Suite(name="looks", shard=4, probes=probes)
    robustlab.run(suite, backbones=backbones, data=images(), out=folder / "run")
    return Results(folder / "run")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("looks"), [backbone("plain", 0), backbone(HOSTILE, 1)])


@pytest.fixture(scope="module")
def tree(results, parse):
    assert not [f.error for g in results.groups() for f in g.failures]
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert len(page) < 5_000_000 / 4
    return parse(page)


def group(results, probe, name="plain"):
    return next(g for g in results.groups() if g.backbone == name and g.plan["probe"] == probe)


def told(part, results, probe, parse):
    groups = [g for g in results.groups() if g.plan["probe"] == probe]
    found = part(Story.of(results), groups)
    return parse(f"<section><h2>{found.title}</h2>{found.body}</section>")


def table(tree, name):
    links = [a.attributes["href"] for a in tree.all("a") if a.attributes.get("download") == name]
    return list(csv.DictReader(io.StringIO(unquote(links[0].partition(",")[2]))))


def pixels_of(image):
    text = image.attributes["src"].partition("base64,")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def check_units(results, tree):
    found = group(results, "deconvnet").outcome
    a = found.arrays
    rows = [r for r in table(tree, "units.csv") if r["backbone"] == "plain"]
    assert len(rows) == (a["rows"] >= 0).sum()
    seen = np.array([float(r["with random weights"] or "nan") for r in rows])
    assert np.allclose(seen, a["randomised_likeness"][a["rows"] >= 0], equal_nan=True)
    first = rows[0]
    top, bottom, left, right = a["boxes"][0, 0].tolist()
    assert (first["rows"], first["columns"]) == (f"{top} to {bottom - 1}", f"{left} to {right - 1}")
    assert first["image"].endswith(found.samples["id"][a["rows"][0, 0]])
    held = found.samples["randomised_likeness"][found.samples["measured"]]
    wanted = signed_number(bootstrap_mean(held))
    text = " ".join(n.words for n in tree.all("h2") + tree.all("h3") + tree.all("li"))
    assert f"projections correlate {wanted} with those of random weights" in text
    counted = bootstrap_mean(held).n  # images whose patches are all even have no correlation
    assert f"of random weights (n = {counted} image" in text
    return rows


def test_units_are_recounted(results, tree):
    check_units(results, tree)


@pytest.mark.parametrize("mutant", ["metric", "array"])
def test_that_check_kills_another_number(results, parse, monkeypatch, mutant):
    if mutant == "metric":
        right = page_units.mean
        monkeypatch.setattr(page_units, "mean", lambda g, m: right(g, "gradient_likeness"))
    else:
        monkeypatch.setattr(page_units, "_number", lambda value: float(value) + 0.1)
    with pytest.raises(AssertionError):
        check_units(results, told(deconvnet, results, "deconvnet", parse))


def check_attribution(results, tree):
    found = group(results, "attribution").outcome
    rows = [r for r in table(tree, "attribution.csv") if r["backbone"] == "plain"]
    compared = {(r["method"], r["compared with"]) for r in rows}
    assert len(rows) == len(compared) == 2 * len(found.arrays["methods"])
    for row in rows:
        kind = "randomised" if row["compared with"] == "random weights" else "adversarial"
        among = found.samples["measured" if kind == "randomised" else "fooled"]
        wanted = bootstrap_mean(found.samples[f"{kind}_likeness[method={row['method']}]"][among])
        assert int(row["n"]) == wanted.n
        if wanted.n:
            assert float(row["rank correlation"]) == pytest.approx(wanted.value)


def check_sentences(results, tree):
    """Each number with the images it is of, and how far integrated gradients are off."""
    found = group(results, "attribution").outcome
    text = " ".join(li.words for li in tree.all("li"))
    off = found.samples["completeness_error[method=integrated]"]
    off = 100 * off[~np.isnan(off)]
    assert f"integrated {np.median(off):.3g} % in the median and {off.max():.3g} % at most" in text
    for kind, among in (("randomised", "measured"), ("adversarial", "fooled")):
        for m in found.arrays["methods"].tolist():
            held = found.samples[f"{kind}_likeness[method={m}]"][found.samples[among]]
            rate = bootstrap_mean(held)
            told = f"{m} {signed_number(rate)}"
            if rate.n and rate.n < len(held):
                told += f" (n = {rate.n}: other maps are the same everywhere)"
            assert told in text or not rate.n


def test_attribution_is_recounted(results, tree):
    check_attribution(results, tree)
    check_sentences(results, tree)
    found = group(results, "attribution").outcome
    legend = [li.words for ul in tree.all("ul", class_="legend") for li in ul.all("li")]
    wanted = [images().classes[c] for c in found.arrays["occlusion_classes"]]
    assert [x for x in legend if x in images().classes][: len(wanted)] == wanted


def test_that_check_kills_kinds_exchanged(results, parse, monkeypatch):
    module = importlib.import_module(attribution.__module__)
    monkeypatch.setattr(module, "KINDS", ("adversarial", "adversarial"))
    with pytest.raises(AssertionError):
        check_attribution(results, told(attribution, results, "attribution", parse))


def test_maps_that_are_the_same_everywhere_are_not_counted_as_images(results, parse):
    own = group(results, "attribution")
    column = own.outcome.samples["randomised_likeness[method=gradcam]"].copy()
    column[np.flatnonzero(own.outcome.samples["measured"])[0]] = np.nan
    samples = {**own.outcome.samples, "randomised_likeness[method=gradcam]": column}
    changed = dataclasses.replace(own, outcome=dataclasses.replace(own.outcome, samples=samples))
    body = attribution(Story.of(results), [changed]).body
    assert "other maps are the same everywhere" in body
    wanted = bootstrap_mean(column[own.outcome.samples["measured"]])
    words = " ".join(li.words for li in parse(f"<section>{body}</section>").all("li"))
    assert f"gradcam {signed_number(wanted)} (n = {wanted.n}: other maps" in words


def test_the_legend_has_the_colours_of_the_picture():
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    assert [to_hex(c) for c in colormaps["tab10"].colors] == TAB10


def test_maximisation_is_recounted(results, tree):
    a = group(results, "maximisation").outcome.arrays
    rows = [r for r in table(tree, "maximisation.csv") if r["backbone"] == "plain"]
    assert [float(r["reached"]) for r in rows] == pytest.approx(a["reached"].tolist())
    titles = " ".join(h.words for h in tree.all("h3"))
    for name in ("plain", HOSTILE):
        a = group(results, "maximisation", name).outcome.arrays
        beyond = int((a["reached"] > a["strongest"]).sum())
        assert f"{beyond} of {len(rows)}" in titles


def falling_short(group, short):
    """The group with so many of its targets short of the data."""
    arrays = dict(group.outcome.arrays)
    arrays["reached"] = np.where(np.arange(len(arrays["strongest"])) < short, 0.0, 2.0)
    arrays["strongest"] = np.ones(len(arrays["strongest"]))
    return dataclasses.replace(group, outcome=dataclasses.replace(group.outcome, arrays=arrays))


@pytest.mark.parametrize("shorts", [(0, 5), (5, 0)])
def test_a_network_whose_images_fall_short_is_titled_and_doubted(results, shorts):
    """Of two networks the weaker one was told in a sentence below, the title spoke of the first."""
    both = [
        falling_short(group(results, "maximisation", name), short)
        for name, short in zip(("plain", HOSTILE), shorts, strict=True)
    ]
    n = len(both[0].outcome.arrays["reached"])
    weak, fine = (HOSTILE, "plain") if shorts[1] else ("plain", HOSTILE)
    title = maximisation(Story.of(results), both).title
    told = f"{n - 5} of {n} targets of `{weak}`, {n} of {n} of `{fine}`"
    assert title == f"Images made go beyond the strongest of the data for {told}"
    amber, green = made_images(SimpleNamespace(evidence=SimpleNamespace(landed=both)))
    assert amber.level == "amber"
    assert amber.text.startswith(f"`{both[0].label}` on `{weak}`: 5 of {n} images made drive")
    assert (green.level, green.names) == ("green", (f"{both[0].label} on {fine}",))
    single = maximisation(Story.of(results), both[:1]).title
    assert single.startswith("Images made for `plain` go beyond the strongest of the data for ")
    alike = [falling_short(one, 1) for one in both]
    assert maximisation(Story.of(results), alike).title.endswith(
        f"{n - 1} of {n} targets of each network"
    )
    lines = made_images(SimpleNamespace(evidence=SimpleNamespace(landed=alike)))
    assert [line.level for line in lines] == ["green"]


def test_a_grid_is_one_picture_and_that_of_the_probe(results, tree):
    (section,) = tree.all("section", id="filters")
    shown = section.all("img")
    pictures = [
        p
        for probe in ("deconvnet", "attribution", "maximisation")
        for name in ("plain", HOSTILE)
        for p in group(results, probe, name).outcome.pictures
    ]
    assert len(shown) == len(pictures)
    for image, picture in zip(shown, pictures, strict=True):
        assert np.array_equal(pixels_of(image), picture.pixels)
    others = tree.all("section", id="probes")
    assert not others


def check_labels(tree):
    """Each label stands at one column or row of tiles: between them the ground is bare."""
    count = 0
    for grid in tree.all("div", class_="labelled"):
        pixels = pixels_of(grid.all("img")[0])
        for side, axis in (("over", 1), ("beside", 0)):
            names = [n.words for d in grid.all("div", class_=side) for n in d.all("span")]
            if not names:
                continue
            assert all(names)
            count += len(names)
            bare = (pixels == BACK).all(axis=2).all(axis=1 - axis)
            gap = 4 if "patches" in grid.text else 2
            edges = np.flatnonzero(np.diff(bare.astype(int), prepend=0, append=0))
            runs = edges.reshape(-1, 2)[edges[1::2] - edges[::2] == gap]
            tile = (len(bare) + gap) // len(names)
            assert [end for _, end in runs.tolist()] == [tile * i for i in range(1, len(names))]
    return count


def test_labels_stand_at_their_tiles(tree):
    assert check_labels(tree) > 40


def test_labels_are_those_of_the_grid(results, parse):
    grids = told(attribution, results, "attribution", parse).all("div", class_="labelled")
    named = [[n.words for n in grids[0].all("div", class_=side)[0].all("span")] for side in SIDES]
    rows = ["clean", "adversarial", "clean, random weights"]
    assert named == [["image", *methods_of(results)], rows * 2]
    ids = group(results, "attribution").outcome.samples["id"]
    assert grids[1].all("div", class_="beside")[0].all("span")[0].words in ids
    made = told(maximisation, results, "maximisation", parse).all("div", class_="labelled")
    beside = [n.words for n in made[0].all("div", class_="beside")[0].all("span")]
    assert beside[0].startswith("units ")
    assert beside[-1] == "classes 0, 1"


def methods_of(results):
    methods = group(results, "attribution").outcome.arrays["methods"]
    return [str(one).replace("_", " ") for one in methods]


@pytest.mark.parametrize("change", ["one more", "half as many"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("probe", ["deconvnet", "attribution", "maximisation"])
def test_that_check_kills_other_labels(results, parse, monkeypatch, probe, side, change):
    part, true = PARTS[probe], looks.figure

    def changed(one):
        names = getattr(one, side)
        others = [*names, "x"] if change == "one more" else [*names[: len(names) // 2]]
        return true(dataclasses.replace(one, **{side: others}))

    check_labels(told(part, results, probe, parse))
    monkeypatch.setattr(looks, "figure", changed)
    with pytest.raises(AssertionError):
        check_labels(told(part, results, probe, parse))


def test_one_backbone_and_a_cell_that_failed(tmp_path, parse):
    """A SiLU network is refused by the deconvnet and leaves the rest of the page whole."""
    both = [backbone("curved", 0, nn.SiLU), backbone("plain", 0)]
    results = run_of(tmp_path, both, PROBES[:1])
    failed = group(results, "deconvnet", "curved")
    assert "deconvnet is not defined for layer" in failed.failures[0].error
    tree = parse((results.folder / "report.html").read_text(encoding="utf-8"))
    assert {r["backbone"] for r in table(tree, "units.csv")} == {"plain"}
