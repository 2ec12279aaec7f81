"""The record of a run: `results.jsonl` (one JSON object per case) and one pcapng capture per case.

Knows the standard library alone, and dissects nothing.
"""

from conformance.record.case import (
    CaseRecord,
    CellFacts,
    ChoiceTaken,
    DeviationFacts,
    FieldDifference,
    HeardFacts,
    IntervalFacts,
    RunFacts,
    Sentence,
    SeriesFacts,
    Source,
    StateSeen,
    Step,
    TargetFacts,
    TesterEnd,
    TimingFacts,
    TrafficFacts,
)
from conformance.record.errors import RecordError
from conformance.record.lines import decode, encode, record_of
from conformance.record.names import capture_name, case_name
from conformance.record.pcapng import Capture, CapturedFrame, PcapngWriter, read_pcapng
from conformance.record.renamed import current_id
from conformance.record.results import Results, ResultsWriter, read_results, scan_results

__all__ = [
    "Capture",
    "CapturedFrame",
    "CaseRecord",
    "CellFacts",
    "ChoiceTaken",
    "DeviationFacts",
    "FieldDifference",
    "HeardFacts",
    "IntervalFacts",
    "PcapngWriter",
    "RecordError",
    "Results",
    "ResultsWriter",
    "RunFacts",
    "Sentence",
    "SeriesFacts",
    "Source",
    "StateSeen",
    "Step",
    "TargetFacts",
    "TesterEnd",
    "TimingFacts",
    "TrafficFacts",
    "capture_name",
    "case_name",
    "current_id",
    "decode",
    "encode",
    "read_pcapng",
    "read_results",
    "record_of",
    "scan_results",
]
