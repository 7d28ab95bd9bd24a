"""Retelling a run as one page. Nothing here imports torch, and nothing heavy on import."""

from __future__ import annotations

from pathlib import Path

from robustlab import atomic
from robustlab.results import Results

__all__ = ["write_report"]


def write_report(results: Results, path: Path) -> Path:
    """Write the page of a run, whole or not at all, and return its path.

    Works on runs that are incomplete or hold failed cells; the page says what is missing.
    """
    from robustlab.reporting.page import build_page

    atomic.write(path, build_page(results).encode("utf-8", "replace"))
    return path
