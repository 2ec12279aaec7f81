"""The record of a run: `results.jsonl` (one JSON object per case) and one pcapng capture per case.

Knows the standard library alone, and dissects nothing.
"""

from conformance.record.errors import RecordError
from conformance.record.names import capture_name, case_name
from conformance.record.pcapng import Capture, CapturedFrame, PcapngWriter, read_pcapng
from conformance.record.results import CaseRecord, Results, ResultsWriter, read_results, scan_results

__all__ = [
    "Capture",
    "CapturedFrame",
    "CaseRecord",
    "PcapngWriter",
    "RecordError",
    "Results",
    "ResultsWriter",
    "capture_name",
    "case_name",
    "read_pcapng",
    "read_results",
    "scan_results",
]
