"""One fooled picture retold as one page."""

from robustlab.reporting.fooling.page import fooled_page, write_fooled

__all__ = ["fooled_page", "write_fooled"]
