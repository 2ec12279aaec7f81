"""Compare intervals by our stamps with those of an independent packet socket.

The two stamp a frame that leaves in different places: at the driver's transmit, and at the tap before it. The kernel may
give both sockets the same stamp of a frame that arrives; so an error of the response time comes from the segment that asked.
"""

from __future__ import annotations

from itertools import pairwise

from conformance.standard.states import State
from conformance.tester.trace import Frame
from conformance.wire import dissect
from tests.bench.lab import Lab, Observed
from tests.bench.numbers import Number, number

_SPACING_S = 0.005
_OBSERVER = "a second packet socket on the tester's interface, with SO_TIMESTAMPNS of its own"


async def measure(lab: Lab, exchanges: int) -> list[Number]:
    """Errors in us of the intervals of `exchanges` probes and their answers, one each 5 ms."""
    async with lab.cases(1) as [case]:
        conn = await case.drive_to(State.ESTABLISHED)
        already = len(case.trace.frames)
        lab.observed()
        for _ in range(exchanges):
            await conn.probe()
            await lab.clock.sleep(_SPACING_S)
        ours = [frame for frame in case.trace.frames[already:] if dissect(frame.data)]
        theirs = lab.observed()
    pairs = _pairs(ours, theirs)
    between = [_error(one, other) for one, other in pairwise(pair for pair in pairs if not pair[0].inbound)]
    answers = [_error(one, other) for one, other in pairwise(pairs) if not one[0].inbound and other[0].inbound]
    return [
        number(
            "interval.sent",
            "error: from send to send",
            "us",
            between,
            f"from one of our segments to the next ({_SPACING_S * 1000:g} ms): our transmit stamps against {_OBSERVER}",
            aim=50,
        ),
        number(
            "interval.answer",
            "error: from send to answer",
            "us",
            answers,
            f"from our segment to the target's answer: our transmit and receive stamps against {_OBSERVER}",
            aim=50,
        ),
    ]


def _pairs(ours: list[Frame], theirs: list[Observed]) -> list[tuple[Frame, Observed]]:
    """Each of our frames with the same octets as the observer saw them; equal frames pair up in their order."""
    seen: dict[tuple[bool, bytes], list[Observed]] = {}
    for item in theirs:
        seen.setdefault((not item.outgoing, item.data), []).append(item)
    results = [
        (frame, seen[frame.inbound, frame.data].pop(0)) for frame in ours if seen.get((frame.inbound, frame.data))
    ]
    return sorted(results, key=lambda pair: pair[0].at_ns)


def _error(first: tuple[Frame, Observed], second: tuple[Frame, Observed]) -> float:
    return abs((second[0].at_ns - first[0].at_ns) - (second[1].at_ns - first[1].at_ns)) / 1000
