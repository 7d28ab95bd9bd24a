"""What the lab says when something is wrong."""

import pytest

from robustlab import errors
from robustlab.errors import BadRequest, CellFailed, NoVerdict, RobustlabError, choices, nearest

CLASSES = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]


def test_every_error_has_an_exit_code_that_scripts_can_tell_apart():
    assert {one.__name__: one.exit_code for one in CLASSES} == {
        "BadRequest": 2,
        "CellFailed": 3,
        "NoVerdict": 3,
        "RobustlabError": 2,
    }
    assert all(issubclass(one, RobustlabError) for one in CLASSES)
    assert issubclass(BadRequest, ValueError)  # in Python, a bad argument is one


@pytest.mark.parametrize("kind", CLASSES)
def test_the_place_goes_in_front(kind):
    inner = kind("unknown parameter 'step'")
    outer = inner.inside("probe 2").inside("suite quick.toml")
    assert str(outer) == "suite quick.toml: probe 2: unknown parameter 'step'"
    assert type(outer) is kind
    assert outer.exit_code == kind.exit_code


WORDS = ["steps", "step_size", "loss", "restarts"]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("step", "; did you mean 'steps'?"),
        ("los", "; did you mean 'loss'?"),
        ("zzz", ""),
        ("", ""),
        (3, ""),
    ],
)
def test_nearest(word, told):
    assert nearest(word, WORDS) == told


def test_choices_are_never_a_dead_end():
    assert choices("los", WORDS) == "; did you mean 'loss'?"
    assert choices("zzz", WORDS) == "; there is loss, restarts, step_size, steps"
    assert choices("zzz", []) == "; there is none"
    assert choices("1", [1, 10]) == "; did you mean '1'?"
    assert {CellFailed, NoVerdict} <= set(CLASSES)
