"""The pages of a run, made from its record alone: an overview and one page per case with its ladder."""

from conformance.report.pages import make_report

__all__ = ["make_report"]
