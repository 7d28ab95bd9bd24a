"""The page of the suites `anatomy` and `filters` together, for three backbones."""

from __future__ import annotations

from pathlib import Path

import pytest

import robustlab
from robustlab.suite import Suite, load_suite

pytestmark = pytest.mark.slow

MOST = 5_000_000  # bytes


def test_the_page_of_both_suites_for_three_backbones(tmp_path: Path) -> None:
    """No picture grows with the number of images, so that 60 stand for all; measured: 1.2 MB."""
    suites = [load_suite("anatomy"), load_suite("filters")]
    probes = tuple(probe for suite in suites for probe in suite.probes)
    both = Suite(name="both", take=60, backbones=suites[1].backbones, probes=probes)
    run = robustlab.run(both, out=tmp_path / "run", device="cpu")
    assert len(both.backbones) == 3
    assert run.complete
    page = (tmp_path / "run" / "report.html").read_bytes()
    assert 300_000 < len(page) <= MOST  # with all its pictures, and no more
    assert b'id="anatomy"' in page
    assert b'id="filters"' in page
