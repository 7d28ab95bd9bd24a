"""What the page says of images that were turned and moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import robustlab
from robustlab.reporting.curves import _from_clean, points
from robustlab.reporting.gallery import _posed
from robustlab.reporting.masking import beats_noise, costly_wins
from robustlab.reporting.section import Story
from robustlab.results import Results
from robustlab.runs import Run
from robustlab.verdict import norm_name

SUITE = """
schema = 1
shard = 6
[data]
source = "digits:test"
take = 12
[[backbone]]
ref = "lenet5-max@digits"
[[probe]]
use = "spatial"
eps = ["1px", "2px"]
degrees = 20.0
angles = 9
shifts = 5
sweep = { method = ["grid", "worst_of"] }
[[probe]]
use = "spatial"
eps = ["1px", "2px"]
degrees = 0.0
padding = "reflect"
shifts = 5
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder: Path = tmp_path_factory.mktemp("spatial")
    (folder / "turned.toml").write_text(SUITE)
    return robustlab.run(folder / "turned.toml", out=folder / "run", device="cpu")


@pytest.fixture(scope="module")
def story(run: Run) -> Story:
    return Story.of(Results(run.folder))


@pytest.mark.slow
def test_threats_that_differ_are_not_mixed(story: Story) -> None:
    """The worst case is taken over attacks that were allowed the same."""
    assert story.evidence.norms == ["spatial-20", "spatial-0-reflect"]
    assert [len(story.evidence.attacks("lenet5-max@digits", n)) for n in story.evidence.norms] == [
        2,
        1,
    ]


@pytest.mark.parametrize(
    ("norm", "name"),
    [
        ("spatial-30", "translation, rotation up to 30 degrees"),
        ("spatial-7.5", "translation, rotation up to 7.5 degrees"),
        ("spatial-0-border", "translation, no rotation, border repeated"),
        ("spatial-0-reflect", "translation, no rotation, mirrored at the border"),
        ("linf", "Linf"),
        (None, "no norm"),
    ],
)
def test_names(norm: str | None, name: str) -> None:
    assert norm_name(norm) == name


def test_a_line_starts_at_clean_accuracy_only_where_nothing_turns(story: Story) -> None:
    starts = {}
    for norm in story.evidence.norms:
        line = _from_clean(points(story, norm), "worst case", norm)
        starts[norm] = line[0].eps.text
    assert starts == {"spatial-20": "1px", "spatial-0-reflect": "0"}


def test_the_page(run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert "translation in pixels, rotation up to 20 degrees</text>" in page
    assert "translation in pixels, no rotation, mirrored at the border</text>" in page
    assert "no line starts at the clean accuracy; outside the image lies black" in page
    assert "Robust accuracy under translation, rotation up to 20 degrees" in page
    assert "turned " in page
    assert " px right" in page
    assert "No noise of the same size was run" not in page


def test_poses_stay_with_their_pictures(run: Run, story: Story) -> None:
    """Also where a cell was split into shards: the pixels shown are the clean ones in that pose."""
    import torch

    from robustlab.adversarial.rigid import rigid

    group = story.evidence.attacks("lenet5-max@digits", "spatial-20")[0]
    assert group.outcome is not None
    arrays, seen = group.outcome.arrays, 0
    for place, index in enumerate(arrays["picture_eps"].tolist()):
        pose = arrays["picture_pose"][place]
        assert np.isnan(pose).all() == (index < 0)
        if index >= 0:
            clean = torch.tensor(arrays["clean"][place][None]).double() / 255
            shown = (rigid(clean, *pose.tolist()) * 255).round()[0].numpy()
            assert np.array_equal(shown, arrays["adversarial"][place])
            seen += 1
    assert seen > 2
    row = next(r for _, r in run.samples().iterrows() if r["verified"] and r["probe"] == "spatial")
    assert {"angle", "dx", "dy"} <= set(row.index)


@pytest.mark.parametrize(
    ("pose", "told"),
    [
        ((12.0, 1.5, -3.0), "turned 12 degrees to the left, moved 1.5 px right and 3 px up"),
        ((-7.25, 0.0, 2.0), "turned 7.25 degrees to the right, moved 2 px down"),
        ((0.0, -1.0, 0.0), "moved 1 px left"),
        ((0.0, 0.0, 0.0), "as it was"),
    ],
)
def test_a_pose_in_words(pose: tuple[float, ...], told: str) -> None:
    assert _posed(*pose) == told


def test_random_poses_are_the_control(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(beats_noise(story))
    assert [line.level for line in costly_wins(story)] == ["green"]
    grid, drawn = story.evidence.attacks("lenet5-max@digits", "spatial-20")
    names = {"grid": grid.outcome, "drawn": drawn.outcome}
    assert names["grid"] is not None
    assert names["drawn"] is not None
    # A grid that breaks nothing while ten draws do: it must be doubted.
    for name in ("verified[eps=1px]", "verified[eps=2px]"):
        grid.outcome.samples[name] = np.zeros(12, bool)  # type: ignore[union-attr, index]
        drawn.outcome.samples[name] = np.arange(12) < 4  # type: ignore[union-attr, index]
    changed = Story(story.evidence, story.verdict, story.styles)
    assert [line.level for line in costly_wins(changed)] == ["red"]
