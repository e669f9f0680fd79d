"""Reports as one self-contained HTML file: no script, no other host, everything escaped."""

from aisle.evaluation.pages.page import report_page

__all__ = ["report_page"]
