"""The verdict's numbers are the run's numbers, and its words follow from its tests."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from robustlab.evidence import Eps, Evidence, stand, telling_eps
from robustlab.statistics import rate
from robustlab.verdict import compare, holm, plain_text, reach_verdict

RATE = re.compile(r"(\d+\.\d) % \[(\d+\.\d), (\d+\.\d)\]")


def worst_from_samples(samples, backbone, probes, value):
    """Worst case per image straight from the public table, by another route than the lab's."""
    mine = samples[(samples.backbone == backbone) & samples.probe.isin(probes)]
    near = mine[mine.eps.astype(float) <= value]
    return near.groupby("id", sort=False).verified.any().to_numpy()


def check_rates(sentence, expected):
    """The sentence states exactly the expected rates, in order."""
    told = [tuple(map(float, found)) for found in RATE.findall(sentence)]
    wanted = [tuple(round(100 * v, 1) for v in (r.value, r.low, r.high)) for r in expected]
    assert told == wanted


def test_lead_states_the_worst_case_of_samples(whole):
    verdict = reach_verdict(Evidence(whole.results))
    samples = whole.results.samples()
    rates = [
        rate(~worst_from_samples(samples, s.backbone, ["pgd", "fgsm"], verdict.eps.value))
        for s in verdict.standings
    ]
    check_rates(verdict.lead[0], rates)
    assert [r.value for r in rates] == sorted(r.value for r in rates)
    assert whole.tree.all("h1")[0].words == plain_text(verdict.title)
    assert whole.tree.all("p", class_="lead")[0].words == plain_text(verdict.lead[0])


@pytest.mark.parametrize("mutate", [lambda t: t.replace("9", "8", 1), lambda t: t[::-1]])
def test_the_check_of_rates_kills_a_changed_number(whole, mutate):
    verdict = reach_verdict(Evidence(whole.results))
    rates = [s.robust for s in verdict.standings]
    check_rates(verdict.lead[0], rates)
    with pytest.raises(AssertionError):
        check_rates(mutate(verdict.lead[0]), rates)


def test_a_single_attack_is_told_as_the_summary_has_it(lay, runs):
    probes = [
        runs.PROBES[0],
        runs.Probe("pgd"),
        runs.Probe("noise", knowledge="none", strength=0.1),
    ]
    results = lay(runs.Recipe(backbones={"net": 0.1}, probes=probes))
    verdict = reach_verdict(Evidence(results))
    table = results.summary()
    at = table[table.eps == verdict.eps.text].set_index(["probe", "metric"])
    for standing, probe in (
        (verdict.standings[0].robust, "pgd"),
        (verdict.standings[0].noise, "noise"),
    ):
        row = at.loc[(probe, "robust_accuracy")]
        found = (standing.value, standing.low, standing.high, standing.n)
        assert found == pytest.approx((row.value, row.low, row.high, row.n))
    assert "points more than noise does" in verdict.title
    assert "`pgd` leaves `net`" in verdict.lead[0]


def test_union_carries_smaller_eps_to_larger_ones_and_leaves_out_control_and_targets(lay, runs):
    probes = [
        runs.PROBES[0],
        runs.Probe("strong", eps=("0.05",), strength=3.0),
        runs.Probe("weak", eps=("0.1",), strength=0.5),
        runs.Probe("noise", knowledge="none", eps=("0.1",), strength=9.0),
        runs.Probe("target", targeted=True, eps=("0.1",), strength=9.0),
    ]
    results = lay(runs.Recipe(backbones={"net": 0.1}, probes=probes))
    evidence, samples = Evidence(results), results.samples()
    for eps in (Eps(0.05, "0.05"), Eps(0.1, "0.1")):
        expected = worst_from_samples(samples, "net", ["strong", "weak"], eps.value)
        assert np.array_equal(evidence.broken("net", "linf", eps), expected)
    assert evidence.robust("net", "linf", Eps(0.01, "0.01")).n == 0


def test_telling_eps_is_nearest_to_half_the_clean_accuracy(whole):
    evidence = Evidence(whole.results)
    gaps = {}
    for eps in evidence.eps("linf"):
        values = [s.robust.value for s in stand(evidence, "linf", eps)]
        clean = [evidence.clean_rate(b).value for b in evidence.backbones]
        gaps[eps.text] = abs(np.mean(values) - np.mean(clean) / 2)
    assert telling_eps(evidence, "linf").text == min(gaps, key=gaps.get)


def test_pairs_are_compared_image_by_image(whole):
    evidence = Evidence(whole.results)
    eps = telling_eps(evidence, "linf")
    samples = whole.results.samples()
    pairs = list(itertools.combinations(evidence.backbones, 2))
    for found, (first, second) in zip(compare(evidence, "linf", eps), pairs, strict=True):
        a, b = (worst_from_samples(samples, n, ["pgd", "fgsm"], eps.value) for n in (first, second))
        assert found.paired.only_first == int((a & ~b).sum())
        assert found.paired.only_second == int((b & ~a).sum())
        assert found.p >= found.paired.p


def check_price(results, sentence):
    """The clean accuracies of both ends and their discordant images, from the public table."""
    verdict, samples = reach_verdict(Evidence(results)), results.samples()
    ends = [verdict.standings[-1].backbone, verdict.standings[0].backbone]
    mine = samples[samples.probe == "clean"].set_index("backbone")
    right = [mine.loc[name].sort_values("id").clean_correct.to_numpy(bool) for name in ends]
    check_rates(sentence, [rate(one) for one in right])
    alone = int((~right[0] & right[1]).sum()), int((right[0] & ~right[1]).sum())
    assert f"with {alone[0]} wrong for the first alone and {alone[1]} for the second" in sentence
    assert sentence.index(f"`{ends[0]}`") < sentence.index(f"`{ends[1]}`")


def test_the_price_on_untouched_images_is_told(whole):
    check_price(whole.results, reach_verdict(Evidence(whole.results)).lead[-1])


@pytest.mark.parametrize(
    "mutate",
    [
        lambda t: t.replace("with ", "with 1", 1),
        lambda t: re.sub(r"`(.*?)`(.*)`(.*?)`", r"`\3`\2`\1`", t),
    ],
)
def test_the_check_of_the_price_kills_a_changed_sentence(whole, mutate):
    sentence = reach_verdict(Evidence(whole.results)).lead[-1]
    with pytest.raises(AssertionError):
        check_price(whole.results, mutate(sentence))


def test_equal_predictions_are_told_as_such(lay, runs):
    results = lay(runs.Recipe(backbones={"a": 0.1, "b": 0.05}, n=30))
    evidence = Evidence(results)
    evidence.clean_wrong = lambda backbone: np.arange(30) < 2
    sentence = reach_verdict(evidence).lead[-1]
    assert sentence.startswith("Untouched, `a` and `b` are right on the same digits: ")
    evidence.clean_wrong = lambda backbone: np.arange(30) < (2 if backbone == "a" else 3)
    assert "0 wrong for the first alone and 1 for the second" in reach_verdict(evidence).lead[-1]


def test_training_on_attacked_images_is_told(lay, runs):
    evidence = Evidence(lay(runs.Recipe(backbones={"a": 0.1, "b": 0.05}, n=30)))
    assert not any(line.startswith("Trained:") for line in reach_verdict(evidence).lead)
    first, second = evidence.about["backbones"]
    first["card"] = {"seconds": 13.8, "recipe": {}}
    assert not any(line.startswith("Trained:") for line in reach_verdict(evidence).lead)
    hard = {"method": "pgd", "norm": "linf", "eps": "0.1"}
    second["card"] = {"seconds": 280.7, "recipe": {"adversarial": hard}}
    assert reach_verdict(evidence).lead[-1] == (
        "Trained: `b` on attacked images (pgd, Linf, eps 0.1) in 281 s and "
        "`a` on untouched ones in 14 s."
    )
    second["card"] = {"recipe": ["no recipe"]}
    assert not any(line.startswith("Trained:") for line in reach_verdict(evidence).lead)


def test_no_price_is_told_where_nobody_looked(lay, runs):
    lost = runs.Recipe(n=60, missing=[("lenet5-avg@digits", "clean")])
    verdict = reach_verdict(Evidence(lay(lost.but(backbones={"a": 0.1, "b": 0.05}))))
    assert any("Untouched" in line for line in verdict.lead)
    lost = lost.but(backbones={"a": 0.1, "b": 0.05}, missing=[("b", "clean")])
    assert not any("Untouched" in line for line in reach_verdict(Evidence(lay(lost))).lead)


def test_pairs_use_only_attacks_that_both_faced(lay, runs):
    lost = runs.Recipe(n=60, missing=[("lenet5-avg@digits", "pgd")])
    evidence = Evidence(lay(lost))
    eps = telling_eps(evidence, "linf")
    labels = {"pgd (loss=margin)", "fgsm"}
    first = evidence.broken("lenet5-max@digits", "linf", eps, labels)
    second = evidence.broken("lenet5-avg@digits", "linf", eps, labels)
    assert compare(evidence, "linf", eps)[0].paired.only_first == int((first & ~second).sum())


def testholm_against_a_worked_example():
    # Holm (1979): 0.01 x 4, 0.02 x 3, then monotone, then at most 1.
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ({"a": 0.03, "b": 0.12, "c": 0.12}, "`a` breaks first"),
        ({"a": 0.055, "b": 0.065, "c": 0.25}, "`c` holds longest"),
        ({"a": 0.1, "b": 0.1}, "No backbone stands apart"),
    ],
)
def test_title_follows_from_the_paired_tests(lay, runs, medians, expected):
    recipe = runs.Recipe(backbones=medians, n=150, probes=runs.PROBES[:3])
    assert reach_verdict(Evidence(lay(recipe))).title.startswith(expected)


def test_no_title_claims_a_difference_from_one_image(lay, runs):
    verdict = reach_verdict(Evidence(lay(runs.Recipe(n=1))))
    assert verdict.title.startswith("No backbone stands apart")
    assert all(c.p == 1 for c in verdict.comparisons)
