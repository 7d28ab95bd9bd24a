"""WordNet ids of ImageNet's 1,000 classes, ``n01440764`` and so on. Needs no torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["synsets"]


@cache
def synsets() -> tuple[str, ...]:
    """The 1,000 ids in the order of the class index."""
    file = Path(__file__).with_name("imagenet_synsets.txt")
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))
