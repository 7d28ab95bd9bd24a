"""Strength, unique successes, stages and combinations on the page, recounted from the columns."""

from __future__ import annotations

import csv
import io
from urllib.parse import unquote

import numpy as np
import pytest

from robustlab.reporting import imagewise, ranking, strength
from robustlab.reporting.section import Story
from robustlab.statistics import rate


def cells(tree, label):
    """Rows of the table of this label, as words."""
    section = tree.all("section", id="attacks")[0]
    (region,) = (d for d in section.all("div") if d.attributes.get("aria-label") == label)
    rows = region.all("tbody")[0].all("tr")
    return [[c.words for c in r.children if getattr(c, "tag", "") in ("th", "td")] for r in rows]


def at_eps(results, name, eps="0.1"):
    """Backbone -> attack -> bool column at the telling eps."""
    found = {}
    for g in results.groups():
        if g.plan["kind"] == "attack":
            found.setdefault(g.backbone, {})[g.label] = g.outcome.samples[f"{name}[eps={eps}]"]
    return found


def right(results):
    return {
        g.backbone: g.outcome.samples["clean_correct"]
        for g in results.groups()
        if g.plan["kind"] == "clean"
    }


def check_strengths(results, tree):
    hits, correct = at_eps(results, "verified"), right(results)
    shown = cells(tree, "Strength, passes and seconds of each attack")
    seen = 0
    for backbone, label, accuracy, broke, alone, forward, backward, seconds in shown:
        label = label.removesuffix(" (control)")
        mine = hits[backbone][label]
        others = [h for a, h in hits[backbone].items() if a not in (label, "noise")]
        assert accuracy == str(rate(~mine))
        assert int(broke) == int((mine & correct[backbone]).sum())
        assert int(alone) == sum(
            bool(m) and bool(c) and not any(h[i] for h in others)
            for i, (m, c) in enumerate(zip(mine, correct[backbone], strict=True))
        )
        assert (forward, backward, seconds) == ("41", "40", "1.2")
        seen += int(alone)
    assert seen > 3  # there is something to count
    return len(shown)


def test_strengths_are_recounted(attacked):
    assert check_strengths(attacked.results, attacked.tree) == 15


def section_of(story):
    """The section without its figure, which takes its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "WIDTHS", {})
        return f'<section id="attacks">{ranking.ranking(story).body}</section>'


def counted(others):
    """A mutant of `unique` that puts the other attacks together in another way."""

    def unique(hits, label):
        rest = [h for other, (_, h) in hits.items() if other != label]
        return int((hits[label][1] & ~others(rest)).sum()) if rest else None

    return unique


UNIQUE = {
    "not broken by every other": counted(np.logical_and.reduce),
    "not broken by the next": counted(lambda rest: rest[0]),
    "not broken by the last": counted(lambda rest: rest[-1]),
    "broken at all": lambda hits, label: int(hits[label][1].sum()),
}


@pytest.mark.parametrize("mutant", UNIQUE)
def test_the_check_of_strengths_kills(attacked, monkeypatch, parse, mutant):
    story = Story.of(attacked.results)
    check_strengths(attacked.results, parse(section_of(story)))
    monkeypatch.setattr(strength, "unique", UNIQUE[mutant])
    with pytest.raises(AssertionError):
        check_strengths(attacked.results, parse(section_of(story)))


def test_noise_is_no_other_attack(lay, runs):
    """An image that noise breaks too still fell to one attack alone."""
    noise = runs.Probe("noise", knowledge="none", strength=2.0)
    probes = [*runs.SEARCHES[:2], runs.Probe("fgsm", strength=0.5), noise]
    found = strength.strengths(
        Story.of(lay(runs.Recipe(n=60, backbones={"n": 0.1}, probes=probes)))
    )
    pgd, fgsm, control = found
    assert (pgd.label, fgsm.label, control.label) == ("pgd", "fgsm", "noise")
    assert pgd.alone > 0
    assert control.alone > 0


def check_stages(results, tree):
    by, correct = {}, right(results)
    for g in results.groups():
        if g.label == "autoattack":
            by[g.backbone] = g.outcome.samples["broken_by[eps=0.1]"]
    left = {b: c.copy() for b, c in correct.items()}
    shown = cells(tree, "Stages of the ensembles")
    for backbone, stage, before, broke, share, *_ in shown:
        mine = left[backbone] & (by[backbone] == stage.split(". ")[1])
        assert int(before) == int(left[backbone].sum())
        assert int(broke) == int(mine.sum())
        assert share == str(rate(mine[left[backbone]]))
        left[backbone] &= ~mine
    return len(shown)


def test_stages_are_recounted(attacked):
    assert check_stages(attacked.results, attacked.tree) == 6


def test_the_check_of_stages_kills_one_that_is_given_every_image(attacked, parse):
    rows = cells(attacked.tree, "Stages of the ensembles")
    later = rows[1]
    page = attacked.page.replace(f">{later[2]}</td><td", f">{rows[0][2]}</td><td")
    with pytest.raises(AssertionError):
        check_stages(attacked.results, parse(page))


def test_passes_of_a_stage_are_of_the_images_it_searched(attacked):
    forward = [row[5] for row in cells(attacked.tree, "Stages of the ensembles")]
    assert forward == ["60", "120"] * 3  # half of the images were searched


def check_fallen(results, found):
    hits, correct = at_eps(results, "verified"), right(results)
    for one in found:
        matrix = np.array([hits[one.backbone][a] for a in one.attacks])[:, correct[one.backbone]]
        count = matrix.sum(axis=0)
        assert "noise" not in one.attacks
        assert one.right == int(correct[one.backbone].sum()) == sum(count >= 0)
        told = (one.none, one.one, one.several, one.every)
        expected = [sum(count == k) for k in range(len(one.attacks) + 1)]
        assert told == (expected[0], expected[1], sum(expected[2:-1]), expected[-1])
        listed = [name for _, names in one.combinations for name in names]
        assert len(listed) == len(set(listed)) == one.right - one.none
        for pattern, names in one.combinations:
            columns = [c for c in matrix.T.tolist() if c == list(pattern)]
            assert len(columns) == len(names)


def test_combinations_are_recounted(attacked):
    found = imagewise.fallen(Story.of(attacked.results))
    assert len(found) == 3
    check_fallen(attacked.results, found)
    shown = cells(attacked.tree, "Images by the number of attacks that broke them")
    assert [list(map(int, row[2:])) for row in shown] == [
        [f.right, f.none, f.one, f.several, f.every] for f in found
    ]


def test_the_check_of_combinations_kills_images_wrong_unattacked(attacked, monkeypatch):
    monkeypatch.setattr(imagewise, "column", lambda g, n: np.ones(120, bool))
    with pytest.raises(AssertionError):
        check_fallen(attacked.results, imagewise.fallen(Story.of(attacked.results)))


def test_the_data_by_image_hold_the_smallest_eps(attacked):
    (link,) = (
        a for a in attacked.tree.all("a") if a.attributes.get("download") == "attacks-by-image.csv"
    )
    body = unquote(link.attributes["href"].partition(",")[2])
    rows = list(csv.DictReader(io.StringIO(body)))
    assert len(rows) == 3 * 4 * 120
    held = {(g.backbone, g.label): g.outcome.samples for g in attacked.results.groups()}
    for row in rows[::7]:
        samples = held[row["backbone"], row["attack"]]
        image = int(np.flatnonzero(samples["id"] == row["image"])[0])
        eps = [e for e in ("0.025", "0.05", "0.1", "0.2") if samples[f"verified[eps={e}]"][image]]
        expected = (eps[0] if eps else "") if samples["clean_correct"][image] else "0"
        assert row["eps"] == expected
        stage = f"broken_by[eps={eps[0]}]" if eps else ""
        assert row["stage"] == (samples[stage][image] if stage in samples else "")


def test_one_attack_with_stages_has_a_section_and_no_figure(build, runs):
    built = build(runs.Recipe(n=40, backbones={"net": 0.1}, probes=runs.SEARCHES[:3:2]))
    (section,) = built.tree.all("section", id="attacks")
    assert not section.all("svg", class_="plot")
    assert cells(built.tree, "Strength, passes and seconds of each attack")[0][4] == "–"
    assert "Stage by stage" in section.words


@pytest.mark.parametrize(("apart", "counted"), [(False, True), (True, False)])
def test_budgets_that_are_apart_count_their_own_images_alone(lay, runs, apart, counted):
    """In an attack's own figure; the worst case over attacks holds what was ever broken within."""
    from robustlab.evidence import Eps, Evidence, within

    probes = [runs.PROBES[0], runs.Probe("noisy", knowledge="transfer", apart=apart)]
    evidence = Evidence(lay(runs.Recipe(backbones={"net": 0.1}, probes=probes)))
    (group,) = evidence.attacks("net", "linf")
    small, large = Eps(0.025, "0.025"), Eps(0.2, "0.2")
    first = group.outcome.samples["verified[eps=0.025]"]
    last = group.outcome.samples["verified[eps=0.2]"]
    first[0], last[0] = True, False
    assert bool(within(group, large)[0]) == counted
    assert within(group, small)[0]
    assert evidence.broken("net", "linf", large)[0]
