"""Each doubt speaks when its fault is planted, and keeps quiet when it is not."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from robustlab.outcome import Finding
from robustlab.reporting import doubts
from robustlab.reporting.belief import believe
from robustlab.reporting.losses import curves_of
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


def test_an_attack_made_elsewhere_that_wins_is_red(lay, runs):
    probes = [runs.PROBES[0], runs.Probe("pgd", strength=0.4)]
    probes.append(runs.Probe("transfer", knowledge="transfer", strength=1.0))
    results = lay(runs.Recipe(backbones={"net": 0.1}, probes=probes))
    assert said(results, "An attack made on another network (`transfer`) beats `pgd`") == ["red"]


@pytest.mark.parametrize(("learns", "told"), [(True, []), (False, ["red"])])
def test_one_perturbation_for_all_may_break_fewer(lay, runs, learns, told):
    """Where it is not known to be one for all, it is told."""
    probes = [runs.PROBES[0], runs.Probe("universal", strength=0.4, learns=learns)]
    probes.append(runs.Probe("square", knowledge="score", strength=1.0))
    results = lay(runs.Recipe(backbones={"net": 0.1}, probes=probes))
    assert said(results, "An attack without gradients (`square`) beats `universal`") == told


@pytest.mark.parametrize(("learns", "told"), [(True, []), (False, ["red"])])
def test_scattered_noise_may_beat_one_square_for_all(lay, runs, learns, told):
    """Noise in one piece would be its control. Where it is not known to be for all, it is told."""
    l0 = {"norm": "l0", "eps": ("4", "9", "36")}
    probes = [runs.PROBES[0], runs.Probe("patch", strength=0.3, learns=learns, **l0)]
    probes.append(runs.Probe("noise", knowledge="none", strength=1.0, **l0))
    results = lay(runs.Recipe(backbones={"net": 10.0}, probes=probes))
    assert said(results, "Noise (`noise`) beats `patch`") == told


class Doubted(Results):
    """A run whose attacks were doubted by a detector: the planted finding."""

    finding = Finding("rounding", "red", "{count} of {of} are lost.", ("digits/test/000003",), 4, 9)

    def groups(self):
        return [
            dataclasses.replace(g, outcome=dataclasses.replace(g.outcome, findings=[self.finding]))
            if g.plan["kind"] == "attack"
            else g
            for g in super().groups()
        ]


class Climbing(Results):
    """Every attack's cell found its losses at rest; those of the first attack climb to the end."""

    finding = Finding("convergence", "green", "Where images were left, the loss was at rest.")
    doubted = False

    def groups(self):
        return [self.climbing(g) if g.plan["kind"] == "attack" else g for g in super().groups()]

    def climbing(self, group):
        arrays, found = dict(group.outcome.arrays), self.finding
        if group.plan["probe"] == "pgd":
            for name in arrays:
                if name.startswith("loss"):
                    steps = np.arange(arrays[name].shape[1])
                    arrays[name] = np.where(np.isnan(arrays[name]), np.nan, steps)
            if self.doubted:
                found = Finding("convergence", "amber", "it climbs.")
        outcome = dataclasses.replace(group.outcome, arrays=arrays, findings=[found])
        return dataclasses.replace(group, outcome=outcome)


def test_the_page_says_one_thing_of_convergence(lay, runs):
    """A line that calls a search at rest and a section that calls it rising contradict."""
    recipe = runs.Recipe(backbones={"net": 0.1}, probes=runs.SEARCHES)
    still = Climbing(lay(recipe).folder)
    states = {c.group: c.state for c in curves_of(Story.of(still)) if c.group != "fmn"}
    assert states == {"pgd": "still rising", "autoattack": "stopped rising"}
    told = {line.level: line for line in believe(Story.of(still)) if "loss" in line.text}
    assert "pgd on net" not in told["green"].names
    assert "autoattack on net" in told["green"].names
    assert told["amber"].text.startswith("`pgd` on `net`: the loss still rises over the last tenth")
    (curve,) = [c for c in curves_of(Story.of(still)) if c.group == "pgd"]
    left = len(curve.loss[~np.isnan(curve.loss).any(axis=1)])
    assert f"on {left} of {left} images" in told["amber"].text  # all of them climb
    assert f"(eps {curve.eps})" in told["amber"].text
    Climbing.doubted = True
    try:
        assert said(still, "still rises") == []  # the cell said so itself: once is enough
        assert said(still, "it climbs") == ["amber"]
    finally:
        Climbing.doubted = False
    at_rest = believe(Story.of(Still(still.folder)))
    (line,) = [line for line in at_rest if "loss was at rest" in line.text]
    assert "pgd on net" in line.names


class Still(Climbing):
    """The same with losses as they were."""

    def climbing(self, group):
        outcome = dataclasses.replace(group.outcome, findings=[self.finding])
        return dataclasses.replace(group, outcome=outcome)


class DoubtedUnequally(Doubted):
    """The same doubt of every attack, each with a count of its own."""

    def groups(self):
        counts = iter(range(1, 100))
        return [
            dataclasses.replace(
                g,
                outcome=dataclasses.replace(
                    g.outcome, findings=[dataclasses.replace(self.finding, count=next(counts))]
                ),
            )
            if g.plan["kind"] == "attack"
            else g
            for g in super().groups()
        ]


def check_a_shared_doubt(folder):
    """Said once, of the attack where it is gravest, with everybody's numbers."""
    results = DoubtedUnequally(folder)
    attacks = [g for g in results.groups() if g.plan["kind"] == "attack"]
    (line,) = [line for line in believe(Story.of(results)) if "are lost" in line.text]
    last = attacks[-1]
    assert line.level == "red"
    assert f"`{last.label}` on `{last.backbone}`: {len(attacks)} of 9 are lost." in line.text
    assert [f"{g.label} on {g.backbone}: {i + 1} of 9" for i, g in enumerate(attacks)] == [
        entry.removesuffix(" (digits/test/000003)") for entry in line.names
    ]
    assert all(entry.endswith(" (digits/test/000003)") for entry in line.names)


def test_what_a_detector_finds_of_attacks_reaches_the_page(small):
    check_a_shared_doubt(small.folder)


@pytest.mark.parametrize("mutant", ["the first alone", "the gravest alone", "no numbers"])
def test_a_doubt_that_hides_the_others_is_caught(small, monkeypatch, mutant):
    whole = doubts._shared_doubt
    chosen = {
        "the first alone": lambda level, told: whole(level, told[:1]),
        "the gravest alone": lambda level, told: whole(level, told[-1:]),
        "no numbers": lambda level, told: dataclasses.replace(whole(level, told), names=()),
    }
    monkeypatch.setattr(doubts, "_shared_doubt", chosen[mutant])
    with pytest.raises(AssertionError):
        check_a_shared_doubt(small.folder)


@pytest.mark.parametrize(("lead", "level"), [(1, "amber"), (2, "amber"), (3, "red")])
def test_a_loss_beyond_two_images_and_one_in_a_hundred_is_red(lay, runs, lead, level):
    def change(group, samples):
        for name, column in samples.items():
            if name.startswith("verified["):
                column[:] = np.arange(len(column)) < (10 + lead if "noise" in group.label else 10)

    recipe = runs.Recipe(n=200, backbones={"net": 0.1}, probes=runs.PROBES[:5], pictures=2)
    found = said(Tampered(lay(recipe).folder, change), "Noise (`uniform_noise`) beats `pgd`")
    assert found == [level]


def test_probabilities_are_red(lay, runs):
    results = lay(runs.Recipe(n=60, probabilities=True))
    assert said(results, "probabilities instead of logits") == ["red"]  # all three in one line


def right_on(share):
    """A change that leaves the backbone right on this share of the untouched images."""

    def change(group, samples):
        if group.plan["kind"] == "clean":
            right = samples["clean_correct"]
            right[:] = np.arange(len(right)) < share * len(right)

    return change


@pytest.mark.parametrize(
    ("share", "level"), [(0.0, "red"), (0.1, "red"), (0.13, "red"), (0.2, "green"), (1.0, "green")]
)
def test_a_backbone_that_guesses_is_red(small, share, level):
    assert said(Tampered(small.folder, right_on(share)), "guessing") == [level]


def test_chance_is_one_in_the_number_of_classes(small):
    half = Tampered(small.folder, right_on(0.5))
    for classes, levels in ((["a", "b"], ["red"]), ([], []), (["a"], [])):
        half.about = {**small.about, "data": {**small.about["data"], "classes": classes}}
        assert said(half, "guessing") == levels
    del half.about["data"]["classes"]
    assert said(half, "guessing") == []


def test_unmeasured_clean_accuracy_is_no_guess(lay, runs):
    results = lay(runs.Recipe(n=60, backbones={"net": 0.1}, probes=runs.PROBES[1:3]))
    assert said(results, "guessing") == []


@pytest.mark.parametrize(("n", "level"), [(60, "amber"), (1200, "green")])
def test_too_few_images_for_the_claim(lay, runs, n, level):
    recipe = runs.Recipe(n=n, backbones={"net": 0.1}, probes=runs.PROBES[:3], pictures=2)
    words = "to within"
    assert said(lay(recipe), words) == [level]


@pytest.mark.parametrize(("n", "robust"), [(80, 0.05), (375, 0.5), (60, 0.5)])
def test_too_few_images_are_never_called_enough(lay, runs, n, robust):
    """The width found is more than the 5 points asked for, the number needed more than here."""

    def change(group, samples):
        for name, column in samples.items():
            if name.startswith("verified["):
                column[:] = np.arange(n) >= round(robust * n)

    recipe = runs.Recipe(n=n, backbones={"net": 0.1}, probes=runs.PROBES[:3], pictures=2)
    (text,) = (t for _, t in lines(Tampered(lay(recipe).folder, change)) if "to within" in t)
    found = re.search(r"only to within (\d+\.\d) points.* take about (\d+)", text)
    assert found, text
    assert float(found[1]) > 5
    assert int(found[2]) > n


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


def told_of_normalisation(story):
    words = "No normalisation is known"
    return [line.level for line in believe(story) if words in line.text]


@pytest.mark.parametrize(
    ("change", "levels"),
    [
        ({"card": {"file": "m.pt"}}, ["amber"]),
        ({"card": {"file": "m.pt"}, "reference": "file:m.pt#lenet5", "mean": None}, ["amber"]),
        ({"card": {"file": "m.pt"}, "mean": [0.5]}, []),
        ({"card": {"file": "m.pt"}, "reference": "file:m.pt#lenet5?mean=none"}, []),
        ({"card": {"recipe": {}}}, []),
    ],
)
def test_weights_without_a_card_may_lack_their_normalisation(small, change, levels):
    story = Story.of(small)
    story.evidence.about["backbones"][0].update(change)
    assert told_of_normalisation(story) == levels
    story.evidence.about["backbones"][0].update(card={}, reference="net", mean=None)
