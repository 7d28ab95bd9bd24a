"""Claims about kinds: trainings are the unit, seeds are paired, half-done seeds do not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import tomli_w
from click.testing import CliRunner

from robustlab import statistics
from robustlab.cli import robustlab as robustlab_command
from robustlab.errors import BadRequest
from robustlab.kinds import Kinds
from robustlab.reporting.palette import styles
from robustlab.reporting.twins import drawing, write_twins_page
from robustlab.reporting.twins.words import caveats, command, headlines, mean_text, points, title
from robustlab.statistics import mean_t, paired_t
from robustlab.twinning import twins

SUITE = {
    "schema": 1,
    "data": {"source": "digits:test", "take": 20},
    "probe": [{"use": "fgsm", "eps": ["0.05", "0.1"]}],
}
SPEC = {
    "schema": 1,
    "name": "widths",
    "title": "<script>alert(1)</script>",
    "recipe": "mlp@digits",
    "suite": "suite.toml",
    "seeds": 2,
    "twin": [
        {"name": "narrow", "backbone": {"options": {"hidden": "8"}}},
        {"name": "wide & high", "backbone": {"options": {"hidden": "16"}}},
    ],
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spec")
    (folder / "suite.toml").write_text(tomli_w.dumps(SUITE), encoding="utf-8")
    (folder / "spec.toml").write_text(tomli_w.dumps(SPEC), encoding="utf-8")
    return folder / "spec.toml"


@pytest.fixture(scope="module")
def folder(spec: Path) -> Path:
    twins(spec, out=spec.parent / "out", epochs=2)
    return spec.parent / "out"


def test_paired_t_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 7), rng.normal(0.3, 1, 7)
    found, theirs = paired_t(a, b), scipy.stats.ttest_rel(a, b)
    ends = theirs.confidence_interval()
    assert (found.p, found.low, found.high) == pytest.approx((theirs.pvalue, ends.low, ends.high))
    mean = mean_t(a)
    assert (mean.low, mean.high) == pytest.approx(
        scipy.stats.t.interval(0.95, 6, a.mean(), scipy.stats.sem(a))
    )


def test_pairing_is_what_tells_small_differences() -> None:
    """The mutant: seeds out of step, as an unpaired comparison would have them."""
    seeds = np.array([0.1, 0.5, 0.9, 0.3, 0.7])
    twin = seeds + 0.02 + np.array([1, -1, 1, -1, 0]) * 1e-3
    assert paired_t(twin, seeds).p < 1e-3
    assert paired_t(np.roll(twin, 1), seeds).p > 0.5


@pytest.mark.parametrize("n", [0, 1])
def test_one_training_has_no_interval(n: int) -> None:
    found = paired_t(np.ones(n), np.zeros(n))
    assert found.n == n
    assert np.isnan([found.low, found.high, found.p]).all()


def test_equal_differences_have_no_interval() -> None:
    """Two seeds that agree to the digit prove nothing."""
    found = paired_t([0.3, 0.3 + 0.1], [0.1, 0.1 + 0.1])
    assert found.value == pytest.approx(0.2)
    assert np.isnan([found.low, found.high, found.p]).all()
    assert paired_t([1.0, 1.0], [1.0, 1.0]).p == 1.0
    assert mean_text(mean_t([0.0, 0.0]), True) == "0.0 % (alike in every seed)"
    assert "alike" in points(paired_t([1.0, 1.0], [0.0, 0.0]), True)


@pytest.mark.slow
def test_values_are_those_of_the_runs(folder: Path) -> None:
    kinds = Kinds(folder)
    assert list(kinds.runs) == [0, 1]
    keys = {(k.probe, k.metric, k.eps) for k in kinds.values}
    assert ("clean", "clean_accuracy", "") in keys
    assert ("fgsm", "clean_accuracy", "") not in keys
    key = next(k for k in kinds.values if k.metric == "robust_accuracy" and k.eps == "0.1")
    for seed, run in kinds.runs.items():
        rows = run.summary()
        of = (rows.probe == "fgsm") & (rows.eps == "0.1") & (rows.metric == "robust_accuracy")
        for twin in kinds.twins:
            value = float(rows[of & (rows.backbone == twin)].value.iloc[0])
            assert kinds.values[key][twin][seed] == value
    theirs = kinds.values[key]["wide & high"] - kinds.values[key]["narrow"]
    assert kinds.difference(key, "wide & high").value == pytest.approx(theirs.mean())


def test_two_seeds_claim_nothing(folder: Path) -> None:
    kinds = Kinds(folder)
    assert not kinds.enough
    assert "too few" in title(kinds)
    assert any("--seeds 5" in line for line in caveats(kinds))
    assert [key.metric for key in headlines(kinds)] == ["clean_accuracy", "robust_accuracy"]


def test_few_seeds_are_told_in_a_sentence_and_with_the_whole_command(folder: Path) -> None:
    kinds = Kinds(folder)
    assert title(kinds) == "widths: 2 seeds, too few for a claim about the kind"
    assert any("`robustlab twins widths --epochs 2 --seeds 5` goes on" in s for s in caveats(kinds))
    given = "robustlab twins 'my spec.toml' --seeds 2 --epochs 4 -o out --again"
    assert command({"command": given}) == (
        "robustlab twins 'my spec.toml' --epochs 4 -o out --seeds 5"
    )


def test_no_share_is_drawn_or_told_outside_of_what_it_can_be(folder: Path) -> None:
    """Student's t of two seeds far apart reaches from below 0 to above 100 %."""
    kinds = Kinds(folder)
    far = {"narrow": np.array([0.05, 0.95]), "wide & high": np.array([0.9, 0.1])}
    key = next(key for key in kinds.values if key.metric == "clean_accuracy")
    kinds.__dict__["values"] = {**kinds.values, key: far}
    assert kinds.mean(key, "narrow").low < 0 < 1 < kinds.mean(key, "narrow").high
    assert mean_text(kinds.mean(key, "narrow"), True) == "50.0 % [0.0, 100.0]"
    assert points(kinds.difference(key, "wide & high"), True) == "+0.0 points [-100.0, +100.0]"
    look = styles(kinds.twins)
    with_axes: list[Any] = []

    def keep(figure: Any, *_: Any) -> str:
        with_axes.extend(figure.axes)
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "inline", keep)
        drawing.rows(kinds, look, key, 0)
    assert len(with_axes) == 2
    for axes in with_axes:
        low, high = axes.get_xlim()
        assert -3 <= low < high <= 103
        assert all(0 <= one <= 100 for one in axes.get_xticks())
        drawn = np.concatenate([line.get_xdata() for line in axes.lines])
        assert (drawn.min(), drawn.max()) == (0, 100)


def test_five_seeds_claim_what_differs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the mutant: a difference that is noise is not told as one."""
    kinds = Kinds(folder)
    monkeypatch.setattr(Kinds, "enough", True)
    told: dict[str, Any] = {}
    for name, shift in (("real", 0.2), ("noise", 0.0)):
        values = {
            key: {
                "narrow": np.array([0.5, 0.6, 0.4, 0.5, 0.6]),
                "wide & high": np.array([0.51, 0.59, 0.41, 0.49, 0.6]) + shift,
            }
            for key in kinds.values
        }
        monkeypatch.setattr(kinds, "values", values, raising=False)
        kinds.__dict__["values"] = values
        told[name] = title(kinds)
    assert "20.0 points more" in told["real"]
    assert "No difference" in told["noise"]


def test_the_same_call_trains_nothing_again(
    spec: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}
    assert len(before) == 4
    twins(spec, out=folder, epochs=2)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")} == before


def test_the_page_escapes_and_says_its_unit(folder: Path) -> None:
    page = write_twins_page(Kinds(folder)).read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "wide &amp; high" in page
    assert "wide & high<" not in page
    assert "Its unit is a training" in page
    assert "seed0/report.html" in page
    assert "://" not in page.replace("http://www.w3.org", "")


def test_a_seed_without_a_whole_run_does_not_count(folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / "twins.json").read_text(encoding="utf-8"))
    (tmp_path / "twins.json").write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / "seed0").symlink_to(folder / "seed0")
    kinds = Kinds(tmp_path)
    assert (list(kinds.runs), kinds.missing) == ([0], [1])
    assert any("left out" in line for line in caveats(kinds))
    assert write_twins_page(kinds).is_file()


def test_a_folder_without_twins_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="robustlab twins"):
        Kinds(tmp_path)


def test_wilson_is_for_images_not_for_seeds(folder: Path) -> None:
    """Intervals over seeds are not those of the images of one training."""
    kinds = Kinds(folder)
    key = next(k for k in kinds.values if k.metric == "clean_accuracy")
    images = statistics.wilson(round(20 * kinds.values[key]["narrow"][0]), 20)
    assert kinds.mean(key, "narrow").n == 2
    assert images.n == 20


def test_a_suite_that_cannot_run_is_refused_before_training(spec: Path, tmp_path: Path) -> None:
    for number, probe in enumerate(({"use": "shft"}, {"use": "shift", "mode": "circular"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "suite.toml").write_text(tomli_w.dumps(SUITE | {"probe": [probe]}), "utf-8")
        (folder / "spec.toml").write_text(tomli_w.dumps(SPEC), encoding="utf-8")
        with pytest.raises(BadRequest, match=r"did you mean 'shift'|makes no circle"):
            twins(folder / "spec.toml", out=folder / "out", epochs=1)
        assert not (folder / "out").exists()


def test_the_command_line_tells_the_same_numbers(spec: Path, folder: Path) -> None:
    arguments = ["twins", str(spec), "-o", str(folder), "--epochs", "2", "--json"]
    runner = CliRunner()
    answer = runner.invoke(robustlab_command, arguments)
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout[answer.stdout.index("{") :])
    kinds = Kinds(folder)
    assert told["seeds"] == [0, 1]
    assert [row["mean over seeds"] for row in told["numbers"]] == [
        mean_text(kinds.mean(key, twin), True) for key in headlines(kinds) for twin in kinds.twins
    ]
    assert "p =" not in answer.stdout  # two seeds make no claim


def test_the_counter_begins_anew_with_each_seed(spec: Path, tmp_path: Path) -> None:
    """Cells of one seed's comparison are counted of its own, under a line that says which it is."""
    arguments = ["twins", str(spec), "--epochs", "1", "--take", "10", "-o", str(tmp_path / "new")]
    told = CliRunner().invoke(robustlab_command, arguments)
    assert told.exit_code == 0, told.output
    lines = told.stderr.splitlines()
    seeds = [k for k, line in enumerate(lines) if line.startswith("comparing ")]
    assert [lines[k] for k in seeds] == [
        "comparing 1/2: the twins of seed 0",
        "comparing 2/2: the twins of seed 1",
    ]
    for first, end in zip(seeds, [*seeds[1:], len(lines)], strict=True):
        counts = [line.split("]")[0] for line in lines[first:end] if line.startswith("[")]
        assert counts == [f"[{k}/{len(counts)}" for k in range(1, len(counts) + 1)]
        assert len(counts) == 4  # clean and fgsm of two twins
