"""Make a run's overview, its pages, baselines and comparisons from its records alone."""

from conformance.report.merge import merge
from conformance.report.overview import Overview, gather
from conformance.report.pages import make_comparison, make_report, write_report
from conformance.report.single import make_single

__all__ = ["Overview", "gather", "make_comparison", "make_report", "make_single", "merge", "write_report"]
