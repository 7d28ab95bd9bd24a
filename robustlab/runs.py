"""A run as people hold it: its tables and its page."""

from __future__ import annotations

from pathlib import Path

from robustlab.reporting import write_report
from robustlab.results import Results

__all__ = ["Run", "open_run"]


class Run(Results):
    """A run directory: ``run.summary()``, ``run.samples()``, ``run.report()``."""

    def report(self, path: Path | str | None = None) -> Path:
        """Write the page and return its path (``report.html`` in the run directory by default)."""
        return write_report(self, Path(path) if path else self.folder / "report.html")


def open_run(folder: Path | str) -> Run:
    """Open a run directory to read its tables or to build its page again.

    Raises:
        BadRequest: the folder is not a run directory.
    """
    return Run(folder)
