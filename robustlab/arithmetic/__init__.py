"""What is a network? Sizes, parameters, multiply-adds, receptive fields, and what is measured."""

from __future__ import annotations

from robustlab.arithmetic.door import CONVENTION, Anatomy, anatomy
from robustlab.arithmetic.table import COLUMNS

__all__ = ["COLUMNS", "CONVENTION", "Anatomy", "anatomy"]
