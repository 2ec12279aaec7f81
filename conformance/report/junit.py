"""JUnit XML from records, as pytest writes it of a run: what a merged report has of it.

Of the verdicts, `violates` is a failure, `error` an error; `deviates`, `not applicable` and `inconclusive` are skipped.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from xml.etree import ElementTree as ET

from conformance.record.case import CaseRecord
from conformance.report.text import clean

_KINDS = {
    "violates": ("failure", ""),
    "error": ("error", ""),
    "deviates": ("skipped", "pytest.xfail"),
    "not applicable": ("skipped", "pytest.skip"),
    "inconclusive": ("skipped", "pytest.skip"),
}


@dataclass
class _Suite:
    """The cases of one target, as XML; `counts` are of failures, errors and skipped ones."""

    cases: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"error": 0, "failure": 0, "skipped": 0})
    time_s: float = 0.0
    started_ns: int = 0


class JUnit:
    """A test suite for each target, gathered record by record."""

    def __init__(self) -> None:
        self._suites: dict[str, _Suite] = {}

    def add(self, record: CaseRecord) -> None:
        """Take a case's record; of several of the same case, only the one that counts."""
        suite = self._suites.setdefault(record.target.name, _Suite())
        case = _case(record)
        suite.cases.append(ET.tostring(case, "unicode"))
        suite.time_s += record.duration_s
        suite.started_ns = min(suite.started_ns or record.run.started_ns, record.run.started_ns)
        for kind in suite.counts:
            suite.counts[kind] += case.find(kind) is not None

    def written(self) -> str:
        """Return the content of the file."""
        suites = "".join(_written(name, suite) for name, suite in self._suites.items())
        return f'<?xml version="1.0" encoding="utf-8"?><testsuites name="tcp-conformance">{suites}</testsuites>\n'


def _written(name: str, suite: _Suite) -> str:
    began = datetime.fromtimestamp(suite.started_ns // 10**9, UTC).isoformat()
    facts = {
        "name": clean(name) or "tcp-conformance",
        "errors": str(suite.counts["error"]),
        "failures": str(suite.counts["failure"]),
        "skipped": str(suite.counts["skipped"]),
        "tests": str(len(suite.cases)),
        "time": f"{suite.time_s:.3f}",
        "timestamp": began,
    }
    head = ET.tostring(ET.Element("testsuite", facts), "unicode", short_empty_elements=False).removesuffix(
        "</testsuite>"
    )
    return f"{head}{''.join(suite.cases)}</testsuite>"


def _case(record: CaseRecord) -> ET.Element:
    module, _, name = record.id.partition("::")
    module = record.source.file if record.source and record.source.file else module
    where = module.removesuffix(".py").replace("/", ".")
    facts = {"classname": clean(where), "name": clean(name), "time": f"{record.duration_s:.3f}"}
    case = ET.Element("testcase", facts)
    states = [one.state for one in record.states if one.side == "target"]
    properties = {
        "section": f"{record.document} {record.section}",
        "requirements": ",".join(record.requirements),
        "level": record.level,
        "verdict": record.verdict,
        "states": " ".join(state for state, _ in groupby(states)),
        "target": record.target.name,
    }
    ET.SubElement(case, "properties").extend(
        ET.Element("property", {"name": name, "value": clean(value)}) for name, value in properties.items()
    )
    if record.verdict in _KINDS:
        kind, how = _KINDS[record.verdict]
        known = record.deviation.reason if record.deviation else record.message
        outcome = ET.SubElement(case, kind, {**({"type": how} if how else {}), "message": clean(known)})
        outcome.text = clean(record.failure) or None
    return case
