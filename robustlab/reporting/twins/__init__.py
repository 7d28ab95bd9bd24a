"""The page of twins: what is said of a kind of network, with trainings as the unit."""

from robustlab.reporting.twins.page import write_twins_page

__all__ = ["write_twins_page"]
