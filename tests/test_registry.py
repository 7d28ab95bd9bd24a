"""Names become objects, parameters are bound and checked; a user's own file is loaded by path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robustlab import binding, registry, shelf
from robustlab.binding import bind, described
from robustlab.errors import BadRequest
from robustlab.identity import code_fingerprint
from robustlab.outcome import Outcome
from robustlab.registry import Registered, probe, resolve

pytestmark = pytest.mark.usefixtures("forget")


def sample(
    backbone,
    data,
    *,
    needed: int,
    share: float = 0.5,
    maybe: float | None = None,
    word: str = "a",
    flag: bool = False,
    values: list[float] = (),
    anything=None,
):
    return Outcome({})


SAMPLE = Registered("sample", sample)
PGD = {"eps": "0.1"}


# Binding --------------------------------------------------------------------------------------


def test_defaults_are_filled_in():
    bound = bind(SAMPLE, {"needed": 3})
    assert bound == {
        "needed": 3,
        "share": 0.5,
        "maybe": None,
        "word": "a",
        "flag": False,
        "values": [],
        "anything": None,
    }


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ({"share": 1}, 1.0),
        ({"maybe": 2}, 2.0),
        ({"values": [1, 2.5]}, [1.0, 2.5]),
        ({"values": (1,)}, [1.0]),
        ({"anything": 1}, 1),
        ({"share": np.float32(0.25)}, 0.25),
        ({"needed": np.int64(4)}, 4),
    ],
)
def test_an_int_passes_for_a_float(given, bound):
    """So that ``1`` and ``1.0`` in a suite are one cell."""
    ((name, _),) = given.items()
    found = bind(SAMPLE, {"needed": 1, **given})[name]
    assert found == bound
    assert repr(found) == repr(bound)


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("pgd", {**PGD, "step": 5}, "unknown parameter 'step' of 'pgd'; did you mean 'steps'?"),
        (
            "pgd",
            {**PGD, "zzz": 5},
            "unknown parameter 'zzz' of 'pgd'; there is early_exit, eot, eps",
        ),
        ("pgd", {}, "'pgd' needs a parameter 'eps'; `robustlab show pgd` tells what it is"),
        ("pgd", {**PGD, "steps": "5"}, "parameter 'steps' of 'pgd' must be int, not '5'"),
        ("pgd", {**PGD, "steps": 2.5}, "parameter 'steps' of 'pgd' must be int, not 2.5"),
        ("pgd", {**PGD, "steps": True}, "parameter 'steps' of 'pgd' must be int, not True"),
        ("pgd", {**PGD, "random_start": 1}, "'random_start' of 'pgd' must be bool, not 1"),
        ("pgd", {**PGD, "step_size": "a"}, "must be float | None, not 'a'"),
        ("pgd", {**PGD, "steps": 0}, "'pgd': steps must be at least 1, not 0"),
        ("pgd", {**PGD, "restarts": 0}, "'pgd': restarts must be at least 1, not 0"),
        ("pgd", {**PGD, "loss": "cee"}, "'pgd': unknown loss 'cee'; did you mean 'ce'?"),
        ("pgd", {**PGD, "norm": "lin"}, "unknown norm 'lin'; did you mean 'linf'?"),
        ("pgd", {"eps": []}, "eps is an empty list"),
        ("pgd", {"eps": "a"}, "eps 'a' is not a number"),
        ("pgd", {"eps": [True]}, "eps 'True' is not a number"),
        ("pgd", {"eps": 8}, "did you mean '8/255'?"),
        ("pgd", {"eps": ["0.1", "1/10"]}, "eps '0.1' and '1/10' are the same budget"),
        ("pgd", {**PGD, "step_size": float("nan")}, "must be finite, not nan"),
        ("bim", {**PGD, "restarts": 2}, "restarts repeat the same search"),
    ],
)
def test_refused(name, params, told):
    with pytest.raises(BadRequest) as error:
        bind(resolve(name), params)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "value",
    [[1.0, float("nan")], [float("inf")]],
)
def test_nan_inside_a_list_is_refused(value):
    with pytest.raises(BadRequest, match="finite number or a list of these"):
        bind(SAMPLE, {"needed": 1, "values": value})


def test_a_date_of_toml_is_refused():
    import datetime

    with pytest.raises(BadRequest, match="'anything' of 'sample' must be text, a flag"):
        bind(SAMPLE, {"needed": 1, "anything": datetime.date(2026, 1, 1)})


def test_every_type_is_checked():
    """Each slot refuses something; only one without an annotation takes anything."""
    slots = {"needed": "1", "share": "1", "maybe": "1", "word": 1, "flag": 0, "values": 1.0}
    for name, wrong in slots.items():
        with pytest.raises(BadRequest, match=f"parameter '{name}' of 'sample' must be"):
            bind(SAMPLE, {"needed": 1, name: wrong})


def test_type_check_kills(monkeypatch):
    """With the check broken the test above fails."""
    monkeypatch.setattr(binding, "_is", lambda value, annotation: True)
    with pytest.raises((pytest.fail.Exception, TypeError)):
        test_every_type_is_checked()


# Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pgdd", "unknown attack or probe 'pgdd'; did you mean 'pgd'?"),
        ("xxxxxx", "there is anatomy, apgd, apgdt, attribution, autoattack,"),
        ("foolbox:L2CarliniWagner", "did you mean 'L2CarliniWagnerAttack'?"),
        ("fulbox:L2", "unknown attack or probe 'fulbox:L2'"),
        ("./nowhere.py:x", "./nowhere.py is not a file; write ./mine.py:name, seen from"),
    ],
)
def test_unknown_names(name, told):
    with pytest.raises(BadRequest) as error:
        resolve(name)
    assert told in str(error.value)


def test_foolbox_by_name():
    found = resolve("foolbox:L2CarliniWagnerAttack")
    assert (found.name, found.kind) == ("foolbox:L2CarliniWagnerAttack", "attack")
    assert found.library.startswith("foolbox ")
    bound = bind(found, {"eps": ["0.5"], "steps": 7})
    assert (bound["steps"], bound["norm"], bound["eps"]) == (7, "l2", ["0.5"])
    with pytest.raises(BadRequest, match="did you mean 'steps'"):
        bind(found, {"eps": ["0.5"], "step": 7})
    with pytest.raises(BadRequest, match="norm 'linf' is not one of its norms: l2"):
        bind(found, {"eps": ["0.5"], "norm": "linf"})
    entry = described("foolbox:L2CarliniWagnerAttack")
    assert {"steps", "binary_search_steps", "eps", "norm"} <= {p.name for p in entry.parameters}


def test_own_file(own_probes):
    reference = f"{own_probes / 'contrast.py'}:contrast"
    found = resolve(reference)
    assert (found.name, found.kind, found.scope) == ("contrast", "probe", "sample")
    assert bind(found, {}) == {"factor": 0.5}
    assert bind(found, {"factor": 1}) == {"factor": 1.0}
    assert resolve(reference) is found
    attack = resolve(f"{own_probes / 'mine.py'}:brighter")
    assert attack.kind == "attack"
    assert bind(attack, {"eps": 0.1})["eps"] == ["0.1"]
    with pytest.raises(BadRequest, match="registers no probe 'contrst'; did you mean 'contrast'"):
        resolve(f"{own_probes / 'contrast.py'}:contrst")


def test_relative_to_where_one_stands(own_probes, monkeypatch):
    monkeypatch.chdir(own_probes)
    assert resolve("./contrast.py:contrast").name == "contrast"
    assert resolve("contrast.py:contrast").name == "contrast"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nonsense_package", "No module named 'nonsense_package'"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(7)", "SystemExit: 7"),
        ("import robustlab\n@robustlab.probe('pgd')\ndef pgd(b, d): ...", "'pgd' is already"),
        ("import robustlab\n@robustlab.probe('p', scope='all')\ndef p(b, d): ...", "scope 'all'"),
        ("x = 1", "registers no probe 'p'; there is none"),
    ],
)
def test_own_file_that_fails(tmp_path, source, told):
    path = tmp_path / "bad.py"
    path.write_text(source)
    with pytest.raises(BadRequest, match=r"bad\.py") as error:
        resolve(f"{path}:p")
    assert told in str(error.value)


def test_a_shipped_name_is_never_taken_over(tmp_path):
    """Also when the shipped module has not been imported yet: the figures would be another's."""
    path = tmp_path / "mine.py"
    path.write_text("import robustlab\n@robustlab.probe('bim')\ndef bim(b, d): ...")
    registry._REGISTERED.pop("bim", None)
    with pytest.raises(BadRequest, match=r"'bim' is already registered by .*bim\.py; rename"):
        resolve(f"{path}:bim")
    assert "bim" not in registry._REGISTERED


def test_two_files_with_one_name(tmp_path):
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text("import robustlab\n@robustlab.probe('p')\ndef p(b, d): ...")
    resolve(f"{tmp_path / 'one.py'}:p")
    with pytest.raises(BadRequest, match=r"'p' is already registered by .*one\.py; rename"):
        resolve(f"{tmp_path / 'two.py'}:p")


def test_running_a_definition_again_is_no_clash():
    def define(value):
        @probe("again")
        def again(backbone, data, *, a: int = value): ...

        return again

    first, second = define(1), define(2)
    assert first is not second
    assert bind(resolve("again"), {}) == {"a": 2}


def test_an_edited_file_is_loaded_again(tmp_path):
    """In one Python session, as a notebook: the source hash and what runs must be the same."""
    path = tmp_path / "edited.py"
    text = "import robustlab\n@robustlab.probe('p')\ndef p(b, d, *, a: int = {}): ..."
    path.write_text(text.format(1))
    before = resolve(f"{path}:p")
    source = before.source
    path.write_text(text.format(2222))
    after = resolve(f"{path}:p")
    assert bind(before, {}) == {"a": 1}
    assert bind(after, {}) == {"a": 2222}
    assert after.source != source
    assert resolve(f"{path}:p") is after


# Source ---------------------------------------------------------------------------------------


def test_source_is_told_of_what_has_no_file():
    """Typed into a shell or a notebook: functions and classes still have an identity."""
    text = "def f(b, d, *, a=1):\n    return a + {0}\nclass C:\n    def search(self): return {0}"

    def made(value):
        scope = {"__name__": "shell"}  # no module of that name, so no file
        exec(compile(text.format(value), "<shell>", "exec"), scope)
        return code_fingerprint(scope["f"]), code_fingerprint(scope["C"])

    assert made(1) == made(1)
    assert not set(made(1)) & set(made(2))


HELPED = "import robustlab, {0}\n@robustlab.probe('{1}')\ndef {1}(b, d): return {0}.value"


def test_what_lies_beside_and_is_imported_counts(tmp_path, monkeypatch):
    """And nothing else: not the environment below, nor another probe's file, nor a made-up path."""
    monkeypatch.chdir(tmp_path)  # where torch's modules of relative names would be looked for
    (tmp_path / "my_helper.py").write_text("value = 1")
    (tmp_path / "unneeded.py").write_text("value = 1")
    (tmp_path / "mine.py").write_text(HELPED.format("my_helper", "p"))
    (tmp_path / "other.py").write_text(HELPED.format("math", "q"))
    try:
        found = resolve("./mine.py:p")
        source = found.source
        resolve("./other.py:q")
        (tmp_path / "other.py").write_text("# edited")
        (tmp_path / "unneeded.py").write_text("value = 2")
        assert found.source == source
        (tmp_path / "my_helper.py").write_text("value = 22")
        assert found.source != source
    finally:
        sys.modules.pop("my_helper", None)


def test_an_environment_below_does_not_count(tmp_path, own_probes, monkeypatch):
    """A file in a home folder that holds Python itself: its source is that of the file alone."""
    from robustlab import shelf

    found = resolve(f"{own_probes / 'contrast.py'}:contrast")
    assert registry._helpers(found.obj) == []
    above = Path(os.path.commonpath([shelf.HOME, os.__file__]))
    monkeypatch.setattr(registry, "_place", lambda obj: (str(above / "mine.py"), "p"))
    here = Path(__file__).resolve().parent
    stray = [p for p in registry._helpers(found.obj) if not p.is_relative_to(here)]
    assert stray == []


SOURCES = """
import sys
from robustlab.registry import resolve
print(resolve(sys.argv[1] + ":p").source)
"""


def test_source_is_the_same_in_every_process(tmp_path):
    """Also for a file called like one of the lab's own: sets have no order across processes."""
    path = tmp_path / "search.py"
    path.write_text("import robustlab\n@robustlab.probe('p')\ndef p(b, d): ...")
    found = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SOURCES, str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("equivariance", "invariance"),
        ("pgd", "adversarial"),
        ("pgd", "pooling"),
        ("shift", "backbones/lectures"),
        ("feature_maps", "invariance"),
        ("reach", "fooling"),
        ("reach", "filters"),
    ],
)
def test_a_neighbour_in_the_probes_room_is_part_of_its_source(name, room, tmp_path, monkeypatch):
    """And a file of a room that the probe has nothing to do with is not."""
    home = tmp_path / "robustlab"
    rooms = ("adversarial", "backbones", "filters", "fooling", "invariance", "pooling", "training")
    for kept in rooms:
        shutil.copytree(shelf.HOME / kept, home / kept)
    for file in ("hooks.py", "randomness.py"):
        shutil.copy(shelf.HOME / file, home)
    found = resolve(name)
    monkeypatch.setattr(shelf, "HOME", home)
    before = found.source
    (home / "training" / "new.py").write_text("A = 1\n")
    assert found.source == before
    (home / room / "new.py").write_text("A = 1\n")
    assert found.source != before
