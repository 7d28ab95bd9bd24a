"""Top-5, the table of single pictures and every class reached: a real run, told as it was found."""

from __future__ import annotations

import base64
import csv
import io
import re
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import robustlab
from robustlab import Data, Suite
from robustlab.backbones import Backbone
from robustlab.reporting import curves, fragile
from robustlab.reporting.fooling import reach as told
from robustlab.reporting.section import Story
from robustlab.results import Results
from robustlab.suite import ProbeSpec

CLASSES, SIDE, N = 24, 16, 9
HOSTILE = '<script>alert("x")</script>'
EPS = ["16/255", "3.9/255", "8/255"]
PROBES = (
    ProbeSpec("fgsm", {"eps": EPS}),
    ProbeSpec("pgd", {"eps": EPS, "steps": 5, "early_exit": False}),
    ProbeSpec("pgd", {"eps": EPS, "steps": 5, "target": 3}),
    ProbeSpec("noise", {"eps": EPS}),
    ProbeSpec("reach", {"eps": EPS, "steps": 5, "images": 2}),
)
pytestmark = pytest.mark.usefixtures("one_thread")


def backbone(name, seed):
    torch.manual_seed(seed)
    layers = [nn.Flatten(), nn.Linear(3 * SIDE**2, 30), nn.ReLU(), nn.Linear(30, CLASSES)]
    module = nn.Sequential(*layers).eval()
    return Backbone(module, input_shape=(3, SIDE, SIDE), classes=names(), name=name)


def names():
    return [f"class {i}" for i in range(CLASSES - 1)] + [f"{HOSTILE}, +1"]


def images(network):
    """Most labelled with what the network sees, one with another class, one with the target."""
    pixels = np.random.default_rng(3).integers(0, 256, (N, 3, SIDE, SIDE), dtype=np.uint8)
    labels = network(pixels.astype(np.float32) / 255).argmax(dim=1).numpy().copy()
    labels[2], labels[4] = (labels[2] + 1) % CLASSES, 3
    ids = [f"own/{i}" for i in range(N - 1)] + [f"own/{HOSTILE}"]
    return Data(pixels, labels, names(), ids=ids)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    first, second = backbone("one", 0), backbone(f"two {HOSTILE}", 1)
    folder = tmp_path_factory.mktemp("panda") / "run"
    suite = Suite(name="panda", probes=PROBES, shard=4)
    robustlab.run(suite, backbones=[first, second], data=images(first), out=folder)
    return Story.of(Results(folder))


def tables_of(body):
    """Every CSV that stands in the body."""
    found = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', str(body))
    return [list(csv.reader(io.StringIO(unquote(one)))) for one in found]


def group(story, probe, backbone="one", targeted=False):
    return next(
        g
        for g in story.evidence.landed
        if (g.plan["probe"], g.backbone, g.plan["targeted"]) == (probe, backbone, targeted)
    )


def check_top5(points, story):
    """In the worst case over attacks and smaller budgets, image by image."""
    out = np.zeros(N, bool)
    attacks = [group(story, "fgsm"), group(story, "pgd")]
    for eps in ("3.9/255", "8/255", "16/255"):
        for one in attacks:
            out |= ~one.outcome.samples[f"top5[eps={eps}]"]
        (mark,) = [p for p in points if p[:3] == ("one", "top-5", eps)]
        assert mark[3] == (~out).mean()
    (mark,) = [p for p in points if p[:3] == ("one", "clean top-5", "0")]
    assert mark[3] == attacks[0].outcome.samples["clean_top5"].mean()
    assert 0 < out.mean() < 1


def marks(story):
    return [
        (p.backbone, p.series, p.eps.text, p.rate.value)
        for p in curves.points(story, story.verdict.norm)
    ]


@pytest.mark.slow
def test_top5_stands_on_the_curve(story):
    check_top5(marks(story), story)
    section = curves.curves(story)
    assert "line with stars is top-5" in section.body
    assert any("clean top-5" in row for row in tables_of(section.body)[0])


@pytest.mark.parametrize("mutant", ["hits", "one attack"])
def test_a_wrong_top5_is_seen(story, mutant, monkeypatch):
    if mutant == "hits":
        kept = curves.exactly
        monkeypatch.setattr(curves, "exactly", lambda g, e, kind: ~kept(g, e, "verified"))
    else:
        monkeypatch.setattr(curves, "_ranked", lambda g: g.plan["probe"] == "fgsm")
    with pytest.raises(AssertionError):
        check_top5(marks(story), story)


def needed(outcome, place, targeted):
    """By hand: the smallest budget at which the pixels of one picture fool."""
    samples = outcome.samples
    if targeted and samples["label"][place] == 3:
        return "is the target"
    if not targeted and not samples["clean_correct"][place]:
        return "wrong unattacked"
    for eps in ("3.9/255", "8/255", "16/255"):
        if samples[f"verified_8bit[eps={eps}]"][place]:
            return eps
    return "not up to 16/255"


def check_fragile(section, story):
    first, second = tables_of(section.body)
    assert len(first) == len(second) == N + 1
    asked = [group(story, "fgsm"), group(story, "pgd"), group(story, "pgd", targeted=True)]
    assert first[0] == ["image", "class", *(g.label for g in asked)]
    ids = [str(one) for one in asked[0].outcome.samples["id"]]
    for image, name, *entries in first[1:]:
        place = ids.index(image)
        assert name == names()[asked[0].outcome.samples["label"][place]]
        wanted = [needed(g.outcome, place, g.plan["targeted"]) for g in asked]
        assert entries == wanted
    told_ = [row[2:] for row in first[1:]]
    assert {"wrong unattacked", "8/255", "is the target"} <= {one for row in told_ for one in row}
    order = ["3.9/255", "8/255", "16/255", "not up to 16/255", "is the target"]
    keys = [min(map(order.index, row)) for row in told_ if "wrong unattacked" not in row]
    assert keys == sorted(keys)  # the most fragile first
    wrong = ["wrong unattacked" in row for row in told_]
    assert wrong == sorted(wrong)  # and last what was wrong from the start


def test_each_picture_has_its_row(story):
    section = fragile.fragile(story)
    check_fragile(section, story)
    assert section.title.startswith("As PNGs, half of the pictures are misread by eps")
    assert str(section.body).count("data:image/png") == 1  # one sheet
    assert "<script" not in section.body


def _floats(outcome_of):
    def wrong(group):
        samples = dict(group.outcome.samples)
        for name in list(samples):
            if name.startswith("verified["):
                samples[name.replace("verified", "verified_8bit")] = samples[name]
        return outcome_of(type("G", (), {**vars(group), "outcome": _With(group.outcome, samples)}))

    return wrong


class _With:
    def __init__(self, outcome, samples):
        self.arrays, self.samples, self.metrics = outcome.arrays, samples, outcome.metrics


@pytest.mark.parametrize("mutant", ["floats", "largest", "unsorted"])
def test_a_wrong_row_is_seen(story, mutant, monkeypatch):
    if mutant == "floats":
        monkeypatch.setattr(fragile, "_needed", _floats(fragile._needed))
    elif mutant == "largest":
        kept = fragile.eps_of
        monkeypatch.setattr(fragile, "eps_of", lambda g: kept(g)[::-1])
    else:
        monkeypatch.setattr(fragile, "sorted", lambda found, key=None: list(found), raising=False)
    with pytest.raises((AssertionError, ValueError)):
        check_fragile(fragile.fragile(story), story)


def test_thumbnails_are_the_pictures(story):
    sheet, places = fragile._sheet([group(story, "fgsm")])
    clean = group(story, "fgsm").outcome.arrays["clean"]
    assert sorted(places) == list(range(N))
    for place, (x, y) in places.items():
        made = Image.fromarray(clean[place].transpose(1, 2, 0)).resize((40, 40), 1)
        assert np.array_equal(sheet[y : y + 40, x : x + 40], np.asarray(made))


def check_reach(section, story):
    outcome = group(story, "reach").outcome
    first = tables_of(section.body)[0]
    smallest, eps = outcome.arrays["smallest"][0], ["3.9/255", "8/255", "16/255"]
    for label, row in enumerate(first[1:]):
        place = int(smallest[label])
        text = (
            eps[place]
            if place >= 0
            else {-1: "not up to 16/255"}.get(place, "seen in the clean picture")
        )
        assert row[:3] == [str(label), names()[label], text]
    one = told.reached(story)[0]
    counts = [int(((smallest >= 0) & (smallest <= place)).sum()) for place in range(3)]
    assert [round(r.value * r.n) for r in one.rates] == counts
    assert {r.n for r in one.rates} == {CLASSES - 1}
    assert (
        f"as {counts[0]} of the 23 other classes at eps 3.9/255 and {counts[2]} at" in section.title
    )
    sheet = told._sheet(one)
    uri = re.search(r'class="pixels" src="data:image/png;base64,([^"]*)"', str(section.body))[1]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB"))
    assert np.array_equal(drawn, sheet)
    columns = told._columns(CLASSES)
    colours = [*told.colours(3), told.SEEN, told.NEVER]
    for label in range(CLASSES):
        y, x = 7 * (label // columns), 7 * (label % columns)
        hexed = "#" + bytes(drawn[y + 3, x + 3].tolist()).hex()
        assert hexed == colours[smallest[label] if smallest[label] >= 0 else 5 + smallest[label]]
    assert len(set(colours)) == 5


def test_every_class_is_told(story):
    section = told.reach(story)
    check_reach(section, story)
    assert len(told.reached(story)) == 4  # two pictures of two backbones
    assert "<script" not in section.body
    smallest = group(story, "reach").outcome.arrays["smallest"]
    assert len(set(smallest.ravel().tolist())) > 3


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("_columns", lambda classes: 5),
        ("COLOURS", ("#00224e",) * 6),
        ("_told", lambda one, label: [one.eps[one.smallest[label]], ""]),
    ],
)
def test_a_wrong_grid_is_seen(story, name, mutant, monkeypatch):
    columns = told._columns
    monkeypatch.setattr(told, name, mutant)
    section = told.reach(story)
    monkeypatch.setattr(told, "_columns", columns)
    with pytest.raises(AssertionError):
        check_reach(section, story)


def test_the_whole_page(story, tmp_path):
    page = robustlab.report(story.evidence.results.folder, tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    for anchor in ("fragile", "reach"):
        assert f'id="{anchor}"' in page
    assert 'id="probes"' not in page  # reach has a section of its own


def test_nothing_where_nothing_was_asked(finished):
    few = Story.of(Results(finished))
    assert fragile.fragile(few) is None
    assert told.reach(few) is None
    assert not [p for p in curves.points(few, few.verdict.norm) if "top-5" in p.series]
