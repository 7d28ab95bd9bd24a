"""What a page opens with, and shifts beside attacks on the same networks."""

from __future__ import annotations

import csv
import io
import re
from urllib.parse import unquote

import pytest

import robustlab
from robustlab import Suite
from robustlab.evidence import Evidence
from robustlab.reporting.invariance.both import SHIFTS, both
from robustlab.reporting.section import Story
from robustlab.suite import BackboneSpec, ProbeSpec
from robustlab.verdict import reach_verdict

pytestmark = pytest.mark.slow

TWINS = ("twin-strided@digits", "twin-blur@digits")
SHIFT = ProbeSpec("shift", {"radius": 1, "mode": "circular"})
FGSM = ProbeSpec("fgsm", {"eps": ["0.02", "0.05"]})


def ran(folder, *probes, names=TWINS):
    backbones = tuple(BackboneSpec(name) for name in names)
    suite = Suite(backbones=backbones, probes=probes, take=30)
    return robustlab.run(suite, out=folder, device="cpu")


@pytest.fixture(scope="module")
def shifts_first(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("first") / "run", SHIFT, FGSM)


@pytest.fixture(scope="module")
def attacks_first(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("second") / "run", FGSM, SHIFT)


def opening(parse, run):
    tree = parse((run.folder / "report.html").read_text(encoding="utf-8"))
    anchors = [s.attributes["id"] for s in tree.all("section") if "id" in s.attributes]
    (head,) = tree.all("h1")
    return tree, anchors, head.words


def test_a_page_opens_with_what_its_suite_asks_first(parse, shifts_first, attacks_first):
    _, anchors, head = opening(parse, shifts_first)
    assert anchors[:3] == ["verdict", "belief", "invariance"]
    assert "shift" in head
    assert "[" not in head
    _, anchors, head = opening(parse, attacks_first)
    assert anchors[:3] == ["verdict", "belief", "figure"]
    assert "shift" not in head


def test_both_pages_hold_the_same_sections(parse, shifts_first, attacks_first):
    (_, one, _), (_, other, _) = opening(parse, shifts_first), opening(parse, attacks_first)
    assert sorted(one) == sorted(other)
    assert len(set(one)) == len(one)


def test_the_opening_keeps_intervals_and_what_attacks_found(parse, shifts_first):
    tree, _, head = opening(parse, shifts_first)
    (section,) = tree.all("section", id="verdict")
    rates = [f"{100 * g.rate(f'{SHIFTS}[radius=1]').value:.1f} %" for g in shifted(shifts_first)]
    for rate in rates:
        assert rate in head.replace("\u00a0", " ")
    words = section.words.replace("\u00a0", " ")
    assert re.search(rf"{rates[0]} \[[\d.]+, [\d.]+\]", words)
    assert "upper bound" in words
    evidence, verdict = Evidence(shifts_first), reach_verdict(Evidence(shifts_first))
    (lead,) = (line for line in words.split(". ") if "under attack" in line)
    for name in TWINS:
        left = evidence.robust(name, verdict.norm, verdict.eps)
        assert f"{name} {left}" in lead.split("under attack")[1]
    assert "eps 0.0" in words


def shifted(run):
    return [g for g in run.groups() if g.plan["probe"] == "shift"]


def test_the_plot_holds_both_numbers_of_each_network(parse, shifts_first):
    (link,) = opening(parse, shifts_first)[0].all("a", download="shifts-and-attacks.csv")
    rows = list(csv.reader(io.StringIO(unquote(link.attributes["href"].partition(",")[2]))))
    assert rows[0] == ["backbone", SHIFTS, "robust_accuracy"]
    evidence = Story.of(shifts_first).evidence
    eps = next(e for e in evidence.eps("linf") if e.text in Story.of(shifts_first).at)
    for (name, shift, attack), group in zip(rows[1:], shifted(shifts_first), strict=True):
        assert name == group.backbone
        prediction = group.outcome.arrays["prediction"]
        right = (prediction == group.outcome.samples["label"][:, None, None]).all(axis=(1, 2))
        assert float(shift) == pytest.approx(right.mean())
        broken = evidence.broken(name, "linf", eps)
        assert float(attack) == pytest.approx(1 - broken.mean())


@pytest.mark.parametrize("case", ["one network", "no attack", "no shift"])
def test_there_is_no_plot_without_both_of_two(tmp_path, case):
    probes = {"no attack": [SHIFT], "no shift": [FGSM]}.get(case, [SHIFT, FGSM])
    names = TWINS[:1] if case == "one network" else TWINS
    run = ran(tmp_path / "run", *probes, names=names)
    assert both(Story.of(run)) is None
