"""Runs that are killed, split, shared, edited or finished: the tables are those of an undisturbed
run, bit for bit, and no landed cell is computed again."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import robustlab
from robustlab import runner
from robustlab.engines import inline

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

SUITE = """
schema = 1
seed = 1
shard = 6

[data]
source = "digits:test"
take = 30

[[backbone]]
ref = "lenet5-avg@digits"

[[probe]]
use = "pgd"
eps = ["0.05", "0.1"]
steps = 30
restarts = 2
early_exit = false

[[probe]]
use = "noise"
eps = ["0.1"]
restarts = 3

[[probe]]
use = "pgd"
norm = "l2"
eps = ["1"]
steps = 30
early_exit = false
"""
CELLS = 4 * 5


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, one_thread):
    """The suite run in one go. Read only."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "suite.toml"
    path.write_text(SUITE, encoding="utf-8")
    return robustlab.run(path, out=folder / "run")


def records(folder):
    """What landed: name -> (time of the file, its content)."""
    found = {}
    for path in (folder / "cells").glob("*.json"):
        if not path.name.endswith("failed.json"):
            found[path.name] = (path.stat().st_mtime_ns, path.read_text(encoding="utf-8"))
    return found


def check_untouched(before, after):
    """What had landed has not been computed, or written, again."""
    assert before.items() <= after.items()


def check_same_tables(run, undisturbed):
    """Bit for bit: `check_exact`, and the floats' own text."""
    for name in ("summary", "samples"):
        one, other = getattr(run, name)(), getattr(undisturbed, name)()
        pd.testing.assert_frame_equal(one, other, check_exact=True)
        assert one.to_json(double_precision=15) == other.to_json(double_precision=15)
        assert len(one) > 0


def leftovers(folder):
    return [p.name for p in folder.rglob("*.tmp")] + [p.name for p in folder.rglob(".*.tmp")]


def command(*arguments):
    return [sys.executable, "-m", "robustlab", *map(str, arguments)]


def start(*arguments, code=None, **options):
    """The command in a process of its own; with ``code``, what runs before it."""
    line = command(*arguments) if code is None else [sys.executable, "-c", code]
    line += [] if code is None else [str(one) for one in arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"}, **options)


def wait_until(landed, folder, process):
    """Until more than ``landed`` cells have landed; no deadline but the process's own end."""
    while len(records(folder) if folder.exists() else ()) <= landed and process.poll() is None:
        time.sleep(0.002)


def run_and_kill(suite, folder, rng):
    """Start the command, kill it at a random moment after a few cells; what had landed."""
    landed = len(records(folder)) if folder.exists() else 0
    process = start("run", suite, "-o", folder)
    wait_until(landed + rng.randrange(4), folder, process)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return records(folder)


# Killed -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_run_goes_on(suite, tmp_path, undisturbed):
    folder = tmp_path / "run"
    before = run_and_kill(suite, folder, random.Random(0))
    assert 0 < len(before) < CELLS
    run = robustlab.run(suite, out=folder)
    check_untouched(before, records(folder))
    check_same_tables(run, undisturbed)
    assert leftovers(folder) == []


@pytest.mark.slow
def test_killed_again_and_again(suite, tmp_path, undisturbed):
    rng, folder = random.Random(1), tmp_path / "run"
    before = {}
    for _ in range(2):
        after = run_and_kill(suite, folder, rng)
        check_untouched(before, after)
        assert len(before) < len(after)
        before = after
    last = start("run", suite, "-o", folder)
    last.communicate()
    assert last.returncode == 0
    check_untouched(before, records(folder))
    check_same_tables(robustlab.open_run(folder), undisturbed)
    assert leftovers(folder) == []


@pytest.mark.slow
def test_killed_before_the_first_cell(suite, tmp_path, undisturbed):
    """While the run directory is being made."""
    folder = tmp_path / "run"
    process = start("run", suite, "-o", folder)
    while not folder.exists() and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    check_same_tables(robustlab.run(suite, out=folder), undisturbed)


def test_the_checks_kill(tmp_path, finished, tiny, monkeypatch):
    """Another seed shows in the tables; an engine that computes all again shows in the records."""
    other = robustlab.run(tiny, out=tmp_path / "other", seed=4)
    with pytest.raises(AssertionError):
        check_same_tables(other, robustlab.open_run(finished))

    def forgetful(cells, store, resolved, tell):
        return len([inline._land(cell, store, resolved, tell) for cell in cells]), 0

    folder = shutil.copytree(finished, tmp_path / "run")
    before = records(folder)
    monkeypatch.setattr(runner, "work_through", forgetful)
    robustlab.run(tiny, out=folder)
    with pytest.raises(AssertionError):
        check_untouched(before, records(folder))


# Interrupted --------------------------------------------------------------------------------------

INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is off in a background job
from robustlab.cli import main
raise SystemExit(main())
"""


@pytest.mark.slow
def test_ctrl_c(suite, tmp_path, undisturbed):
    folder = tmp_path / "run"
    process = start("run", suite, "-o", folder, code=INTERRUPTIBLE)
    wait_until(0, folder, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "interrupted; what has landed is kept, run the same command to go on" in told
    assert "Traceback" not in told
    before = records(folder)
    assert 0 < len(before) < CELLS
    assert leftovers(folder) == []
    run = robustlab.run(suite, out=folder)
    check_untouched(before, records(folder))
    check_same_tables(run, undisturbed)


def test_ctrl_c_inside_a_probe(tmp_path, lab, tiny):
    """An interrupt is no failure of the cell."""
    (tmp_path / "mine.py").write_text(
        "import robustlab\n@robustlab.probe('p')\ndef p(b, d):\n    raise KeyboardInterrupt\n"
    )
    tiny.write_text(tiny.read_text() + "\n[[probe]]\nuse = './mine.py:p'\n")
    done = lab("run", tiny, "-o", tmp_path / "run")
    assert done.code == 130
    assert "interrupted; what has landed is kept" in done.err
    assert len(records(tmp_path / "run")) == 9
    assert list((tmp_path / "run" / "cells").glob("*.failed.json")) == []


# Finished, edited ---------------------------------------------------------------------------------


def files(folder):
    found = [p for p in folder.rglob("*") if p.is_file()]
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def test_a_finished_run_is_a_no_op(finished, tmp_path, lab, tiny):
    folder = shutil.copytree(finished, tmp_path / "run")
    before = files(folder)
    done = lab("run", tiny, "-o", folder)
    assert done.code == 0
    assert done.err == ""
    assert files(folder) == before
    (folder / "report.html").unlink()  # only the page is missing: only the page is made
    assert lab("run", tiny, "-o", folder).code == 0
    after = files(folder)
    changed = {p.name for p in after if after[p] != before[p]}
    assert changed == {"report.html"}


def states(suite, folder):
    """What the engine did with each cell."""
    told = []
    robustlab.run(suite, out=folder, tell=lambda *given: told.append(given))
    return [cell.bound.label for cell, state in told if state == "landed"]


def test_an_edited_suite_computes_the_difference(finished, tmp_path, tiny):
    folder = shutil.copytree(finished, tmp_path / "run")
    before = records(folder)
    tiny.write_text(tiny.read_text() + '\n[[probe]]\nuse = "bim"\neps = ["0.1"]\nsteps = 2\n')
    assert states(tiny, folder) == ["bim"] * 3
    check_untouched(before, records(folder))
    assert "bim" in (folder / "report.html").read_text()
    # Another eps list of one probe: its cells alone.
    tiny.write_text(tiny.read_text().replace('["0.1", "0.2"]', '["0.1", "0.3"]'))
    assert states(tiny, folder) == ["fgsm"] * 3
    check_untouched(before, records(folder))
    # Back to the beginning: everything has landed, and the tables tell only what is asked.
    tiny.write_text(tiny.read_text().replace('["0.1", "0.3"]', '["0.1", "0.2"]'))
    tiny.write_text(tiny.read_text().partition('\n[[probe]]\nuse = "bim"')[0])
    assert states(tiny, folder) == []
    check_same_tables(robustlab.open_run(folder), robustlab.open_run(finished))
    assert "bim" not in (folder / "report.html").read_text()


def test_what_was_chosen_is_reused(finished, tmp_path, tiny):
    """A resumed run keeps the first process's batch and threads, whatever would be chosen now."""
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "resolved.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "batch": 2, "threads": 1}))
    tiny.write_text(tiny.read_text() + '\n[[probe]]\nuse = "bim"\neps = ["0.1"]\nsteps = 2\n')
    run = robustlab.run(tiny, out=folder)
    assert json.loads(path.read_text())["batch"] == 2
    group = next(g for g in run.groups() if g.label == "bim")
    assert {record.threads for record in group.records} == {1}


def test_a_run_goes_on_where_it_began(finished, tmp_path, lab, tiny):
    """One begun on a device that is not there now is refused, not computed elsewhere in silence."""
    folder = shutil.copytree(finished, tmp_path / "run")
    path = folder / "resolved.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "device": "cuda:77"}))
    done = lab("run", tiny, "-o", folder)
    assert done.code == 2
    assert f"the run in {folder} began on 'cuda:77': device 'cuda:77' cannot be used" in done.err
    path.write_text('{"future": 1}')
    done = lab("run", tiny, "-o", folder)
    assert done.code == 2
    assert "resolved.json is of another version of the lab; choose another folder" in done.err


# Shared -------------------------------------------------------------------------------------------

TOGETHER = """
import sys
import robustlab.runner
from robustlab.cli import main
{patch}
print("ready", flush=True)
sys.stdin.readline()
raise SystemExit(main())
"""
NO_LOCKS = """
import contextlib
from robustlab import atomic
atomic.file_lock = lambda path: contextlib.nullcontext(True)
"""


def together(*commands, patch=""):
    """Processes that begin at the same moment; returns exit codes and how often a cell landed."""
    code = TOGETHER.format(patch=patch)
    started = [start(*one, code=code, stdin=subprocess.PIPE) for one in commands]
    assert [one.stdout.readline() for one in started] == ["ready\n"] * len(started)
    for one in started:
        one.stdin.write("go\n")
        one.stdin.flush()
    told = [one.communicate()[1] for one in started]
    landed = sum(line.endswith("  landed") for text in told for line in text.splitlines())
    return [one.returncode for one in started], landed


@pytest.mark.slow
def test_two_parts_in_one_folder(suite, tmp_path, undisturbed):
    folder = tmp_path / "run"
    parts = [("run", suite, "-o", folder, "--part", part) for part in ("1/2", "2/2")]
    codes, landed = together(*parts)
    assert (codes, landed) == ([0, 0], CELLS)
    check_same_tables(robustlab.run(suite, out=folder), undisturbed)


def test_parts_one_after_the_other(tmp_path, finished, lab, tiny):
    """Each lands its share; a part is no failure for being incomplete; the last makes the page."""
    folder = tmp_path / "run"
    shares = []
    for part in ("1/3", "2/3", "3/3"):
        done = lab("run", tiny, "-o", folder, "--part", part, "--json")
        shares.append(len(records(folder)))
        assert done.code == 0
        assert done.json["complete"] == (part == "3/3")
        text = lab("run", tiny, "-o", folder, "--part", part).out
        left = {"1/3": "6 cells have not landed yet; the other parts, or the command", "3/3": ""}
        assert left.get(part, "3 cells have not landed yet") in text
        assert (folder / "report.html").exists() == (part == "3/3")
    assert shares == [3, 6, 9]
    check_same_tables(robustlab.open_run(folder), robustlab.open_run(finished))


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "1/", "a/b", "-1/2", "1/0", "²/³"])
def test_impossible_parts(lab, tiny, tmp_path, part):
    done = lab("run", tiny, "-o", tmp_path / "run", "--part", part)
    assert done.code == 2
    assert f"part '{part}' is not I/N with 1 <= I <= N, as 1/2" in done.err


@pytest.mark.slow
def test_two_identical_commands_share_the_work(suite, tmp_path, undisturbed):
    folder = tmp_path / "run"
    codes, landed = together(*[("run", suite, "-o", folder)] * 2)
    assert (codes, landed) == ([0, 0], CELLS)
    check_same_tables(robustlab.open_run(folder), undisturbed)
    assert leftovers(folder) == []


@pytest.mark.slow
def test_that_count_kills_locks_that_do_not_hold(suite, tmp_path):
    def landed(folder):
        return together(*[("run", suite, "-o", folder)] * 2, patch=NO_LOCKS)[1]

    # On a busy machine one process may be through before the other gets its turn.
    assert any(landed(tmp_path / f"run{attempt}") > CELLS for attempt in range(6))


# Failed cells -------------------------------------------------------------------------------------

FAILING = """
from pathlib import Path
import numpy as np
import robustlab

@robustlab.probe("failing")
def failing(backbone, data):
    if Path({flag!r}).exists() and "{place}" in data.ids[0]:
        raise ValueError("no luck <today>")
    return robustlab.Outcome({{"lucky": np.ones(len(data), bool)}})
"""


@pytest.fixture
def failing(tmp_path, tiny):
    """A suite whose last probe fails in one of its three cells while the file ``flag`` exists."""
    flag = tmp_path / "flag"
    flag.touch()
    ids = robustlab.load_data("digits:test", take=10, seed=3).ids
    (tmp_path / "mine.py").write_text(FAILING.format(flag=str(flag), place=ids[4]))
    tiny.write_text(tiny.read_text() + "\n[[probe]]\nuse = './mine.py:failing'\n")
    return tiny, flag


def check_kept_out(run):
    """Two of three cells landed, which is no result: no number of the probe is told."""
    assert "failing" not in set(run.summary()["probe"])
    assert "failing" not in set(run.samples()["probe"])
    assert {"clean", "fgsm", "noise"} == set(run.summary()["probe"])


def test_a_failed_cell_is_in_no_table(failing, tmp_path, lab):
    suite, flag = failing
    folder = tmp_path / "run"
    done = lab("run", suite, "-o", folder)
    assert done.code == 3
    told = "failing on mlp@digits: ValueError: no luck <today>"
    assert f"failed, in no table: {told}" in done.err
    assert "have not landed yet" not in done.out  # it was tried: nobody else will land it
    run = robustlab.open_run(folder)
    check_kept_out(run)
    assert not run.complete
    assert "11 of 12 cells landed" in repr(run)
    (group,) = [g for g in run.groups() if g.label == "failing"]
    assert (group.outcome, len(group.missing), len(group.records)) == (None, 1, 2)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "no luck &lt;today&gt;" in page
    assert "lucky" not in page
    before = records(folder)

    done = lab("run", suite, "-o", folder, "--json")  # tried again, and fails again
    assert (done.code, done.json["complete"]) == (3, False)
    assert [one.startswith(told) for one in done.json["failed"]] == [True]
    check_untouched(before, records(folder))

    flag.unlink()  # the reason is gone: only that cell is computed
    done = lab("run", suite, "-o", folder)
    assert done.code == 0
    assert done.err.splitlines() == ["[1/1] mlp@digits  failing  landed"]
    check_untouched(before, records(folder))
    assert list((folder / "cells").glob("*.failed.json")) == []
    run = robustlab.open_run(folder)
    assert set(run.summary()["probe"]) == {"clean", "fgsm", "noise", "failing"}
    assert "no luck" not in (folder / "report.html").read_text(encoding="utf-8")


def test_that_check_kills_tables_of_what_landed(failing, tmp_path, monkeypatch):
    """A reader that made do with two of three cells would be caught."""
    from robustlab import results

    suite, _ = failing
    run = robustlab.run(suite, out=tmp_path / "run")
    whole = results.Results._group

    def careless(self, entries):
        kept = [e for e in entries if self.store.record(e["cell"]) is not None]
        return whole(self, kept)

    monkeypatch.setattr(results.Results, "_group", careless)
    with pytest.raises(AssertionError):
        check_kept_out(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return 1", ": p returned int; a probe returns an Outcome"),
        (
            "return robustlab.Outcome({'a': [1.0]})",
            ": column 'a' has shape [1]; one value",
        ),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("raise ValueError", "ValueError: "),
        ("d.labels[0] = 3", "ValueError: assignment destination is read-only"),
    ],
)
def test_a_probe_may_do_anything(tmp_path, lab, tiny, body, told):
    """Its own cells fail, the others land."""
    (tmp_path / "mine.py").write_text(
        f"import robustlab\n@robustlab.probe('p')\ndef p(b, d):\n    {body}\n"
    )
    tiny.write_text(tiny.read_text() + "\n[[probe]]\nuse = './mine.py:p'\n")
    done = lab("run", tiny, "-o", tmp_path / "run", "--json")
    assert done.code == 3
    assert len(done.json["failed"]) == 3
    assert told in done.json["failed"][0]
    assert len(records(tmp_path / "run")) == 9


# A full disk --------------------------------------------------------------------------------------


def test_a_disk_that_fills_up(tmp_path, lab, tiny, finished, monkeypatch):
    import errno

    folder, real, count = tmp_path / "run", os.fsync, iter(range(1000))

    def fsync(handle):
        if next(count) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        done = lab("run", tiny, "-o", folder)
    assert done.code == 3
    assert "No space left on device; what landed before is kept, make room and run" in done.err
    before = records(folder)
    assert 0 < len(before) < 9
    assert leftovers(folder) == []
    assert lab("run", tiny, "-o", folder).code == 0
    check_untouched(before, records(folder))
    check_same_tables(robustlab.open_run(folder), robustlab.open_run(finished))
