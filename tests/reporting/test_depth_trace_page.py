"""The depth trace on the page: a real run, its numbers recomputed from the arrays."""

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
from robustlab.outcome import Metric
from robustlab.reporting.filters.depth_trace import depth_trace, sentences, title
from robustlab.reporting.filters.depth_trace_found import Trace, factor, portion, trace_in
from robustlab.reporting.section import Story
from robustlab.results import Results, measure
from robustlab.statistics import Rate, median, rate
from robustlab.suite import ProbeSpec

HOSTILE = '<script>alert("x")</script>'


def backbone(name, *layers, seed=0):
    torch.manual_seed(seed)
    module = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))
    noise = torch.tensor(np.random.default_rng(0).random((64, 1, 8, 8))).float()
    with torch.no_grad():
        module[-1].bias -= module.eval()(noise).mean(dim=0)
    return Backbone(module, input_shape=(1, 8, 8), classes=3, name=name)


def run_of(folder, nets, **params):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)
    labels = nets[0](torch.tensor(pixels) / 255).argmax(dim=1).numpy()
    ids = [f"own/{i}" for i in range(29)] + [f"{HOSTILE}/29"]
    data = Data(pixels, labels, classes=["a", "b", "<b>c</b>"], ids=ids)
    asked = {"images": 0, "layers": 0, "draws": 3, "folds": 2}
    probes = (
        ProbeSpec("depth_trace", {**asked, "eps": "0.2", **params}),
        ProbeSpec("depth_trace", {**asked, "change": "zero", "readout": 0}),
    )
    suite = Suite(name="trace", probes=probes)
    run = robustlab.run(suite, backbones=nets, data=data, out=folder / "run")
    assert run.complete, [f.error for g in run.groups() for f in g.failures]
    return Results(folder / "run")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    nets = [
        backbone("conv", nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)),
        backbone(HOSTILE),
    ]
    return run_of(tmp_path_factory.mktemp("trace"), nets)


@pytest.fixture(scope="module")
def section(results, parse):
    page = (results.folder / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    tree = parse(page)
    assert not tree.all("section", id="probes")
    (found,) = tree.all("section", id="filters")
    return found


def groups(results, attack=True):
    found = [g for g in results.groups() if g.plan["probe"] == "depth_trace"]
    return [g for g in found if (g.plan["params"]["change"] == "attack") == attack]


def check_table(results, section):
    """Every number of the first backbone's table, from the arrays."""
    outcome = groups(results)[0].outcome
    arrays, of = outcome.arrays, outcome.samples["measured"]
    table = next(t for t in section.all("table") if "channels and read-out" in t.words)
    rows = [[c.words for c in r.all("td")] for r in table.all("tbody")[0].all("tr")]
    assert len(rows) == len(arrays["layers"]) == 5
    for place, row in enumerate(rows):
        far = arrays["relative_distance"][of, place] / arrays["input_distance"][of]
        assert row[2] == factor(median(far))
        for c in range(3):
            noise = arrays["control_relative_distance"][of, c, place]
            assert row[3 + c] == factor(median(noise / arrays["control_input_distance"][of, c]))
        assert row[6] == factor(median(arrays["cosine"][of, place]))
        assert row[7] == portion(median(arrays["flips"][of, place]))
        changed = arrays["changed_channels"][of, place]
        assert row[8] == portion(median(arrays["restoring"][of, place] / changed))
        draws = arrays["restoring_random"][of, :, place] / changed[:, None]
        assert row[9] == portion(median(np.median(draws, axis=1)))
        own = arrays["predictions"][of, 0]
        told = arrays["readout_clean"][of, place] == own
        for at, name in ((10, "changed"), (11, "permuted")):
            said = arrays[f"readout_{name}"][of, place] == own
            assert row[at] == str(rate(said[told]))
        assert row[12] == "yes"


def test_the_table_is_recomputed(results, section):
    check_table(results, section)


@pytest.mark.parametrize("measure", ["amplification", "flips", "restoring", "restoring_random"])
def test_that_check_kills_another_layer(results, parse, monkeypatch, measure):
    right = getattr(Trace, measure)
    monkeypatch.setattr(Trace, measure, lambda self, place, *more: right(self, 4 - place, *more))
    told = depth_trace(Story.of(results), groups(results)[:1])
    with pytest.raises(AssertionError):
        check_table(results, parse(f"<section>{told.body}</section>"))


def test_the_verdict_is_computed(results, section):
    one = trace_in(groups(results)[0])
    place = one.left
    first = section.all("ul", class_="sentences")[0].all("li")[0].words
    assert f"is multiplied by {factor(one.amplification(4))} (median of {one.n} images)" in first
    told = measure(groups(results)[0].outcome, Metric("logit_amplification", among="measured"))
    assert factor(told) != factor(one.amplification(4))  # a mean and a median
    assert f"Its mean, the figure of the summary, is {factor(told)}." in first
    assert portion(one.restoring(one.place)) in first
    assert portion(one.restoring_random(one.place)) in first
    if place is not None:
        assert f"The class is left at {one.names[place]}" in first
        assert str(one.own("changed", place)) in first


def planted(shares, n=40):
    """A trace whose read-out tells given shares of n images, layer by layer."""
    layers = len(shares)
    said = np.stack([np.arange(n) >= s * n for s in shares], axis=1).astype(np.int16)
    zeros = np.zeros((n, layers), np.int16)
    names = [f"layer{i}" for i in range(layers)]
    arrays = {
        "layers": np.array(names),
        "modules": np.array(["Conv2d"] * layers),
        "predictions": np.zeros((n, 2), np.int16),
        "readout_clean": zeros,
        "readout_changed": said,
        "readout_permuted": zeros,
        "controls": np.array(["gaussian", "sign", "permuted"]),
        "relative_distance": 2 + zeros,
        "input_distance": np.ones(n),
        "control_relative_distance": np.ones((n, 3, layers)),
        "control_input_distance": np.ones((n, 3)),
        "changed_channels": 10 + zeros,
        "restoring": 1 + zeros,
        "restoring_random": np.stack([3 + zeros, 5 + zeros, zeros - 1], axis=1),
        "whole_exact": np.ones((n, layers), bool),
    }
    every = np.ones(n, bool)
    return Trace("net", "trace", {"change": "attack"}, arrays, every, every, ())


def check_left():
    assert planted([1, 0.2, 0.9, 0.3, 0.1]).left == 3  # the first dip is taken back
    assert planted([1, 1, 0.45, 0.1]).left == 3  # 45 % of 40 may be half
    assert planted([1, 1, 0.6]).left is None


def test_where_the_class_is_left():
    check_left()


def test_that_check_kills_the_first_dip(monkeypatch):
    def first(self):
        shares = [self.own("changed", p) for p in range(len(self.names))]
        return next((p for p, s in enumerate(shares) if s.high < 0.5), None)

    monkeypatch.setattr(Trace, "left", property(first))
    with pytest.raises(AssertionError):
        check_left()


def check_place():
    """Never the logits, where the label is one number; never a layer that a branch goes round."""
    one = planted([1, 0.9, 0.6, 0.1])
    assert (one.left, one.place) == (3, 2)
    assert planted([1, 0.2, 0.1, 0.1]).place == 1
    assert planted([1, 1, 1, 1]).place == 2
    beside = np.tile([True, True, False, True], (40, 1))
    assert replace(one, arrays={**one.arrays, "whole_exact": beside}).place == 1
    nowhere = replace(one, arrays={**one.arrays, "whole_exact": ~np.ones((40, 4), bool)})
    assert nowhere.place == 2
    assert planted([0.1]).place == 0


def test_which_layer_the_sentence_on_channels_is_about():
    check_place()


def test_that_check_kills_the_logits(monkeypatch):
    monkeypatch.setattr(Trace, "place", property(lambda self: self.left or len(self.names) - 2))
    with pytest.raises(AssertionError):
        check_place()


def test_the_caption_says_which_band_it_is(section):
    text = " ".join(c.words for c in section.all("figcaption"))
    assert "of that median between two order statistics" in text


def test_sentences_of_a_planted_trace():
    one = planted([1, 0.9, 0.1])
    text = " ".join(sentences(one, "digits"))
    assert "multiplied by 2 [2, 2] (median of 40 digits)" in text
    assert "The class is left at `layer2` (Conv2d)" in text
    assert str(rate(np.arange(40) < 4)) in text
    assert "when 10 % [10, 10] of the changed channels" in text
    assert "in random order it takes 50 % [50, 50]" in text  # of 3, 5 and never the middle
    assert "Branches" not in text
    assert (
        title([one], "digits") == "Most attacked digits have left their class in `net` at `layer2`"
    )
    round_ = replace(
        one, arrays={**one.arrays, "whole_exact": np.tile([True, False, True], (40, 1))}
    )
    assert "Branches go round 1 layer of 3 (`layer1`)" in " ".join(sentences(round_, "digits"))
    kept = planted([1, 1, 0.9])
    assert "surely" in title([kept], "digits")
    unread = replace(one, arrays={**one.arrays, "readout_clean": one.arrays["readout_clean"] - 1})
    assert "no read-out" in " ".join(sentences(unread, "digits"))
    calm = replace(one, lost=np.zeros(40, bool))
    assert "None of the 40 digits followed lost its label" in " ".join(sentences(calm, "digits"))
    assert title([calm], "digits") == "None of the attacked digits followed lost its label"


def test_numbers_in_words():
    inf, nan = np.inf, np.nan
    assert portion(Rate(inf, 0.5, inf, 9)) == "no share [50, none]"
    assert portion(Rate(0.25, 0.125, inf, 9)) == "25 % [12.5, none]"
    assert portion(Rate(0.25, -inf, inf, 3)) == "25 % (too few for an interval)"
    assert factor(Rate(2.0, -inf, inf, 3)) == "2 (too few for an interval)"
    assert factor(Rate(nan, nan, nan, 0)) == portion(Rate(nan, nan, nan, 0)) == "not measured"


def test_data_and_pictures(results, section):
    links = {a.attributes.get("download"): a.attributes["href"] for a in section.all("a")}
    rows = list(csv.DictReader(io.StringIO(unquote(links["depth-trace-1.csv"].partition(",")[2]))))
    assert {r["backbone"] for r in rows} == {"conv", HOSTILE}
    arrays = groups(results)[0].outcome.arrays
    of = groups(results)[0].outcome.samples["measured"]
    far = np.median(arrays["relative_distance"][of, 0] / arrays["input_distance"][of])
    (held,) = [
        r
        for r in rows
        if (r["backbone"], r["layer"], r["measure"]) == ("conv", "0", "amplification")
    ]
    assert float(held["value"]) == pytest.approx(far, rel=1e-6)
    pictures = [i.attributes["alt"] for i in section.all("img")]
    assert any(alt.startswith(("0, channels", "1, channels")) for alt in pictures)
    assert not [n for n in section.walk() if n.tag == "script"]
    assert len(section.all("svg", class_="plot")) == 2 * 2 * 2  # two parts, two nets, two widths


def test_one_backbone_and_nothing_to_follow(tmp_path):
    results = run_of(tmp_path, [backbone("alone")], eps="0.0001")
    told = depth_trace(Story.of(results), groups(results))
    assert told.title == "No attacked images could be followed"
    assert "none that is right was fooled" in told.body
    assert depth_trace(Story.of(results), groups(results, attack=False)) is not None
    assert (results.folder / "report.html").exists()
