"""Loss curves: the band is over the images still searched, the judgement that of the detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robustlab.reporting import losses_drawing
from robustlab.reporting.losses import KEPT, Curve, curves_of, rises
from robustlab.reporting.losses_drawing import spread
from robustlab.reporting.section import Story


def check_spread(function):
    rng = np.random.default_rng(2)
    loss = rng.normal(size=(30, 12)).cumsum(axis=1)
    for image in range(25):
        loss[image, 2 + image % 9 :] = np.nan
    found = function(loss)
    for step in range(12):
        inside = [v for v in loss[:, step] if not np.isnan(v)]
        assert found[:, step] == pytest.approx(np.percentile(inside, [25, 50, 75]))


def test_the_band_is_over_the_images_still_searched():
    check_spread(spread)
    assert np.isnan(spread(np.full((2, 3), np.nan))).all()
    assert spread(np.array([[np.inf], [1.0]]))[1, 0] == 1.0


def last_known(loss):
    """Mutant: images that have left stay with their last loss."""
    loss = loss.copy()
    for step in range(1, loss.shape[1]):
        gone = np.isnan(loss[:, step])
        loss[gone, step] = loss[gone, step - 1]
    return spread(loss)


MUTANTS = {
    "images that have left": last_known,
    "left as 0": lambda loss: spread(np.nan_to_num(loss)),
    "only those that stay": lambda loss: spread(loss[~np.isnan(loss).any(axis=1)]),
    "deviation": lambda loss: np.nanmean(loss, 0) + np.outer([-1, 0, 1], np.nanstd(loss, 0)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_check_of_the_band_kills(mutant):
    with pytest.raises(AssertionError):
        check_spread(MUTANTS[mutant])


def test_the_page_and_the_detector_judge_alike():
    from robustlab.resting import still_rising

    rng = np.random.default_rng(4)
    steps = np.arange(40)
    loss = 1 - np.exp(-steps / rng.uniform(2, 60, (200, 1))) + 0.02 * rng.normal(size=(200, 40))
    expected = still_rising(loss)
    stopped, flat = rises(loss)
    assert 20 < expected.sum() < 180
    assert (round(stopped.value * stopped.n), stopped.n) == (int((~expected).sum()), 200)
    assert flat == 0


def curve(loss, steps=40, minimum=False):
    return Curve("net", "pgd", "0.1", np.asarray(loss, float), "loss", minimum, steps, False)


def test_states_in_words():
    steps = np.arange(40)
    resting, rising = np.tile(1 - np.exp(-steps / 4), (9, 1)), np.tile(steps * 1.0, (9, 1))
    assert curve(resting).state == "stopped rising"
    assert curve(rising).state == "still rising"
    assert curve(np.zeros((9, 40))).state == "never rose"
    assert curve(resting[:, :30]).state == "none left to break"
    assert curve(np.tile(np.arange(KEPT), (9, 1)), steps=500).state == "end not kept"
    assert curve(rising, minimum=True).state == "looks for the boundary"
    assert curve(np.vstack([resting, rising[:2]])).state == "stopped rising"  # two of eleven
    assert curve(np.vstack([resting, rising[:4]])).state == "still rising"
    left = np.vstack([resting, rising])
    left[9:, 30:] = np.nan  # those that rose were fooled: more steps would not help the others
    assert curve(left).state == "stopped rising"


def test_a_cross_entropy_is_judged_in_logits_as_the_detector_does():
    """A walk that came to rest in logits, though its cross-entropy grew a thousandfold."""
    from robustlab.resting import in_logits, still_rising

    t = np.linspace(0, 1, 40)
    rest = -12 + 7 * (1 - np.exp(-4 * t))
    loss = np.tile(np.log1p(np.exp(rest)), (9, 1))
    assert not still_rising(in_logits(loss)).any()
    found = curve(loss)
    assert replace(found, entropy=True).state == "stopped rising"
    assert found.state == "still rising"  # the mutant: its own last tenth is steep
    assert rises(loss, True)[0].value == 1


@pytest.mark.slow
def test_curves_are_the_arrays_at_the_telling_eps(attacked):
    found = curves_of(Story.of(attacked.results))
    assert {c.label for c in found} == {
        "pgd",
        "apgd loss=ce steps=20 in autoattack",
        "square in autoattack",
        "fmn",
    }
    held = {(g.backbone, g.label): g.outcome.arrays for g in attacked.results.groups()}
    for c in found:
        stage, _, label = c.label.rpartition(" in ")
        name = f"loss[{stage}][eps=0.1]" if stage else "loss[eps=0.1]"
        assert c.eps == ("" if c.label == "fmn" else "0.1")
        if c.eps:
            assert np.array_equal(c.loss, held[c.backbone, label][name], equal_nan=True)
    assert {c.unit for c in found if "apgd" in c.label} == {"cross-entropy"}
    assert {c.label for c in found if c.entropy} == {"apgd loss=ce steps=20 in autoattack"}
    assert {c.group for c in found} == {"pgd", "autoattack", "fmn"}
    assert {c.minimum for c in found if c.label == "fmn"} == {True}


def test_the_section_says_how_many_are_searched(attacked):
    (section,) = attacked.tree.all("section", id="losses")
    found = curves_of(Story.of(attacked.results))
    for c in found:
        entered = (~np.isnan(c.loss[:, 0])).sum()
        left = (~np.isnan(c.loss[:, -1])).sum()
        assert f"{entered} → {left}" in section.words
    states = [c.state for c in found if not c.minimum]
    told = f"The loss of {states.count('stopped rising')} of {len(states)} searches has stopped"
    assert told in section.all("h2")[0].words


def test_several_walks_are_cut_to_the_first(lay, runs):
    probe = runs.Probe("aa", losses=30, stages=("apgdt steps=10 targets=3", "fab steps=10"))
    story = Story.of(lay(runs.Recipe(n=30, backbones={"net": 0.1}, probes=[runs.PROBES[0], probe])))
    (found,) = curves_of(story)  # fab looks at every class in a step: not a curve
    assert found.cut
    assert found.loss.shape[1] == 10
    assert found.unit.startswith("DLR")


def test_many_backbones_have_no_bands(lay, runs):
    probes = runs.SEARCHES[:2]
    many = {f"net{k}": 0.1 for k in range(losses_drawing.BANDS + 1)}
    story = Story.of(lay(runs.Recipe(n=30, backbones=many, probes=probes)))
    drawn = str(losses_drawing.draw_losses(story, curves_of(story))["wide"])
    assert "PolyCollection" not in drawn
    assert "FillBetween" not in drawn


def test_a_run_without_losses_has_no_section(whole):
    assert not whole.tree.all("section", id="losses")
    assert not whole.tree.all("section", id="radii")
