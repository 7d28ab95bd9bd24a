"""A probe of one's own is listed like the built-in ones."""

import json

import pytest

import robustlab
from robustlab.cli import main

MINE = '''"""Mine."""
import robustlab
raise SystemExit("a file that is listed must not be run")


@robustlab.probe("contrast")
def contrast(backbone, data, *, factor: float = 0.5):
    """Accuracy at less contrast."""


@robustlab.probe("walk")
class Walk(robustlab.Attack):
    """A walk."""
'''


@pytest.mark.parametrize(("kind", "name"), [("probes", "contrast"), ("attacks", "walk")])
def test_a_file_is_listed_without_running_it(tmp_path, capsys, kind, name):
    file = tmp_path / "mine.py"
    file.write_text(MINE, encoding="utf-8")
    assert main(["list", kind, str(file), "--json"]) == 0
    listed = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert f"{file}:{name}" in listed
    assert main(["list", kind, "--json"]) == 0
    assert f"{file}:{name}" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "probes", "nowhere.py"], "there is no file 'nowhere.py'"),
        (["list", "suites", "mine.py"], "a file holds attacks and probes, not suites"),
    ],
)
def test_what_cannot_be_listed(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("forget")
def test_what_is_registered_here_is_listed():
    before = robustlab.list_probes()

    @robustlab.probe("my-own-probe")
    def own(backbone, data, *, factor: float = 0.5):
        """Mine."""

    assert robustlab.list_probes() == [*before, "my-own-probe"]
    assert "my-own-probe" not in robustlab.list_attacks()
