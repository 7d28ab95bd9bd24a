"""Files are whole or absent, whoever dies and whatever fills up; locks go with their process."""

import errno
import os
import subprocess
import sys
from subprocess import PIPE

import pytest

from robustlab import atomic
from robustlab.errors import BadRequest, NoVerdict


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_write_replaces_whole(tmp_path):
    path = tmp_path / "a"
    atomic.write(path, b"one")
    atomic.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["a"]


def test_a_reader_sees_the_old_or_the_new(tmp_path):
    check_never_half(tmp_path, atomic.write)


def test_that_check_kills_a_plain_write(tmp_path):
    with pytest.raises(AssertionError):
        check_never_half(tmp_path, lambda path, content: path.write_bytes(content))


def check_never_half(tmp_path, write):
    """At the moment of the fsync and of every rename the name holds one of the two texts."""
    path, old, new = tmp_path / "a", b"o" * 9999, b"n" * 9999
    path.write_bytes(old)
    seen = []

    class Watching(type(path)):
        def open(self, *arguments, **options):
            file = super().open(*arguments, **options)
            seen.append(path.read_bytes())
            return file

    write(Watching(path), new)
    assert seen
    assert set(seen) <= {old, new}
    assert path.read_bytes() == new


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("write", [atomic.write, atomic.create_exclusively])
def test_a_full_or_read_only_disk(tmp_path, monkeypatch, write, call, code):
    """What was there stays, nothing is left beside it, and the message says what to do."""
    kept = tmp_path / "kept"
    kept.write_bytes(b"landed")

    def full(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        if call == "open":
            patch.setattr(type(tmp_path), "open", full)
        else:
            exclusive = write is atomic.create_exclusively and call == "replace"
            patch.setattr(os, "link" if exclusive else call, full)
        with pytest.raises(NoVerdict) as error:
            write(kept if write is atomic.write else tmp_path / "new", b"more")
    told = str(error.value)
    assert os.strerror(code) in told
    assert "what landed before is kept, make room and run the same command again" in told
    assert names(tmp_path) == ["kept"]
    assert kept.read_bytes() == b"landed"


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(tmp_path / "a", b"x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("below", [False, True])
def test_a_folder_that_cannot_be(tmp_path, below):
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "run" if below else tmp_path / "file"
    with pytest.raises(BadRequest, match=r"cannot write to the folder .*choose another with --out"):
        atomic.make_folder(path)


def test_a_read_only_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(type(tmp_path), "touch", refuse)
    with pytest.raises(BadRequest, match=r"cannot write to the folder .*: Permission denied; free"):
        atomic.make_folder(tmp_path)


def test_make_folder_leaves_nothing_in_it(tmp_path):
    atomic.make_folder(tmp_path / "a" / "b")
    atomic.make_folder(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


# Many processes -----------------------------------------------------------------------------------

START = """
import sys, time
from pathlib import Path
from robustlab import atomic
path, mine = Path(sys.argv[1]), sys.argv[2].encode() * 2000
def create(path, content):
{create}
print("ready", flush=True)
sys.stdin.readline()
sys.stdout.write(create(path, mine).decode())
"""
EXCLUSIVELY = "    return atomic.create_exclusively(path, content)"
LAST_WINS = "    atomic.write(path, content); time.sleep(0.2); return content"

HOLD = """
import sys
from pathlib import Path
from robustlab import atomic
with atomic.file_lock(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def processes():
    """Python processes that talk to us; none outlives the test."""
    started = []

    def start(code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        started.append(subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def check_one_wins(tmp_path, processes, create, count=8):
    path = tmp_path / "only"
    started = [processes(START.format(create=create), path, number) for number in range(count)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * count
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate()[0] for process in started}
    assert answers == {path.read_text()}
    assert names(tmp_path) == ["only"]


def test_exclusive_creation(tmp_path, processes):
    """All processes are told the same content: the first one's."""
    check_one_wins(tmp_path, processes, EXCLUSIVELY)


def test_that_check_kills(tmp_path, processes):
    with pytest.raises(AssertionError):
        check_one_wins(tmp_path, processes, LAST_WINS, count=3)


def test_a_lock_is_held_by_one(tmp_path, processes):
    path = tmp_path / "lock"
    first = processes(HOLD, path)
    assert first.stdout.readline() == "True\n"
    with atomic.file_lock(path) as mine:
        assert not mine
    assert processes(HOLD, path).stdout.readline() == "False\n"
    first.communicate("done\n")
    with atomic.file_lock(path) as mine:
        assert mine


def test_a_killed_process_holds_no_lock(tmp_path, processes):
    path = tmp_path / "lock"
    first = processes(HOLD, path)
    assert first.stdout.readline() == "True\n"
    first.kill()
    first.wait()
    with atomic.file_lock(path) as mine:
        assert mine


def test_a_lock_is_released_on_an_error(tmp_path):
    def fail():
        with atomic.file_lock(tmp_path / "lock"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with atomic.file_lock(tmp_path / "lock") as mine:
        assert mine


def test_a_lock_on_a_full_disk(tmp_path):
    with pytest.raises(NoVerdict, match=r"cannot write .*lock: .*make room"):
        atomic.file_lock(tmp_path / "missing" / "lock").__enter__()
