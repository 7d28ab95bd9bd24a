"""Filters on the page: a real run, its numbers recomputed from the weights and the arrays."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robustlab
from robustlab import Data, Suite
from robustlab.backbones import Backbone
from robustlab.reporting.filters import PARTS, filters, looking, weights
from robustlab.reporting.section import Story
from robustlab.results import Results
from robustlab.statistics import mean_share
from robustlab.suite import ProbeSpec

HOSTILE = '<script>alert("x")</script>'
PROBES = (
    ProbeSpec("first_layer"),
    ProbeSpec("kernels"),
    ProbeSpec("feature_maps", {"images": 4}),
    ProbeSpec("filter_bank", {"names": ["difference", "blur"]}),
    ProbeSpec("retrieval", {"nearest": 2, "queries": 6, "steps": 3, "eps": "0.3"}),
)


def backbone(name, seed=0, spoil=False, stride=1, flat=False):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3, stride=stride), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))
    if flat:
        module = nn.Sequential(nn.Flatten(), nn.Linear(144, 5), nn.ReLU(), nn.Linear(5, 3))
    if spoil:
        with torch.no_grad():
            module[0].weight[1] = 0
            module[0].weight[3] = module[0].weight[0]
            module[2].weight[:, 2] = 0
    return Backbone(module.eval(), input_shape=(1, 12, 12), classes=3, name=name)


def images(n=10):
    ids = [f"own/{i}" for i in range(n - 1)] + [f"{HOSTILE}/{n - 1}"]
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, 12, 12), dtype=np.uint8)
    return Data(pixels, np.arange(n) % 3, classes=["a", "b", "<b>c</b>"], ids=ids)


def run_of(folder, backbones, probes=PROBES):
    suite = Suite(name="filters", shard=4, probes=probes)
    run = robustlab.run(suite, backbones=backbones, data=images(), out=folder / "run")
    return Results(run.folder)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    nets = [backbone("spoiled", spoil=True, stride=2), backbone(HOSTILE, seed=1)]
    return run_of(tmp_path_factory.mktemp("filters"), nets)


@pytest.fixture(scope="module")
def tree(results, parse):
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    return parse(page)


def section(tree):
    (found,) = tree.all("section", id="filters")
    return found


def group(results, probe, name="spoiled"):
    return next(g for g in results.groups() if g.backbone == name and g.plan["probe"] == probe)


def table(tree, file):
    (link,) = [a for a in tree.all("a") if a.attributes.get("download", "") == file]
    text = unquote(link.attributes.get("href", "").partition(",")[2])
    return list(csv.DictReader(io.StringIO(text)))


def test_every_probe_has_its_part_and_stands_nowhere_else(results, tree):
    assert set(PARTS) >= {spec.use for spec in PROBES}
    assert len(section(tree).all("h3")) == len(PROBES) - 1  # the first one is the heading
    assert not tree.all("section", id="probes")
    title = tree.all("h1")[0].words
    assert title.startswith("First-layer filters that are dead or another's double: 2 of 4")


def check_defects(results, parse):
    """The planted ones, by layer and number, in the page's sentences."""
    story = Story.of(results)
    words = parse(f"<section>{filters(story).body}</section>").words
    assert "spoiled, 0: 4 filters; dead 1; alike 0 and 3 (cosine 1.000)" in words
    assert "spoiled has 1 dead filter, 1 empty input channel and 1 pair alike" in words
    assert (
        "spoiled, 2 convolutions: dead filters: 0 1; input channels without weight: 2 2; "
        "filters alike: 0 0 and 3."
    ) in words


def test_planted_defects_are_told(results, parse):
    check_defects(results, parse)


def test_that_check_kills_another_network(results, parse, monkeypatch):
    other = (
        group(results, "first_layer", HOSTILE).outcome,
        group(results, "kernels", HOSTILE).outcome,
    )
    for place in (0, 1):
        right = weights.outcome

        def wrong(g, place=place, right=right):
            named = ("first_layer", "kernels")[place]
            return other[place] if g.plan["probe"] == named else right(g)

        with monkeypatch.context() as patch:
            patch.setattr(weights, "outcome", wrong)
            with pytest.raises(AssertionError):
                check_defects(results, parse)


def test_the_tables_are_those_of_the_arrays(results, tree):
    arrays = group(results, "first_layer").outcome.arrays
    rows = [r for r in table(tree, "first-layer.csv") if r["backbone"] == "spoiled"]
    assert [int(r["filter"]) for r in rows] == arrays["order"].tolist()
    for row in rows:
        place = int(row["filter"])
        assert (row["dead"] == "yes") == bool(arrays["dead"][place])
        for name in ("norm", "frequency", "above_nyquist"):
            held = arrays[name][place]
            assert (row[name] == "") == np.isnan(held)
            assert row[name] == "" or float(row[name]) == pytest.approx(held, abs=1e-4)
    kernels = {(r["backbone"], r["layer"]): r for r in table(tree, "kernels.csv")}
    assert kernels["spoiled", "0"]["stride"] == "2×2"
    assert [kernels["spoiled", n]["dead"] for n in "02"] == ["1", "0"]
    maps = table(tree, "feature-maps.csv")
    assert len(maps) == sum(
        len(group(results, "feature_maps", n).outcome.arrays["layer"]) for n in ("spoiled", HOSTILE)
    )
    neighbours = [r for r in table(tree, "neighbours.csv") if r["backbone"] == "spoiled"]
    assert len(neighbours) == 6


def test_energy_above_nyquist_is_weighted_by_energy(results, tree):
    arrays = group(results, "first_layer").outcome.arrays
    energy = np.square(arrays["norm"])
    above = np.nansum(arrays["above_nyquist"] * energy) / energy.sum()
    told = f"{100 * above:.0f} % of the filters' energy lies above what a stride of 2×2 can carry"
    assert told in section(tree).words.replace("\u00a0", " ")
    assert 0.3 < above < 0.95


def test_the_share_of_units_that_images_drive_is_told_with_its_interval(results, tree):
    outcome = group(results, "feature_maps").outcome
    rate = mean_share(outcome.samples["active"][:4])
    told = f"drives {100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}] of"
    assert told in section(tree).words.replace("\u00a0", " ")
    rows = results.summary().query("backbone == 'spoiled' and probe == 'feature_maps'")
    assert rows[["metric", "n"]].values.tolist() == [["active", 4]]
    assert rows["value"].item() == pytest.approx(rate.value)


def test_the_title_does_not_say_correlation_of_what_is_none(results, monkeypatch):
    story = Story.of(results)
    groups = [g for g in story.evidence.landed if g.plan["probe"] == "filter_bank"]
    assert "no kernel is flipped" in PARTS["filter_bank"](story, groups).title
    right = looking.outcome

    def other(g):
        found = right(g)
        worse = {"correlates": found.samples["correlates"] + 0.1} if g.backbone == "spoiled" else {}
        return dataclasses.replace(found, samples={**found.samples, **worse})

    monkeypatch.setattr(looking, "outcome", other)
    title = PARTS["filter_bank"](story, groups).title
    assert "The kernels that" in title
    assert "spoiled" in title
    assert HOSTILE not in title
    assert "no kernel is flipped" not in title


def test_neighbours_are_told_with_their_interval(results, tree):
    outcome = group(results, "retrieval").outcome
    measured, fooled = outcome.samples["measured"], outcome.samples["fooled"]
    words = section(tree).words.replace("\u00a0", " ")
    for name, among in (("same_class_before", measured), ("same_class_after", fooled)):
        if among.sum() > 1:
            rate = mean_share(outcome.samples[name][among])
            assert (
                f"{100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]" in words
            )
    assert f"of the {fooled.sum()} image" in words or "fooled none" in words


def test_a_grid_costs_one_picture_and_is_the_probes_own(results, tree):
    found = []
    for image in section(tree).all("img"):
        raw = base64.b64decode(image.attributes.get("src", "").partition(",")[2])
        found.append(np.asarray(Image.open(io.BytesIO(raw))))
    drawn = [p.pixels for g in results.groups() if g.outcome for p in g.outcome.pictures]
    assert len(found) == len(drawn)
    for pixels in found:
        assert any(np.array_equal(pixels, one) for one in drawn)


def test_the_page_is_small_and_loads_nothing(results):
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    assert len(page) < 600_000
    assert 'src="http' not in page


def test_one_network_without_convolutions(tmp_path, parse):
    """Two probes refuse it, by name; the others tell what there is."""
    results = run_of(tmp_path, [backbone("flat", flat=True)])
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    found = section(parse(page))
    assert "no convolution of its own to show" in found.words
    assert "behind the ReLUs of flat stay dead on 4 images" in found.words
    assert not [a for a in found.all("a") if a.attributes.get("download", "") == "kernels.csv"]
    failures = [f.error for g in results.groups() for f in g.failures]
    assert len(failures) == 2
    assert all("no convolution with shared weights" in one for one in failures)


def test_a_run_without_these_probes_has_no_section(tmp_path):
    results = run_of(tmp_path, [backbone("plain")], (ProbeSpec("demonstration"),))
    assert filters(Story.of(results)) is None
