"""One piece of evidence that breaks is told; the rest, the figures and the page are there."""

from __future__ import annotations

import json

import pytest

import robustlab
from robustlab.errors import BadRequest
from robustlab.fooling import evidence, tale
from robustlab.fooling.keeping import FILES

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

ASKED = {"target": 8, "eps": 0.2, "attack": "pgd?steps=10", "others": ()}
DIGIT = "digits:test#3"  # a six


def broken(error):
    def planted(*_, **__):
        raise error

    return planted


@pytest.fixture
def planted(monkeypatch):
    """The long pieces fail, each in another way."""
    monkeypatch.setattr(evidence, "depth_trace", broken(RuntimeError("a <b>hook</b>\nbroke.")))
    monkeypatch.setattr(evidence, "attribution", broken(IndexError()))
    monkeypatch.setattr(evidence, "single_steps", broken(BadRequest("no gradient here")))
    monkeypatch.setattr(tale, "smallest", broken(MemoryError("too large")))


NOTES = (
    "The smallest eps failed: MemoryError: too large.",
    "No single step against many: no gradient here.",
    "The depth trace failed: RuntimeError: a <b>hook</b> broke.",
    "The attribution failed: IndexError.",
)


@pytest.mark.slow
def test_what_breaks_is_told_and_the_rest_is_kept(planted, tmp_path, lenet):
    found = robustlab.fool(DIGIT, backbone=lenet, out=tmp_path / "a", **ASKED)
    assert found.succeeded
    assert found.notes == NOTES
    assert (len(found.controls), len(found.ways), len(found.survival)) == (2, 2, 6)
    assert (found.steps, dict(found.trace), dict(found.maps), found.smallest) == ((), {}, {}, None)
    there = {one.name for one in (tmp_path / "a").iterdir()}
    assert there == {*FILES, ".robustlab-fool"} - {"smallest.png"}
    assert json.loads((tmp_path / "a" / "fooled.json").read_text())["notes"] == list(NOTES)
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "The depth trace failed: RuntimeError: a &lt;b&gt;hook&lt;/b&gt; broke." in page


def test_catching_bad_requests_alone_loses_the_figures(planted, monkeypatch, tmp_path, lenet):
    """Mutant: what `tried` was before; pictures lie there, and nothing tells of them."""

    def narrow(name, make):
        try:
            return make(), ()
        except BadRequest as error:
            return None, (str(error),)

    monkeypatch.setattr(evidence, "tried", narrow)
    with pytest.raises(RuntimeError, match="broke"):
        robustlab.fool(DIGIT, backbone=lenet, out=tmp_path / "a", **ASKED)
    assert not (tmp_path / "a" / "fooled.json").exists()


def test_a_check_that_breaks_leaves_no_pictures(monkeypatch, tmp_path, lenet):
    """There is nothing to tell then: no picture may look as if it had been checked."""
    monkeypatch.setattr(tale, "check_file", broken(ZeroDivisionError("planted")))
    with pytest.raises(ZeroDivisionError, match="planted"):
        robustlab.fool(DIGIT, backbone=lenet, out=tmp_path / "a", evidence=False, **ASKED)
    assert {one.name for one in (tmp_path / "a").iterdir()} <= {".robustlab-fool"}
