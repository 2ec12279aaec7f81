"""Record a run: a line of results.jsonl and a capture for each case, and the facts that all lines share."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from conformance.case.case import Case
from conformance.judge import Series, Timing
from conformance.record import (
    CaseRecord,
    DeviationFacts,
    HeardFacts,
    IntervalFacts,
    PcapngWriter,
    RecordError,
    ResultsWriter,
    RunFacts,
    SeriesFacts,
    Source,
    TargetFacts,
    TesterEnd,
    TimingFacts,
)
from conformance.run.outcome import Outcome
from conformance.standard.cells import cells
from conformance.standard.profile_rows import Deviation
from conformance.target import Target
from conformance.tester.clock import SECOND
from conformance.tester.jitter import Jitter
from conformance.tester.trace import Frame, Trace, Traffic


class Recorder:
    """Writes the record of one run into its folder."""

    def __init__(self, output: Path, target: Target, jitter: Jitter, command: str) -> None:
        self._output, self._target, self._jitter = output, target, jitter
        self.problems: list[str] = []
        """Faults of the record itself, a line each."""
        self._writer: ResultsWriter | None = None
        self._sent = Traffic()
        started = time.time_ns()
        self.facts = RunFacts(
            id=datetime.fromtimestamp(started / SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            started_ns=started,
            harness=metadata.version("tcp-conformance"),
            python=platform.python_version(),
            command=command,
            jitter={},
            machine=f"{platform.system()} {platform.release()}, {platform.machine()}",
            cells=len(cells()),
            sent=self._sent.facts(),
        )

    def note_seed(self, seed: int) -> None:
        """Keep the seed of the tester's random numbers for the records to come."""
        self.facts = dataclasses.replace(self.facts, seed=seed)

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
        self.facts = dataclasses.replace(self.facts, sent=self._sent.facts())

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

    def _as_record(self, outcome: Outcome, case: Case | None) -> CaseRecord:
        """Return the case as results.jsonl keeps it."""
        info = outcome.info
        trace = case.trace if case is not None else Trace()
        sent = Traffic()
        sent.add(trace.frames)
        return CaseRecord(
            schema=2,
            id=info.id,
            title=info.title,
            description=info.description,
            verdict=outcome.verdict.value,
            level=info.level,
            document=info.document,
            section=info.section,
            family=info.family,
            requirements=info.requirements,
            cells=info.cells,
            claims=info.claims,
            sentences=info.sentences(),
            needs=info.needs,
            target=_target(case.target if case is not None else self._target, info.family),
            run=dataclasses.replace(self.facts, jitter=self._jitter.summary(), heard=self._heard()),
            started_ns=outcome.started_ns,
            duration_s=round(outcome.duration_s, 6),
            timings=tuple(map(_timing, trace.timings)),
            states=tuple(trace.states),
            choices=tuple(trace.choices),
            deviation=_deviation(outcome.deviation),
            steps=tuple(trace.numbered()[1]),
            tester=_tester(case),
            capture=outcome.capture,
            message=outcome.message,
            failure=outcome.failure,
            rows=info.rows(),
            source=Source(info.file, info.line) if info.file else None,
            sent=sent.facts(),
            series=tuple(map(_series, trace.series)),
            ran_again=outcome.ran_again,
            declared=outcome.declared,
        )

    def _heard(self) -> HeardFacts | None:
        if self._target.virtual:
            return None
        run_s = (time.time_ns() - self.facts.started_ns) / SECOND
        return HeardFacts(self._jitter.lost, round(self._jitter.foreign / max(run_s, 1.0)))

    def _capture(self, path: Path, outcome: Outcome, case: Case) -> None:
        frames, _ = case.trace.numbered()
        with path.open("wb") as file:
            writer = PcapngWriter(
                file,
                application=f"tcp-conformance {self.facts.harness}",
                interface="tester0",
                comment=f"{outcome.info.id}: {outcome.verdict.value}. {outcome.info.title}",
            )
            for frame in frames:
                writer.write(frame.data, frame.at_ns, inbound=frame.inbound, comment=frame.remark)


def _target(target: Target, family: int) -> TargetFacts:
    return TargetFacts(target.name, target.version, target.profile, target.address(family), dict(target.settings))


def _tester(case: Case | None) -> TesterEnd:
    """Return our end of the case's first connection; zeros where there is none."""
    conn = case.connections[0] if case is not None and case.connections else None
    return TesterEnd(
        address=case.address if case is not None else "",
        port=conn.port if conn else 0,
        iss=int(conn.iss) if conn else 0,
        target_port=conn.remote_port if conn and conn.has_remote_port else 0,
        irs=int(conn.irs) if conn and conn.syn_was_seen else None,
    )


def _deviation(known: Deviation | None) -> DeviationFacts | None:
    return None if known is None else DeviationFacts(known.reason, known.source, known.sentence, known.date or "")


def _timing(timing: Timing) -> TimingFacts:
    return TimingFacts(
        name=timing.name,
        measured_s=timing.measured_s,
        low_s=timing.bound.low_s,
        high_s=timing.bound.high_s,
        source=timing.bound.source,
        how=timing.how,
        ok=None if timing.unclear else timing.ok,
        shortened=timing.shortened,
        jitter_s=timing.jitter_s,
    )


def _series(series: Series) -> SeriesFacts:
    steps, faults = series.steps(), series.faults()
    intervals = (
        IntervalFacts(
            measured_s=step.measured_s,
            low_s=step.allowed.low_s,
            high_s=step.allowed.high_s,
            ratio=step.ratio,
            source=step.allowed.source,
            ok=None if step.unclear else step.ok,
        )
        for step in steps
    )
    return SeriesFacts(
        name=series.name,
        intervals=tuple(intervals),
        growth=None if series.growth is None else series.growth.factor,
        cap_s=None if series.cap is None else series.cap.high_s,
        count=series.repetitions,
        count_low=series.count[0] if series.count else None,
        count_high=series.count[1] if series.count else None,
        end=series.end,
        source="; ".join(dict.fromkeys(part.bound.source for step in steps for part in step.timings)),
        how=series.how,
        ok=None if series.unclear else not faults,
        faults=tuple(faults),
        shortened=series.shortened,
        jitter_s=max(series.jitters_s, default=0.0),
    )
