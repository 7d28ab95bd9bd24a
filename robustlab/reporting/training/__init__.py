"""The page of a training: curves, first-layer filters, gradients by depth, and what they say."""

from robustlab.reporting.training.page import write_training_page

__all__ = ["write_training_page"]
