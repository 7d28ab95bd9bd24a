"""Synthetic runs and their pages, each built once a session."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from robustlab.reporting import write_report
from robustlab.results import Results


def _beside(name: str) -> ModuleType:
    """A module of this folder; tests are imported by path, so it is not on sys.path."""
    full = f"reporting_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@dataclass(frozen=True)
class Built:
    """A run and its page."""

    results: Results
    path: Path
    page: str = field(repr=False)
    tree: Any = field(repr=False)


@pytest.fixture(scope="session")
def runs() -> ModuleType:
    """The module that makes runs: `Recipe`, `Probe`, `make_run`."""
    return _beside("make_run")


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Any]:
    """Page text to tree."""
    return _beside("html_tree").parse


@pytest.fixture(scope="session")
def lay(runs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Results]:
    """A recipe to its run, without a page, once a session."""
    made: dict[str, Results] = {}

    def lay(recipe: Any = None) -> Results:
        key = repr(recipe)
        if key not in made:
            made[key] = Results(runs.make_run(tmp_path_factory.mktemp("run") / "run", recipe))
        return made[key]

    return lay


@pytest.fixture(scope="session")
def build(lay: Callable[..., Results], parse: Callable[[str], Any]) -> Callable[..., Built]:
    """A recipe to its run and page, once a session."""
    made: dict[str, Built] = {}

    def build(recipe: Any = None) -> Built:
        key = repr(recipe)
        if key not in made:
            results = lay(recipe)
            path = write_report(results, results.folder / "report.html")
            page = path.read_text(encoding="utf-8")
            made[key] = Built(results, path, page, parse(page))
        return made[key]

    return build


@pytest.fixture(scope="session")
def whole(build: Callable[..., Built]) -> Built:
    """The complete run: three backbones, 200 digits."""
    return build()


@pytest.fixture(scope="session")
def attacked(build: Callable[..., Built], runs: ModuleType) -> Built:
    """A run of attacks that differ in what they break, with stages, losses and radii."""
    return build(runs.Recipe(n=120, probes=runs.SEARCHES))
