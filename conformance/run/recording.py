"""What a run leaves behind: a line of results.jsonl and a capture for each case, and the facts that all lines share."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from conformance.case.case import Case
from conformance.judge import Series, Timing
from conformance.record import PcapngWriter, RecordError, ResultsWriter
from conformance.run.outcome import Outcome
from conformance.standard.cells import cells
from conformance.target import Target
from conformance.tester.clock import SECOND
from conformance.tester.jitter import Jitter
from conformance.tester.trace import Frame, Traffic


class Recorder:
    """Writes the record of one run into its folder."""

    def __init__(self, output: Path, target: Target, jitter: Jitter, command: str) -> None:
        self._output, self._target, self._jitter = output, target, jitter
        self.problems: list[str] = []
        """What went wrong with the record itself, one line each."""
        self._writer: ResultsWriter | None = None
        self._sent = Traffic()
        started = time.time_ns()
        self.facts = {
            "id": datetime.fromtimestamp(started / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "started_ns": started,
            "harness": metadata.version("tcp-conformance"),
            "python": platform.python_version(),
            "command": command,
            "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
            "cells": len(cells()),
            "sent": self._sent.facts(),
        }

    def open(self) -> None:
        """Make the folder ready. Raises RecordError."""
        (self._output / "captures").mkdir(parents=True, exist_ok=True)
        self._writer = ResultsWriter(self._output / "results.jsonl")

    def close(self) -> None:
        """Close what `open` opened."""
        if self._writer is not None:
            self._writer.close()

    def count(self, frames: Iterable[Frame]) -> None:
        """Count in what an attempt at a case has sent."""
        self._sent.add(frames, apart=self._target.virtual)
        self.facts["sent"] = self._sent.facts()

    def record(self, outcome: Outcome, case: Case | None) -> None:
        """Write the capture, then the line; what can't be written is said once, and the run goes on."""
        assert self._writer is not None
        try:
            if outcome.capture is not None and case is not None:
                self._capture(self._output / outcome.capture, outcome, case)
            self._writer.append(self._as_record(outcome, case))
        except (RecordError, OSError) as error:
            line = str(error) if isinstance(error, RecordError) else f"can't write {error.filename}: {error.strerror}"
            if line not in self.problems:
                self.problems.append(line)

    def _as_record(self, outcome: Outcome, case: Case | None) -> dict[str, Any]:
        """The case as results.jsonl keeps it."""
        info, deviation = outcome.info, outcome.deviation
        target = case.target if case is not None else self._target
        trace = case.trace if case is not None else None
        steps = trace.numbered()[1] if trace else []
        sent = Traffic()
        sent.add(trace.frames if trace else ())
        conn = case.connections[0] if case is not None and case.connections else None
        return {
            "schema": 2,
            "id": info.id,
            "title": info.title,
            "description": info.description,
            "verdict": outcome.verdict.value,
            "level": info.level,
            "document": info.document,
            "section": info.section,
            "family": info.family,
            "requirements": list(info.requirements),
            "cells": list(info.cells),
            "rows": info.rows(),
            "claims": list(info.claims),
            **({"source": {"file": info.file, "line": info.line}} if info.file else {}),
            "sentences": info.sentences(),
            "needs": list(info.needs),
            "target": {
                "name": target.name,
                "version": target.version,
                "profile": target.profile,
                "address": target.address(info.family),
                "settings": dict(target.settings),
            },
            "run": {**self.facts, "jitter": self._jitter.summary()},
            "sent": sent.facts(),
            "started_ns": outcome.started_ns,
            "duration_s": round(outcome.duration_s, 6),
            "timings": [_timing(one) for one in (trace.timings if trace else ())],
            "series": [_series(one) for one in (trace.series if trace else ())],
            "ran_again": outcome.ran_again,
            "states": trace.states if trace else [],
            "choices": trace.choices if trace else [],
            "deviation": None
            if deviation is None
            else {
                "reason": deviation.reason,
                "source": deviation.source,
                "sentence": deviation.sentence,
                **({"date": deviation.date} if deviation.date else {}),
            },
            "steps": steps,
            "tester": {
                "address": case.address if case is not None else "",
                "port": conn.port if conn else 0,
                "iss": int(conn.iss) if conn else 0,
                "target_port": conn.remote_port if conn and conn.has_remote_port else 0,
                "irs": int(conn.irs) if conn and conn.syn_was_seen else None,
            },
            "capture": outcome.capture,
            "message": outcome.message,
            "failure": outcome.failure,
        }

    def _capture(self, path: Path, outcome: Outcome, case: Case) -> None:
        frames, _ = case.trace.numbered()
        with path.open("wb") as file:
            writer = PcapngWriter(
                file,
                application=f"tcp-conformance {self.facts['harness']}",
                interface="tester0",
                comment=f"{outcome.info.id}: {outcome.verdict.value}. {outcome.info.title}",
            )
            for frame in frames:
                writer.write(frame.data, frame.at_ns, inbound=frame.inbound, comment=frame.comment)


def _timing(one: Timing) -> dict[str, Any]:
    """A measured interval as the record keeps it."""
    return {
        "name": one.name,
        "measured_s": one.measured_s,
        "low_s": one.bound.low_s,
        "high_s": one.bound.high_s,
        "source": one.bound.source,
        "how": one.how,
        "ok": None if one.unclear else one.ok,
        "shortened": one.shortened,
        "jitter_s": one.jitter_s,
    }


def _series(one: Series) -> dict[str, Any]:
    """A series as the record keeps it."""
    steps, faults = one.steps(), one.faults()
    return {
        "name": one.name,
        "intervals": [
            {
                "measured_s": step.measured_s,
                "low_s": step.allowed.low_s,
                "high_s": step.allowed.high_s,
                "ratio": step.ratio,
                "source": step.allowed.source,
                "ok": None if step.unclear else step.ok,
            }
            for step in steps
        ],
        "growth": None if one.growth is None else one.growth.factor,
        "cap_s": None if one.cap is None else one.cap.high_s,
        "count": one.repetitions,
        "count_low": one.count[0] if one.count else None,
        "count_high": one.count[1] if one.count else None,
        "end": one.end,
        "source": "; ".join(dict.fromkeys(part.bound.source for step in steps for part in step.timings)),
        "how": one.how,
        "ok": None if one.unclear else not faults,
        "faults": list(faults),
        "shortened": one.shortened,
        "jitter_s": max(one.jitters_s, default=0.0),
    }
