"""The bench works: every number is there. How fast anything is, is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.wire import ACK, FIN, SYN, Flags, Segment, Seq, dissect
from conformance.wire.frames import PreparedFrame, Template
from conformance.wire.segment import glance

ROOT = Path(__file__).parents[2]
NUMBERS = {
    *("memory.case", "rate.segments", "interval.sent", "interval.answer"),
    *(f"reaction.{where}{how}" for where in ("", "asleep.") for how in ("prepared", "prepared.64", "expect")),
    "reaction.loaded.prepared",
    *("build.prepared", "build.ours", "build.scapy", "dissect.ours", "dissect.scapy"),
}
ADDRESSES = {4: ("10.77.4.1", "10.77.0.1"), 6: ("fd77::4:1", "fd77::1")}


@pytest.mark.long
@pytest.mark.usefixtures("lab")
def test_quick_bench_writes_every_number(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    numbers = {number["key"]: number for number in json.loads(path.read_text())["numbers"]}
    assert set(numbers) == NUMBERS
    for number in numbers.values():
        assert number["samples"] > 0, number
        assert number["how"], number
        assert number["median"] >= 0, number


@pytest.mark.parametrize("family", ADDRESSES)
@pytest.mark.parametrize("payload", [b"", b"odd", b"even"])
@pytest.mark.parametrize(("seq", "ack"), [(0, 0), (1, 0xFFFFFFFF), (0xFFFF0000, 0x0000FFFF), (0x12345678, 0x9ABCDEF0)])
def test_prepared_frame_is_the_frame_of_those_numbers(family: int, payload: bytes, seq: int, ack: int) -> None:
    template = Template("02:00:00:00:00:01", "02:00:00:00:00:02", *ADDRESSES[family])

    def frame(seq: int, ack: int) -> bytes:
        return template.frame(Segment(*ADDRESSES[family], 1, 2, Seq(seq), Seq(ack), FIN | ACK, payload=payload))

    prepared = PreparedFrame(frame(0, 0))
    assert [prepared.patched(Seq(seq), ack), prepared.patched(1, 2)] == [frame(seq, ack), frame(1, 2)]


@pytest.mark.parametrize("family", ADDRESSES)
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK, SYN | FIN], ids=str)
@pytest.mark.parametrize("payload", [b"", b"three"])
def test_glance_sees_what_dissect_sees(family: int, flags: Flags, payload: bytes) -> None:
    template = Template("02:00:00:00:00:01", "02:00:00:00:00:02", *ADDRESSES[family])
    segment = Segment(*ADDRESSES[family], 1, 2, Seq(0xFFFFFFFE), Seq(1), flags, options=b"\1\1\1", payload=payload)
    frame = template.frame(segment)
    for length in range(len(frame) + 1):
        seen = dissect(frame[:length])
        assert glance(frame[:length]) == (None if seen is None else (int(seen.flags), seen.end))
