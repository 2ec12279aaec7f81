"""Turn a record into a ladder's rows: frames, calls, silences, expectations that were not met, and states."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from conformance.record.case import CaseRecord, Step
from conformance.report.frames import Seen
from conformance.report.text import duration, wrap

LABEL = 60  # characters between the lifelines
SIDE = 18  # characters beside them


@dataclass(slots=True)
class LadderEvent:
    """One row of the ladder, or one state beside it: its lines, and where they stand."""

    at_ns: int
    kind: str
    text: list[str]  # label lines
    notes: list[str] = field(default_factory=list)  # quieter lines below the label, above the arrow
    inbound: bool = False
    failed: bool = False
    number: int | None = None  # the frame's, when it is one
    side: str = "target"


def ladder_events(record: CaseRecord, frames: Sequence[Seen]) -> Iterator[LadderEvent]:
    by_frame: dict[int, list[Step]] = {}
    numbers = {seen.number for seen in frames}
    loose = []
    for step in record.steps:
        if step.frame in numbers and (step.kind in ("send", "receive") or step.ok is False):
            by_frame.setdefault(step.frame, []).append(step)
        else:
            loose.append(step)
    for seen in frames:
        steps = by_frame.get(seen.number, [])
        if not seen.packet.about_connection and not steps:
            continue
        broken = [step for step in steps if step.ok is False]
        notes = [seen.options, *seen.packet.problems, *(step.text for step in steps if step.kind == "send")]
        if not steps and seen.comment:
            notes.append(seen.comment)
        frame = _frame(seen.at_ns, seen.label, notes, inbound=seen.inbound, failed=bool(broken))
        frame.number = seen.number
        yield frame
        for step in broken:
            yield _expected(step, seen.at_ns)
    for step in loose:
        yield from _without_frame(step)
    yield from _states(record)


def _frame(at_ns: int, label: str, notes: Iterable[str], *, inbound: bool, failed: bool) -> LadderEvent:
    quiet = [line for note in notes if note for line in wrap(note, LABEL)]
    return LadderEvent(at_ns, "frame", wrap(f"✗ {label}" if failed else label, LABEL), quiet, inbound, failed)


def _expected(step: Step, at_ns: int) -> LadderEvent:
    unsaid = "silence" if step.kind == "silence" else "something else"
    text = f"✗ expected {step.expected or unsaid}"
    if step.kind == "missing":
        text += f": {step.text}" if step.text else ""
    differences = [f"{d.field}: expected {_value(d.expected)}, came {_value(d.actual)}" for d in step.differences]
    lines = [line for text in (text, *differences) for line in wrap(text, LABEL)]
    return LadderEvent(at_ns, "expected", lines, inbound=True, failed=True)


def _value(value: object) -> str:
    return "nothing" if value is None else str(value)


def _without_frame(step: Step) -> Iterator[LadderEvent]:
    kind, at_ns, text = step.kind, step.at_ns, step.text
    failed = step.ok is False
    sign = "✗ " if failed else ""
    if kind in ("send", "receive"):
        line = step.line
        yield _frame(at_ns, line or text or kind, (text,) if line else (), inbound=kind == "receive", failed=failed)
        if failed:
            yield _expected(step, at_ns)
    elif kind == "missing":
        yield _expected(step, at_ns)
    elif kind == "silence":
        # Most texts give the duration already.
        waited_ns = (step.until_ns or at_ns) - at_ns
        has_duration = any(map(str.isdigit, text)) or waited_ns <= 0
        waited = "" if has_duration else f" for {duration(waited_ns)}"
        yield LadderEvent(at_ns, "silence", wrap(f"{sign}{text or 'silence'}{waited}", LABEL), failed=failed)
    elif kind == "app":
        yield LadderEvent(at_ns, "app", wrap(f"{sign}{text}", LABEL - 4), failed=failed)
    elif kind == "state":
        # A state that is as it should be stands in its column; only a wrong one is an event between the lines.
        if failed:
            wanted = f": expected {step.expected}" if step.expected else ""
            yield LadderEvent(at_ns, "note", wrap(f"{sign}{text}{wanted}", LABEL), failed=True)
    else:
        yield LadderEvent(at_ns, "note", wrap(text, LABEL), failed=failed)


def _states(record: CaseRecord) -> Iterator[LadderEvent]:
    """Yield each change of a side's state; consecutive entries with the same state become one event with all sources."""
    seen = [(entry.at_ns, entry.side, entry.state, entry.by) for entry in record.states]
    seen += [
        (step.at_ns, step.side or "target", step.state, "")
        for step in record.steps
        if step.kind == "state" and step.state and step.ok is not False
    ]
    current: dict[str, tuple[LadderEvent, list[str]]] = {}
    for at_ns, side, state, by in sorted(seen, key=lambda entry: entry[0]):
        if side in current and current[side][0].text == wrap(state, SIDE):
            event, sources = current[side]
        else:
            event, sources = LadderEvent(at_ns, "state", wrap(state, SIDE), side=side), []
            current[side] = event, sources
            yield event
        if by and by not in sources:
            sources.append(by)
            event.notes = wrap(f"by {', '.join(sources)}", SIDE)
