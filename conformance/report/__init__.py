"""What is made from records alone: a run's overview and one page per case with its ladder, baselines, comparisons."""

from conformance.report.pages import make_comparison, make_report

__all__ = ["make_comparison", "make_report"]
