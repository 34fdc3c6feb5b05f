"""HTML reports."""

from crystalscope.report.analysis import write_report

__all__ = ["write_report"]
