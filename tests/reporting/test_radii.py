"""Radii on the page: the median counts what was not found, the histogram what was."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
from scipy import stats

from robustlab import statistics
from robustlab.reporting import radii as view
from robustlab.reporting.radii import Radii, radii_of, written
from robustlab.reporting.section import Story
from robustlab.statistics import Rate


def expected_median(radius):
    """By counting, with the ranks from scipy's quantiles."""
    ranked = sorted(radius)
    n = len(ranked)
    rank = int(stats.binom.ppf(0.025, n, 0.5))  # the smallest with at least 2.5 % at or below it
    middle = (ranked[(n - 1) // 2] + ranked[n // 2]) / 2
    return Rate(middle, ranked[rank - 1], ranked[n - rank], n)


def check_medians(results, tree):
    (section,) = tree.all("section", id="radii")
    shown = {
        row.all("th")[0].attributes["data-key"]: [c.words for c in row.all("td")]
        for row in section.all("table", class_="rates")[0].all("tbody")[0].all("tr")
    }
    for g in results.groups():
        if g.label != "fmn":
            continue
        radius = g.outcome.samples["radius"]
        found = expected_median(radius)
        median, levels, smallest, wrong, without, nearer = shown[g.backbone]
        value, rest = median.split(" [")
        low, high = (float(x) for x in rest.rstrip("]").split(", "))
        for text, number in ((value, found.value), (low, found.low), (high, found.high)):
            assert float(text) == pytest.approx(number, rel=6e-3)
        assert float(levels.split(" [")[0]) == pytest.approx(255 * found.value, rel=6e-3)
        assert float(smallest) == pytest.approx(radius[radius > 0].min(), rel=6e-3)
        assert int(wrong) == int((~g.outcome.samples["clean_correct"]).sum())
        assert int(without) == int(np.isinf(radius).sum()) > 5
        assert int(nearer) == recount_nearer(results, g.backbone, radius)
    return len(shown)


def recount_nearer(results, backbone, radius):
    best = np.full(len(radius), np.inf)
    for g in results.groups():
        if g.backbone == backbone and g.label in ("pgd", "autoattack", "fgsm"):
            for e in g.plan["eps"]:
                hit = g.outcome.samples[f"verified[eps={e}]"]
                found = np.where(hit, g.outcome.samples[f"distance[eps={e}]"], np.inf)
                best = np.minimum(best, found)
    return sum(b < 0.99 * r for b, r in zip(best, radius, strict=True))


def test_medians_are_recounted(attacked):
    assert check_medians(attacked.results, attacked.tree) == 3


MUTANTS = {
    "without infinite radii": lambda v: statistics.median(np.asarray(v)[np.isfinite(v)]),
    "without images wrong unattacked": lambda v: statistics.median(
        np.asarray(v)[np.asarray(v) > 0]
    ),
    "mean": lambda v: statistics.bootstrap_mean(v),
    "80 %": lambda v: statistics.median(v, 0.8),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_check_of_medians_kills(attacked, monkeypatch, parse, tmp_path, mutant):
    monkeypatch.setattr(view, "median", MUTANTS[mutant])
    section = view.radii(Story.of(attacked.results))
    page = f'<section id="radii">{section.body}</section>'
    with pytest.raises(AssertionError):
        check_medians(attacked.results, parse(page))


def test_title_tells_the_medians(attacked):
    story = Story.of(attacked.results)
    found = sorted(radii_of(story, "linf"), key=lambda r: r.median.value)
    title = attacked.tree.all("section", id="radii")[0].all("h2")[0].words
    assert f"within eps {written(found[0].median)} for {found[0].backbone}" in title


def make(radius):
    return Radii("net", "linf", ("fmn",), np.array(radius, float), 0, tuple("abcdefgh"))


def test_what_is_beyond_all_that_was_tried():
    lost = make([0.1, 0.2, 0.3, *[math.inf] * 5])
    assert lost.median.value == math.inf
    assert written(lost.median) == "beyond [0.100, beyond]"
    assert "No search found" in view._title([lost])
    few = make([0.1, 0.2])
    assert (few.median.low, few.median.high) == (0.0, math.inf)  # too few for an interval
    nothing = replace(lost, radius=np.zeros(3))
    assert math.isnan(nothing.smallest)
    assert written(nothing.median) == "0 [0, beyond]"


def pixels(radius):
    return replace(make(radius), norm="l0")


def test_pixels_are_whole_and_named():
    one = pixels([0, 3, 3, 4, 4, 5, 9, math.inf])
    assert written(one.median, norm="l0") == "4 [0, beyond]"
    assert (
        view._title([one]) == "Half of the images fall within 4 [0, beyond] pixels for `net` (L0)"
    )
    assert view._title([replace(one, norm="linf")]) != view._title([one])


@pytest.mark.parametrize(("largest", "bins"), [(1, 40), (12, 22), (22, 22), (784, 40), (0, 22)])
def test_bins_hold_equally_many_whole_numbers(largest, bins):
    edges = view.whole(float(largest), bins)
    assert len(edges) - 1 <= bins
    held = np.histogram(np.arange(largest + 1), edges)[0]
    assert held.sum() == largest + 1
    assert set(held[:-1].tolist()) <= {held[0]}
    if 2 <= largest < bins:  # mutant: edges that know nothing of whole numbers
        other = np.histogram(np.arange(largest + 1), np.linspace(0, largest, bins + 1))[0]
        assert len(set(other[:-1].tolist())) > 1


@pytest.mark.parametrize("radius", [[3.0] * 8, [0.0, 700.0, math.inf], [math.inf] * 8])
def test_radii_in_pixels_are_drawn(attacked, radius):
    story = Story.of(attacked.results)
    one = replace(pixels(radius), backbone="lenet5-max@digits")
    drawn = str(view._draw(story, [one], (370, 22), "r", "alt"))
    assert "nan" not in drawn
    assert drawn.startswith("<svg")


@pytest.mark.parametrize("radius", [[math.inf] * 8, [0.0] * 8, [0.1], [0.0, math.inf]])
def test_odd_radii_are_drawn(attacked, radius):
    story = Story.of(attacked.results)
    one = replace(make(radius), backbone="lenet5-max@digits")
    drawn = str(view._draw(story, [one], (370, 22), "r", "alt"))
    assert drawn.startswith("<svg")
    assert "nan" not in drawn


def test_the_data_hold_every_radius(attacked):
    links = attacked.tree.all("a")
    (link,) = (a for a in links if a.attributes.get("download") == "radii-linf.csv")
    rows = list(csv.DictReader(io.StringIO(unquote(link.attributes["href"].partition(",")[2]))))
    held = {g.backbone: g.outcome.samples for g in attacked.results.groups() if g.label == "fmn"}
    assert len(rows) == 3 * 120
    for backbone, samples in held.items():
        mine = [float(r["radius"]) for r in rows if r["backbone"] == backbone]
        assert np.array_equal(mine, samples["radius"])


def test_the_smallest_over_several_attacks_counts(lay, runs):
    weak = runs.Probe("fab", strength=0.5, radius=True)
    probes = [*runs.SEARCHES, weak]
    recipe = runs.Recipe(n=60, backbones={"net": 0.1}, probes=probes)
    (found,) = radii_of(Story.of(lay(recipe)), "linf")
    assert found.attacks == ("fmn", "fab")
    columns = {g.label: g.outcome.samples for g in lay(recipe).groups()}
    both = np.minimum(columns["fmn"]["radius"], columns["fab"]["radius"])
    assert np.array_equal(found.radius, both)
    assert not np.array_equal(both, columns["fmn"]["radius"])
