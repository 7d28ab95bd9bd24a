"""The page's part on shifts: its numbers are those of the run, recomputed by loops."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest

from robustlab import statistics
from robustlab.errors import BadRequest
from robustlab.reporting.invariance import shift_pictures as pictures
from robustlab.reporting.invariance import shift_words as words
from robustlab.reporting.invariance import shifts as part
from robustlab.reporting.invariance.shift_found import Shifts, pairs_of
from robustlab.reporting.section import Story

EVIL = "<b>evil</b>'\"&`{{7*7}}"
N, RADIUS = 14, 2


def small(name, seed):
    import torch
    from torch import nn

    from robustlab import Backbone

    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 6, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 14 * 14, 10)]
    module = nn.Sequential(*layers)
    module[3].weight.data *= 0 if name.startswith("constant") else 4
    return Backbone(module.eval(), input_shape=(1, 32, 32), classes=10, name=name)


def digits(n, classes=10):
    from robustlab import Data, load_data

    some = load_data("digits:test", take=40).subset(np.arange(n))
    return Data(some.images, some.labels, classes=classes, name="own", ids=some.ids)


@pytest.fixture(scope="module")
def make(tmp_path_factory, one_thread):
    """A run of the real machinery, told."""
    import robustlab
    from robustlab import load_backbone
    from robustlab.suite import ProbeSpec, Suite

    def make(names=("lenet5-max@digits", EVIL), n=N, classes=10, probes=None, shard=256):
        probes = probes or [{"radius": RADIUS, "pictures": 2, "draws": 3}]
        probes = [ProbeSpec("clean", {"sample": 0}), *(ProbeSpec("shift", p) for p in probes)]
        suite = Suite(probes=tuple(probes), shard=shard)
        networks = [
            load_backbone(name).renamed(name) if "@" in name else small(name, place)
            for place, name in enumerate(names)
        ]
        folder = tmp_path_factory.mktemp("run") / "run"
        data = digits(n, classes)
        run = robustlab.run(suite, backbones=networks, data=data, out=folder)
        story = Story.of(run)
        groups = [g for g in story.evidence.landed if g.plan["probe"] == "shift"]
        return SimpleNamespace(
            story=story, groups=groups, told=part.shift(story, groups), data=data
        )

    return make


@pytest.fixture(scope="module")
def run(make):
    return make()


@pytest.fixture(scope="module")
def tree(run, parse):
    return parse(f"<main><section>{run.told.body}</section></main>")


def table(tree):
    """Rows of the numbers: (backbone, radius) -> cells."""
    rows = tree.all("tbody")[-1].all("tr")
    return {
        (r.all("th")[0].attributes["data-key"], int(r.all("td")[0].text)): [
            c.words for c in r.all("td")
        ]
        for r in rows
    }


def pairs_of_shifts(prediction):
    flat = prediction.reshape(len(prediction), -1)
    found = []
    for one in flat:
        same = (one[:, None] == one[None]).sum() - len(one)
        found.append(same / (len(one) * (len(one) - 1)))
    return np.array(found)


def jackknifed(vectors, about):
    """The mean over pairs of different images, and what it is without each, as pseudo-values."""
    n = len(vectors)
    pairs = np.array(
        [np.linalg.norm(vectors - v, axis=1) / a for v, a in zip(vectors, about, strict=True)]
    )
    apart = ~np.eye(n, dtype=bool)
    without = [pairs[np.ix_(rest, rest)][apart[1:, 1:]].mean() for rest in n_but_one(n)]
    return n * pairs[apart].mean() - (n - 1) * np.array(without)


def n_but_one(n):
    return [[k for k in range(n) if k != i] for i in range(n)]


def check_table(tree, run):
    found = table(tree)
    for group in run.groups:
        full, labels = group.outcome.arrays["prediction"], run.data.labels
        for radius in (1, 2):
            inner = slice(RADIUS - radius, RADIUS + radius + 1)
            prediction = full[:, inner, inner]
            right = prediction == labels[:, None, None]
            cells = found[group.backbone, radius]
            assert cells[1] == str(statistics.rate(right[:, radius, radius]))
            assert cells[2] == str(statistics.mean_share(right.mean((1, 2))))
            assert cells[3] == str(group.rate(f"worst_of_k_accuracy[radius={radius}]"))
            assert cells[4] == str(statistics.rate(right.all((1, 2))))
            assert cells[5] == str(statistics.mean_share(pairs_of_shifts(prediction)))
            relative = {
                "logits": (cells[6], cells[7]),
                "embedding": (cells[8], cells[9]),
            }
            for name, told in relative.items():
                vectors = group.outcome.arrays[name].astype(float)
                change = group.outcome.arrays[f"{name.removesuffix('s')}_change"][:, inner, inner]
                about = [np.linalg.norm(v - vectors.mean(0)) for v in vectors]
                m = change[0].size - 1  # the middle is 0
                error = [c.sum() / m / a for c, a in zip(change, about, strict=True)]
                other = jackknifed(vectors, about)
                for cell, values in zip(told, (error, other), strict=True):
                    assert cell == words.number_text(statistics.bootstrap_mean(values))
            assert cells[10] == str(
                statistics.mean_share((prediction[:, :, 1:] != prediction[:, :, :-1]).mean((1, 2)))
            )
            assert cells[11] == str(
                statistics.mean_share((prediction[:, 1:] != prediction[:, :-1]).mean((1, 2)))
            )


def test_the_table_is_recounted(tree, run):
    check_table(tree, run)
    assert len(table(tree)) == 4


MUTANTS = {
    "pairs of a shift with itself": (
        "pair_consistency",
        lambda p: np.array(
            [(one.ravel()[:, None] == one.ravel()).mean() for one in p],
        ),
    ),
    "axes swapped": (
        "steps_changed",
        lambda p, axis: np.asarray(
            (p[:, 1:] != p[:, :-1] if axis == "x" else p[:, :, 1:] != p[:, :, :-1]).mean((1, 2))
        ),
    ),
    "right at any shift": (
        "right_everywhere",
        lambda p, y: (p == np.asarray(y)[:, None, None]).any((1, 2)),
    ),
    "about its own mean": (
        "_about_mean",
        lambda v: np.linalg.norm(v - v.mean(axis=1, keepdims=True), axis=1).astype(float),
    ),
    "a wider middle": ("centre", lambda maps, radius: maps),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_check_of_the_table_kills(run, parse, monkeypatch, mutant):
    name, wrong = MUTANTS[mutant]
    monkeypatch.setattr(f"robustlab.invariance.shift_measures.{name}", wrong)
    body = part.shift(run.story, run.groups).body
    with pytest.raises(AssertionError):
        check_table(parse(f"<main>{body}</main>"), run)


def svgs(tree):
    return [s for s in tree.all("svg") if "data-values" in s.attributes]


def test_the_maps_hold_every_cell(tree, run):
    (link,) = (a for a in tree.all("a") if a.attributes["download"] == "shift-0-maps.csv")
    rows = list(csv.DictReader(io.StringIO(unquote(link.attributes["href"].partition(",")[2]))))
    assert len(rows) == 2 * 25
    assert len(svgs(tree)) == 2
    for group, drawn in zip(run.groups, svgs(tree), strict=True):
        right = group.outcome.arrays["prediction"] == run.data.labels[:, None, None]
        values = [float(v) for v in drawn.attributes["data-values"].split(" ")]
        assert np.allclose(values, 100 * right.mean(0).ravel(), atol=0.051)
    true = run.groups[0].outcome.arrays["prediction"] == run.data.labels[:, None, None]
    mine = {(int(r["down"]), int(r["right"])): float(r["accuracy"]) for r in rows[:25]}
    for (dy, dx), value in mine.items():
        assert value == pytest.approx(true[:, dy + 2, dx + 2].mean(), abs=1e-6)


def test_all_maps_share_one_scale(run):
    from PIL import Image

    block = part._block(run.story, [Shifts(g) for g in run.groups], "s")
    accuracy = np.stack([Shifts(g).accuracy for g in run.groups])
    assert block["maps"]["low"] == f"{100 * accuracy.min():.1f} %"
    assert block["maps"]["high"] == f"{100 * accuracy.max():.1f} %"
    seen = {}
    for item, values in zip(block["maps"]["items"], accuracy, strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(item["uri"].partition(",")[2])))
        pixels = np.asarray(image)[::6, ::6]
        assert pixels.shape == (5, 5, 3)
        for value, colour in zip(values.ravel(), pixels.reshape(-1, 3), strict=True):
            assert seen.setdefault(round(float(value), 9), tuple(colour)) == tuple(colour)
    assert len(set(seen.values())) > 2


def test_the_picture_is_the_image_at_that_shift(run):
    """The window shown at (dy, dx) is what the network saw, and its answer the one told."""
    import torch

    from robustlab import load_backbone
    from robustlab.invariance.shifts import shifted

    found = [Shifts(g) for g in run.groups]
    example = pictures.choose_example(found)
    x = torch.tensor(run.data.batch([example.row]))
    said = found[0].prediction[example.row]
    network = load_backbone("lenet5-max@digits")
    for dy, dx in ((0, 0), (2, -1), (-2, 2)):
        moved = shifted(x, dy, dx, "zero")
        assert np.array_equal(example.window(dy, dx), (255 * moved[0]).round().byte().numpy())
        assert int(network(moved).argmax()) == said[dy + 2, dx + 2]
    assert not np.array_equal(example.window(2, -1), example.window(-2, 1))  # mutant: sign


def test_hover_data_name_the_answers(tree, run):
    (figure,) = (f for f in tree.all("figure") if "data-classes" in f.attributes)
    classes = json.loads(figure.attributes["data-classes"])
    example = pictures.choose_example([Shifts(g) for g in run.groups])
    for group, drawn in zip(run.groups, svgs(tree), strict=True):
        said = [classes[int(k)] for k in drawn.attributes["data-said"].split(" ")]
        assert said == [str(k) for k in group.outcome.arrays["prediction"][example.row].ravel()]


def test_flips_are_real(run):
    found = [Shifts(g) for g in run.groups]
    example = pictures.choose_example(found)
    turned = pictures.flips(run.story, found, example)
    one = next(s for s in found if s.backbone == turned["backbone"])
    line = [int(one.prediction[example.row, k, k]) for k in range(5)]
    assert turned["many"] == sum(a != b for a, b in itertools.pairwise(line))
    said = [int(item["said"]) for item in turned["items"]]
    assert any(a != b for a, b in itertools.pairwise(said))
    for item in turned["items"]:
        k = int(item["mark"][0]) + RADIUS
        assert int(item["said"]) == line[k]


def test_pairs_are_paired(run):
    found = [Shifts(g) for g in run.groups]
    (pair,) = pairs_of(found)
    y = run.data.labels[:, None, None]
    right = {g.backbone: (g.outcome.arrays["prediction"] == y) for g in run.groups}
    first, second = right[pair.first.backbone], right[pair.second.backbone]
    assert pair.worst == statistics.mcnemar(first.all((1, 2)), second.all((1, 2)))
    ahead = first.mean((1, 2)) - second.mean((1, 2))
    assert pair.mean == statistics.bootstrap_mean(ahead)
    assert pair.first.worst(RADIUS).value >= pair.second.worst(RADIUS).value
    sentence = words.compared(run.story, pair, 1)
    assert f"gains {100 * ahead.mean():.1f} points" in sentence
    assert f"alone on {pair.worst.only_first}" in sentence


def test_hostile_names_stay_text(tree, run):
    assert EVIL in tree.text
    assert not tree.all("b", id="evil")
    assert "<b>evil" not in run.told.body
    assert "49" not in run.told.title


def check_ranking(sentence, run):
    """Every backbone, best first, with its interval; then whether clean accuracy differs."""
    rates, clean = {}, {}
    for group in run.groups:
        right = group.outcome.arrays["prediction"] == run.data.labels[:, None, None]
        rates[group.backbone] = statistics.rate(right.all((1, 2)))
        clean[group.backbone] = right[:, RADIUS, RADIUS]
    order = sorted(rates, key=lambda name: (-rates[name].value, name))
    told = ", ".join(f"{words.code(name)} {rates[name]}" for name in order)
    assert f": {told}; unshifted, " in sentence
    pairs = list(itertools.combinations(clean, 2))
    p = words.holm([statistics.mcnemar(clean[a], clean[b]).p for a, b in pairs])
    if min(p) >= 0.05:
        assert "unshifted, no difference is established" in sentence
        assert words.p_text(min(p)) in sentence
        return
    gaps = [
        (abs(clean[a].mean() - clean[b].mean()), a, b)
        for (a, b), one in zip(pairs, p, strict=True)
        if one < 0.05
    ]
    for name in max(gaps)[1:]:
        assert (
            f"{words.code(name)} {statistics.rate(clean[name])}" in sentence.split("unshifted")[1]
        )


def test_the_page_opens_with_the_whole_ranking(make, run):
    three = make(("lenet5-max@digits", "small", "other"))
    assert "largest established difference" in three.told.lead[0]
    same = make(("small", "second", "third"), n=6)
    assert "no difference is established" in same.told.lead[0]
    for one in (run, three, same):
        check_ranking(one.told.lead[0], one)
        assert "under attack" not in one.told.lead[0]


def test_that_check_kills_a_ranking_of_two(make):
    """Mutant: the best and the worst alone."""
    three = make(("small", "second", "third"), n=6)
    found = [Shifts(g) for g in three.groups]
    with pytest.raises(AssertionError):
        check_ranking(words.ranking(three.story, found[:2]), three)


def arrows(body):
    """Arrows of the wide scatter, each in the ink of the page's theme."""
    return re.findall(r'id="shift-0-scatter-w-arrow-\d+">\s*<path[^>]*stroke: currentColor', body)


def test_arrows_lead_from_the_first_to_each_other(make, run):
    three = make(("small", "second", "third"), n=6)
    assert len(arrows(three.told.body)) == 2
    assert "the first of the run" in three.told.body
    assert len(arrows(run.told.body)) == 1
    alone = make(("small",), n=6)
    assert not arrows(alone.told.body)
    assert "the first of the run" not in alone.told.body


def test_the_title_tells_the_worst_and_the_best(run):
    for group in run.groups:
        right = group.outcome.arrays["prediction"] == run.data.labels[:, None, None]
        assert str(statistics.rate(right.all((1, 2)))) in run.told.title
    assert "(mode zero)" in run.told.title


def test_one_backbone_one_image(make, parse):
    alone = make(("lenet5-max@digits",), n=1)
    body = parse(f"<main>{alone.told.body}</main>")
    assert not re.search(r"\bnan\b", re.sub(r"data:[^\"']*", "", alone.told.body))
    assert "All images are of class" in body.text
    assert len(svgs(body)) == 1


def test_several_modes_and_a_period(make):
    from robustlab.invariance.shift_measures import AXES

    assert list(AXES) == ["x", "y", "diagonal"]
    several = make(
        ("small",),
        probes=[
            {"radius": 2, "mode": "zero"},
            {"radius": 3, "mode": "canvas", "subpixel": 2},
        ],
        shard=6,
    )
    assert [g.plan["params"]["mode"] for g in several.groups] == ["zero", "canvas"]
    assert "Accuracy at each shift, mode canvas" in several.told.body
    with pytest.raises(BadRequest, match="meaningless here"):
        make(("small",), probes=[{"radius": 2, "mode": "circular"}])  # makes no circle


def test_lines_mark_whole_periods():
    assert part._lines(4, 8) == [4, 8, 12, 16]
    assert part._lines(4, 6) == [2, 6, 10]
    assert part._lines(1, 8) == []
    assert part._lines(16, 8) == []


def test_nothing_to_tell(run):
    assert part.shift(run.story, []) is None


def test_a_logit_error_says_over_which_shifts(run):
    """The layers' part has errors of single shifts: the same name alone would contradict it."""
    for one in map(Shifts, run.groups):
        told = words.error_text(one)
        many = (2 * RADIUS + 1) ** 2 - 1
        assert told.startswith(f"logit error, mean over the {many} shifts by up to {RADIUS} pixels")
        error = words.number_text(one.error("logits", RADIUS))
        assert f", {error}, between unrelated images" in told


def test_no_interval_of_a_share_is_without_width(make):
    """Of networks that answer alike at every shift: 100 % of 14 is no certainty."""
    same = make(("constant", "constant too"))
    one = Shifts(same.groups[0])
    assert one.consistency(RADIUS) == statistics.wilson(N, N)
    assert one.change(RADIUS, "x") == statistics.wilson(0, N)
    assert "[100.0, 100.0]" not in same.told.body
    assert "[0.0, 0.0]" not in same.told.body
    found = same.groups[0].rate(f"pair_consistency[radius={RADIUS}]")
    assert found == statistics.wilson(N, N)


# Between whole pixels -----------------------------------------------------------------------------


def check_between(told, group):
    """The numbers of the page by a loop over images and positions."""
    params, arrays = group.plan["params"], group.outcome.arrays
    middle = params["radius"] * params["subpixel"]
    whole = everywhere = right = only = 0
    for line, label in zip(
        arrays["line_prediction"].tolist(), group.outcome.samples["label"].tolist(), strict=True
    ):
        same = [k == line[middle] for k in line]
        at_whole = all(same[k] for k in range(0, len(line), params["subpixel"]))
        whole, everywhere = whole + at_whole, everywhere + all(same)
        only, right = only + (at_whole and not all(same)), right + all(k == label for k in line)
    n = len(group.outcome.samples["label"])
    row = next(r for r in told["rows"] if r["backbone"] == group.backbone)
    expected = [statistics.rate(np.arange(n) < k) for k in (whole, everywhere, right)]
    assert [row["whole"], row["all"], row["right"]] == [str(rate) for rate in expected]
    assert row["only"] == only
    return whole, everywhere


def turned(group):
    """The same run, with two images that change their answer between whole pixels alone."""
    line = group.outcome.arrays["line_prediction"].copy()
    middle = line.shape[1] // 2
    for row in (0, 3):
        line[row] = line[row, middle]
        line[row, middle + 1] = (line[row, middle] + 1) % 10
    outcome = replace(group.outcome, arrays={**group.outcome.arrays, "line_prediction": line})
    return replace(group, outcome=outcome)


@pytest.fixture(scope="module")
def lines(make):
    return make(("lenet5-max@digits", EVIL), probes=[{"radius": 2, "subpixel": 4, "axis": "x"}])


def test_between_whole_pixels(lines):
    from robustlab.reporting.invariance.shift_between import between

    groups = [turned(lines.groups[0]), lines.groups[1]]
    told = between(lines.story, [Shifts(g) for g in groups])
    whole, everywhere = max(check_between(told, g) for g in groups)
    assert whole >= everywhere + 2
    assert f"keeps its answer on {whole} at every whole pixel" in told["sentence"]
    assert f"{whole - everywhere} change between them" in told["sentence"]
    assert "every quarter of a pixel" in lines.told.body
    assert EVIL not in lines.told.body
    assert len(told["csv"]) == 2 * N


@pytest.mark.parametrize("mutant", ["every position", "the first"])
def test_that_check_kills(lines, monkeypatch, mutant):
    from robustlab.reporting.invariance import shift_found
    from robustlab.reporting.invariance.shift_between import between

    def wrong(self):
        line = self.array("line_prediction")
        still = line[:, :1] if mutant == "the first" else line[:, 2 * self.parts, None]
        whole = (line == still).all(axis=1) if mutant == "every position" else line[:, 0] == 1
        return shift_found.Between(whole, whole, (line == self.labels[:, None]).all(axis=1))

    group = turned(lines.groups[0])
    monkeypatch.setattr(Shifts, "along_the_line", wrong)
    told = between(lines.story, [Shifts(group)])
    with pytest.raises(AssertionError):
        check_between(told, group)


def test_without_parts_of_pixels_nothing_is_said(run):
    assert "of a pixel" not in run.told.body
