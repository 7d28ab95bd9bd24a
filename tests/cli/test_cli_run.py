"""run, report and check: results on stdout, progress and errors on stderr, exit codes, --json."""

import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import robustlab
from robustlab import Outcome
from robustlab.cli.running import _headline_rows, _print_kinds
from robustlab.outcome import Metric
from robustlab.results import SUMMARY_COLUMNS

pytestmark = pytest.mark.usefixtures("forget", "one_thread")


def test_run(lab, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = lab("run", tiny)
    folder = Path("reports/out/tiny")
    assert done.code == 0
    lines = done.out.splitlines()
    head = ["backbone", "probe", "eps", "metric", "value [95 % interval]", "images"]
    assert re.split("  +", lines[0]) == head
    assert "robust accuracy is an upper bound: found by these attacks" in lines
    assert f"page: {folder / 'report.html'}" in lines
    assert lines[-1] == f"run directory: {folder}   next: robustlab report {folder}"
    assert done.err.splitlines()[0] == "[1/9] mlp@digits  clean  landed"
    assert len(done.err.splitlines()) == 9
    assert (folder / "report.html").is_file()


def test_the_table_says_what_is_a_mean_and_how_much_it_leaves_out(capsys):
    columns = {f"error_{k}": np.arange(4.0) for k in range(8)} | {"kept": np.ones(4, bool)}

    def told(names, groups=1):
        outcome = Outcome(columns, metrics={name: Metric(name) for name in names})
        group = SimpleNamespace(plan={"kind": "probe"}, outcome=outcome)
        _print_kinds(SimpleNamespace(groups=lambda: [group] * groups))
        return capsys.readouterr().out.splitlines()

    mean = "numbers without % are means over the images; the page may tell a median beside"
    assert told(["kept"]) == []
    assert told(["kept", "error_0"]) == [mean]
    every = [f"error_{k}" for k in range(8)]
    left = "2 more numbers of probes are left out here; --json has them all"
    assert told(every) == [mean, left]
    assert told(every, 15)[1].startswith("60 more")
    assert told(every, 100)[1].startswith("700 more")


def test_what_the_table_leaves_out_is_counted(capsys):
    """Of 30 probes with 5 numbers each beside clean accuracy there is room for 2."""
    names = ["clean_accuracy", *(f"error_{k}" for k in range(5))]
    outcome = Outcome({n: np.arange(4.0) for n in names}, metrics={n: Metric(n) for n in names})
    groups, rows = [], []
    for place in range(30):
        plan = {"kind": "probe", "probe": f"p{place}", "label_params": ""}
        group = {"backbone": "b", "label": plan["probe"], "plan": plan, "outcome": outcome}
        groups.append(SimpleNamespace(**group))
        numbers = {"value": 1.5, "low": 1.0, "high": 2.0, "n": 4, "eps": "", "params": ""}
        rows += [{"backbone": "b", "probe": f"p{place}", "metric": n, **numbers} for n in names]
    found = SimpleNamespace(groups=lambda: groups, summary=lambda: pd.DataFrame(rows))
    told = _headline_rows(found)
    _print_kinds(found)
    left = int(capsys.readouterr().out.splitlines()[-1].split()[0])
    assert len(told) == 60
    assert left == 30 * 5 - len(told)
    assert "clean_accuracy" not in {row[3] for row in told}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal(lab, tiny, tmp_path, monkeypatch):
    """A bar that counts what is left to do; it is gone when the results are printed, and these go
    to stdout, where a script reads them."""
    monkeypatch.setenv("TERM", "xterm")
    for told in ("9/9", "0/0"):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        done = lab("run", tiny, "-o", tmp_path / "run", "--json")
        assert (done.code, done.json["complete"]) == (0, True)
        assert told in terminal.getvalue()
        assert "complete" not in terminal.getvalue()
        assert terminal.getvalue().endswith("\x1b[2K")  # the line is cleared


def test_run_json(lab, tiny, tmp_path):
    done = lab("run", tiny, "-o", tmp_path / "run", "--json")
    assert (done.code, done.json["complete"], done.json["failed"]) == (0, True, [])
    assert Path(done.json["report"]).is_file()
    run = robustlab.open_run(done.json["folder"])
    pd.testing.assert_frame_equal(pd.DataFrame(done.json["summary"]), run.summary())
    assert list(done.json["summary"][0]) == SUMMARY_COLUMNS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ((), "tiny"),
        (("-b", "lenet5-max@digits"), "tiny--lenet5-max@digits"),
        (("--data", "digits:val", "--take", "5"), "tiny--digits_val"),
    ],
)
def test_what_takes_the_suites_place_has_a_folder_of_its_own(
    lab, tiny, tmp_path, monkeypatch, options, folder
):
    monkeypatch.chdir(tmp_path)
    assert lab("run", tiny, *options).code == 0
    assert [p.name for p in Path("reports/out").iterdir()] == [folder]


@pytest.mark.slow
def test_options_reach_the_run(lab, tiny, tmp_path):
    options = ["--take", "6", "--seed", "11", "-b", "mlp@digits", "-b", "lenet5-max@digits"]
    done = lab("run", tiny, "-o", tmp_path / "run", "--device", "cpu", *options, "--json")
    assert done.code == 0
    run = robustlab.open_run(tmp_path / "run")
    assert set(run.summary()["backbone"]) == {"mlp@digits", "lenet5-max@digits"}
    assert run.about["data"]["n"] == 6
    assert run.about["suite"]["seed"] == 11
    assert run.about["suite"]["data"] == {"source": "digits:test", "take": 6}
    # What is written down runs again, and has all landed.
    again = tmp_path / "again.toml"
    again.write_text(run.about["suite_toml"], encoding="utf-8")
    done = lab("run", again, "-o", tmp_path / "run")
    assert (done.code, done.err) == (0, "")


def test_the_suite_of_other_data_is_written_down(lab, tiny, tmp_path):
    lab("run", tiny, "-o", tmp_path / "run", "--data", "digits:val", "--take", "4")
    about = robustlab.open_run(tmp_path / "run").about
    assert about["suite"]["data"] == {"source": "digits:val", "take": 4}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "quik"], "no suite 'quik'; did you mean 'quick'?"),
        (["run", "SUITE", "-b", "mlp@digtis"], "mlp@digits"),
        (["run", "SUITE", "-b", "mpl@digits"], "did you mean 'mlp@digits'?"),
        (["run", "SUITE", "--data", "digit:test"], "did you mean 'digits:test'?"),
        (["run", "SUITE", "--take", "361"], "it has only 360 images; take at most 360"),
        (["run", "SUITE", "--device", "cuda:99"], "no device 'cuda:99' here; use cpu, or"),
        (["run", "SUITE", "--device", "gpu"], "no device 'gpu' here; use cpu, or"),
        (["run", "SUITE", "--part", "3/2"], "part '3/2' is not I/N"),
        (["check", "standart"], "did you mean 'standard'?"),
        (["report", "nowhere"], "nowhere is not a run directory (it has no run.json); make one"),
        (["show", "pdg"], "nothing is called 'pdg'; did you mean 'pgd'?"),
        (["show", "foolbox:LinfPGDD"], "foolbox has no attack 'LinfPGDD'; did you mean 'LinfPGD'?"),
        (["show", "./nowhere.py:x"], "./nowhere.py is not a file"),
        (["list", "atacks"], "cannot list 'atacks'; did you mean 'attacks'?"),
        (["train", "lenet5"], "no recipe 'lenet5'; did you mean 'lenet5@mnist"),
    ],
)
def test_bad_requests(lab, tiny, tmp_path, monkeypatch, arguments, told):
    """Exit code 2, one sentence on stderr, nothing on stdout, nothing written."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    arguments = [str(tiny) if one == "SUITE" else one for one in arguments]
    done = lab(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("robustlab: ")
    assert told in done.err
    assert len(done.err.splitlines()) == 1
    with_json = lab(*arguments, "--json")
    assert with_json.json == {"error": done.err[len("robustlab: ") :].strip(), "exit_code": 2}
    assert (with_json.code, with_json.err) == (2, done.err)
    if "--part" not in arguments:  # known only once the cells are
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument 'SUITE'"),
        (["run", "quick", "--tkae", "3"], "No such option"),
        (["run", "quick", "--take", "0"], "Invalid value for '--take'"),
        (["run", "quick", "--take", "x"], "Invalid value for '--take'"),
    ],
)
def test_bad_usage(lab, arguments, told):
    done = lab(*arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


@pytest.mark.parametrize("verb", ["run", "report", "list", "show", "check", "train", "doctor"])
def test_help(lab, verb):
    done = lab(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"robustlab {verb}" in done.out
    assert "--json" in done.out
    options = [x for x in done.out.splitlines() if x.strip().startswith("-")]
    assert len(options) <= 10


def test_help_and_version(lab):
    done = lab("--help")
    assert done.code == 0
    for verb in ("run", "report", "list", "show", "check", "train", "doctor"):
        assert f"  {verb} " in done.out
    assert robustlab.__version__ in lab("--version").out


# report -------------------------------------------------------------------------------------------


def test_report(lab, finished, tmp_path):
    page = tmp_path / "page.html"
    done = lab("report", finished, "-o", page)
    assert (done.code, done.out, done.err) == (0, f"page: {page}\n", "")
    assert page.read_bytes() == (finished / "report.html").read_bytes()
    told = {"report": str(page), "complete": True, "failed": []}
    assert lab("report", finished, "-o", page, "--json").json == told


def test_report_of_what_is_not_complete(lab, tiny, tmp_path):
    folder = tmp_path / "run"
    lab("run", tiny, "-o", folder, "--part", "1/2")
    done = lab("report", folder)
    assert done.code == 3
    assert "the run is not complete: the page says what is missing" in done.err
    assert (folder / "report.html").is_file()
    assert not lab("report", folder, "--json").json["complete"]


def test_report_to_a_place_that_cannot_be(lab, finished, tmp_path):
    page = tmp_path / "missing" / "page.html"
    done = lab("report", finished, "-o", page)
    assert done.code == 3
    assert f"cannot write {page}: No such file or directory" in done.err


def test_report_of_a_damaged_cell(lab, finished, tmp_path):
    import shutil

    folder = shutil.copytree(finished, tmp_path / "run")
    cell = sorted((folder / "cells").glob("*.npz"))[0]
    cell.write_bytes(cell.read_bytes()[:-7])
    done = lab("report", folder)
    assert done.code == 3
    assert f"{cell} is damaged; delete it and run the suite again" in done.err
    cell.unlink()  # what the message says to do
    suite = tmp_path / "again.toml"
    suite.write_text(robustlab.open_run(folder).about["suite_toml"], encoding="utf-8")
    done = lab("run", suite, "-o", folder)
    assert done.code == 0
    assert len(done.err.splitlines()) == 1


# check --------------------------------------------------------------------------------------------


def test_check_counts(lab, tiny):
    """10 images in shards of 4: three cells a probe; passes an image by hand."""
    done = lab("check", tiny, "--json")
    assert done.code == 0
    assert done.json["cells"] == 9
    keys = ("backbone", "probe", "cells", "images")
    rows = [[row[key] for key in keys] for row in done.json["probes"]]
    assert rows == [["mlp@digits", probe, 3, 10] for probe in ("clean", "fgsm", "noise")]
    passes = {row["probe"]: row["passes"] for row in done.json["probes"]}
    assert passes["clean"] == 1
    assert passes["fgsm"] == 2 * (3 + 3)  # two eps
    assert done.json["seconds_at_most"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "cells"),
    [([], 9), (["--take", "4"], 3), (["-b", "mlp@digits", "-b", "lenet5-max@digits"], 18)],
)
def test_check_counts_what_run_computes(lab, tiny, tmp_path, options, cells):
    assert lab("check", tiny, *options, "--json").json["cells"] == cells
    assert len(lab("run", tiny, *options, "-o", tmp_path / "run").err.splitlines()) == cells


def test_check_runs_nothing(lab, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = lab("check", tiny)
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"next: robustlab run {tiny}"
    assert "9 cells; about " in done.out
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.toml"]


def test_check_finds_what_run_would_refuse(lab, tiny):
    tiny.write_text(tiny.read_text().replace('use = "noise"', 'use = "noise"\nsteps = 3'))
    done = lab("check", tiny)
    assert done.code == 2
    assert "suite tiny.toml, probe 2: unknown parameter 'steps' of 'noise'; did you" in done.err


@pytest.mark.parametrize("suite", ["quick", "standard"])
def test_shipped_suites_bind(lab, suite):
    done = lab("check", suite, "--json")
    assert done.code == 0
    assert done.json["cells"] == {"quick": 8, "standard": 3 * 11 * 2}[suite]


# One's own attack and probe -----------------------------------------------------------------------

OWN = """
schema = 1
[data]
source = "digits:test"
take = 12
[[backbone]]
ref = "mlp@digits"
[[probe]]
use = "./mine.py:brighter"
eps = ["0.1", "0.3"]
[[probe]]
use = "./contrast.py:contrast"
sweep = { factor = [1, 0.5, 0.1] }
"""


@pytest.fixture
def own_suite(own_probes):
    path = own_probes / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_own_attack_and_probe(lab, own_suite, tmp_path):
    """One file each: bound, swept, stored, told and in the page like the built-in ones."""
    assert lab("check", own_suite, "--json").json["cells"] == 5
    done = lab("run", own_suite, "-o", tmp_path / "run", "--json")
    assert (done.code, done.json["failed"]) == (0, [])
    run = robustlab.open_run(tmp_path / "run")
    summary = run.summary()
    contrast = summary[summary.probe == "contrast"]
    assert list(contrast.params.unique()) == ["factor=1.0", "factor=0.5", "factor=0.1"]
    assert set(contrast.metric) == {"right", "margin"}
    assert set(contrast.n) == {12}
    unchanged = contrast[(contrast.params == "factor=1.0") & (contrast.metric == "right")]
    clean = summary[summary.metric == "clean_accuracy"].iloc[0]
    assert unchanged.iloc[0].value == clean.value  # a factor of 1 changes nothing
    assert unchanged.iloc[0].low == clean.low  # with a Wilson interval, as it is a rate
    brighter = summary[(summary.probe == "brighter") & (summary.metric == "robust_accuracy")]
    assert list(brighter.eps) == ["0.1", "0.3"]
    samples = run.samples()
    assert len(samples[samples.probe == "contrast"]) == 3 * 12
    assert len(samples[samples.probe == "brighter"]) == 2 * 12
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "contrast" in page
    assert "brighter" in page
    table = lab("run", own_suite, "-o", tmp_path / "run").out
    assert "contrast (factor=0.5)" in table


@pytest.mark.slow
def test_editing_ones_own_probe_computes_its_cells_alone(lab, own_suite, tmp_path):
    lab("run", own_suite, "-o", tmp_path / "run")
    file = own_suite.parent / "contrast.py"
    file.write_text(file.read_text() + "\n# another thought\n")
    done = lab("run", own_suite, "-o", tmp_path / "run")
    assert {line.split("  ")[1].split()[0] for line in done.err.splitlines()} == {"contrast"}
    assert len(done.err.splitlines()) == 3


@pytest.mark.slow
def test_no_python_in_between(python, own_suite, tmp_path):
    """As a newcomer runs it, in a process of its own."""
    done = python("-m", "robustlab", "run", own_suite, "-o", "run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["complete"]
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early(python):
    """As `| head -1` does: no traceback, and no error code from us."""
    code = (
        "import os, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'robustlab', 'list', 'attacks'],\n"
        "    stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "p.stdout.close()\n"
        "told = p.stderr.read().decode()\n"
        "print(p.wait(), repr(told))\n"
    )
    assert python("-c", code).stdout.strip() == "0 ''"
