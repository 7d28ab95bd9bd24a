"""Each doubt speaks when its fault is planted, and keeps quiet when it is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robustlab.reporting.belief import believe
from robustlab.reporting.section import Story
from robustlab.results import Results


def lines(results):
    return [(line.level, line.text) for line in believe(Story.of(results))]


def said(results, words):
    return [level for level, text in lines(results) if words in text]


class Tampered(Results):
    """A run some of whose columns were changed on the way: the planted fault."""

    def __init__(self, folder, change):
        super().__init__(folder)
        self.change = change

    def groups(self):
        return [self._tampered(g) for g in super().groups()]

    def _tampered(self, group):
        samples = {k: np.array(v) for k, v in group.outcome.samples.items()}
        self.change(group, samples)
        outcome = dataclasses.replace(group.outcome, samples=samples)
        return dataclasses.replace(group, outcome=outcome)


@pytest.fixture(scope="module")
def small(lay, runs):
    probes = [*runs.PROBES[:5], runs.Probe("square", knowledge="score", strength=0.5)]
    return lay(runs.Recipe(backbones={"net": 0.1}, probes=probes))


def test_a_sound_run_has_no_red_line(small):
    assert "red" not in {level for level, _ in lines(small)}
    assert said(small, "Nothing is missing") == ["green"]
    assert said(small, "Attacks with gradients are not beaten") == ["green"]


def test_noise_that_beats_the_attack_is_red(lay, runs):
    probes = [
        runs.PROBES[0],
        runs.Probe("pgd", strength=0.3),
        runs.Probe("noise", knowledge="none", strength=1.0),
    ]
    results = lay(runs.Recipe(backbones={"net": 0.1}, probes=probes))
    assert said(results, "Noise (`noise`) beats `pgd`") == ["red"]
    assert said(results, "broke") == ["amber"]


def test_noise_that_beats_the_attack_by_a_hair_is_amber(small):
    def change(group, samples):
        if group.label == "uniform_noise":
            for e in group.plan["eps"]:
                samples[f"verified[eps={e}]"] = samples[f"verified[eps={e}]"].copy()
            strongest = samples["verified[eps=0.025]"]
            strongest[:] = False
        if group.label == "pgd":
            samples["verified[eps=0.025]"][:] = False
        if group.label == "uniform_noise":
            samples["verified[eps=0.025]"][:2] = True

    assert "amber" in said(Tampered(small.folder, change), "Noise (`uniform_noise`) beats `pgd`")


def test_a_blind_attack_that_wins_is_red(lay, runs):
    probes = [runs.PROBES[0], runs.Probe("pgd", strength=0.4)]
    probes.append(runs.Probe("square", knowledge="score", strength=1.0))
    results = lay(runs.Recipe(backbones={"net": 0.1}, probes=probes))
    assert said(results, "An attack without gradients (`square`) beats `pgd`") == ["red"]


@pytest.mark.parametrize(
    ("column", "words"),
    [("claimed", "did not survive verification"), ("fragile", "flip")],
)
def test_planted_columns_are_counted(small, column, words):
    def change(group, samples):
        for name in samples:
            if name.startswith(f"{column}[") and group.label == "pgd":
                samples[name][:] = True

    assert said(Tampered(small.folder, change), words) == ["amber"]


def test_successes_lost_at_eight_bits_grow_red(small):
    def change(group, samples):
        for name in samples:
            if name.startswith("verified_8bit["):
                samples[name][:] = False

    assert said(small, "rounded to 8 bits") == ["amber"]
    assert said(Tampered(small.folder, change), "rounded to 8 bits") == ["red"]


def test_probabilities_are_red(lay, runs):
    results = lay(runs.Recipe(n=60, probabilities=True))
    assert said(results, "probabilities instead of logits") == ["red"] * 3


@pytest.mark.parametrize(("n", "level"), [(60, "amber"), (1200, "green")])
def test_too_few_images_for_the_claim(lay, runs, n, level):
    recipe = runs.Recipe(n=n, backbones={"net": 0.1}, probes=runs.PROBES[:3], pictures=2)
    words = "to within"
    assert said(lay(recipe), words) == [level]


def test_failed_and_missing_cells_are_red(lay, runs):
    recipe = runs.Recipe(
        n=60, missing=[("lenet5-max@digits", "pgd")], failed={("lenet5-avg@digits", "fgsm"): "boom"}
    )
    results = lay(recipe)
    assert said(results, "was not measured at all") == ["red"]
    assert said(results, "failed; none of its numbers") == ["red"]


def test_a_longer_search_that_loses_is_red(small):
    def change(group, samples):
        if group.label == "pgd":
            for e in group.plan["eps"]:
                samples[f"verified[eps={e}]"][:] = False

    class Cheap(Tampered):
        def _tampered(self, group):
            group = super()._tampered(group)
            if group.label != "fgsm":
                return group
            outcome = dataclasses.replace(group.outcome, cost={"forward": 200.0, "backward": 200.0})
            return dataclasses.replace(group, outcome=outcome)

    assert said(Cheap(small.folder, lambda g, s: None), "Longer searches") == ["green"]
    assert "red" in said(Cheap(small.folder, change), "The cheaper attack (`fgsm`) beats `pgd`")
