"""Write failures and deviations as SARIF 2.1.0, which code-hosting sites show beside the sources.

A rule is a requirement, a result a case: `violates` is an error, `breaks should` is a warning, and `deviates`
a note that the target's profile suppresses with its reason. Errors of the harness are no results but notifications.
"""

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2s
from typing import Any
from urllib.parse import quote

from conformance.report.matrix import RequirementRow
from conformance.report.overview import Entry, Overview
from conformance.report.text import clean

VERSION = "2.1.0"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"violates": "error", "breaks should": "warning", "deviates": "note"}


def as_sarif(overview: Overview, rows: Sequence[RequirementRow]) -> str:
    """Return the run as a SARIF log with one run."""
    shown = [entry for entry in overview.order if entry.verdict in _LEVELS]
    rules = _rules(rows, shown)
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    errors = [entry for entry in overview.order if entry.verdict == "error"]
    changes = overview.changes
    new = {one.case for one in changes.violations} if changes is not None else None
    invocation: dict[str, Any] = {
        "executionSuccessful": not errors and not overview.problems,
        "toolExecutionNotifications": [
            {"level": "error", "message": {"text": clean(f"{one.id}: {one.message or 'no reason was recorded'}")}}
            for one in errors
        ],
    }
    run = {
        "tool": {
            "driver": {
                "name": "tcp-conformance",
                **({"semanticVersion": overview.run.harness} if overview.run else {}),
                "rules": rules,
            }
        },
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(entry, index, new) for entry in shown],
        "properties": {
            "targets": [f"{clean(one.name)} {clean(one.version)}" for one in overview.targets.values()],
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": VERSION, "runs": [run]}) + "\n"


def _rules(rows: Iterable[RequirementRow], shown: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return the requirements that a result rests on."""
    needed = {_rule(entry) for entry in shown}
    rules = []
    for row in rows:
        if row.id not in needed:
            continue
        rule: dict[str, Any] = {
            "id": row.id,
            "shortDescription": {"text": clean(f"{row.id}: {row.document} section {row.section}")},
            "fullDescription": {"text": clean(row.text) or row.id},
            "defaultConfiguration": {"level": "warning" if row.level == "SHOULD" else "error"},
            "properties": {"level": row.level, "section": clean(row.section)},
        }
        if row.url.startswith("https://"):
            rule["helpUri"] = row.url
        rules.append(rule)
    known = {rule["id"] for rule in rules}
    return rules + [{"id": name, "shortDescription": {"text": name}} for name in sorted(needed - known)]


def _rule(entry: Entry) -> str:
    return entry.requirements[0] if entry.requirements else "no-requirement"


def _result(entry: Entry, rules: dict[str, int], new: set[str] | None) -> dict[str, Any]:
    text = clean(f"{entry.title or entry.id} (IPv{entry.family}, {entry.target}): {entry.message or entry.verdict}")
    result: dict[str, Any] = {
        "ruleId": _rule(entry),
        "ruleIndex": rules[_rule(entry)],
        "level": _LEVELS[entry.verdict],
        "kind": "fail",
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(entry)},
                    "region": {"startLine": max(1, entry.line)},
                },
                "logicalLocations": [{"fullyQualifiedName": clean(entry.id), "kind": "function"}],
            }
        ],
        "partialFingerprints": {"case/v1": _fingerprint(entry)},
        "properties": {"verdict": entry.verdict, "level": entry.level, "requirements": list(entry.requirements)},
    }
    if entry.verdict == "deviates":
        reason = clean(entry.reason) or "known to the target's profile"
        result["suppressions"] = [{"kind": "external", "justification": reason}]
    if new is not None:
        result["baselineState"] = "new" if entry.id in new else "unchanged"
    return result


def _uri(entry: Entry) -> str:
    """Return the case's file as a path in its repository if that is known, else below the folder of cases."""
    return quote((entry.file or entry.id.partition("::")[0]).encode("utf-8", "replace"))


def _fingerprint(entry: Entry) -> str:
    return blake2s(f"{entry.target}:{entry.id}".encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
