"""Captures: what is written is read again by us, by scapy and by tshark; damage never raises."""

import errno
import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.record import CapturedFrame, PcapngWriter, RecordError, read_pcapng
from conformance.record.pcapng import Capture

AT = 1_795_000_000_123_456_789
FRAME = bytes.fromhex("0200000000010200000000020800") + bytes(46)


def write(path: Path, frames: list[CapturedFrame]) -> Path:
    with path.open("wb") as file:
        writer = PcapngWriter(file, application="tcp-conformance 0.1.0", interface="tester0", comment="a case")
        for frame in frames:
            writer.write(frame.data, frame.at_ns, inbound=bool(frame.inbound), comment=frame.comment)
    return path


def sample(number: int = 3) -> list[CapturedFrame]:
    return [CapturedFrame(n, AT + n, n % 2 == 0, FRAME + bytes(n), f"Rahmen {n}: ✓") for n in range(1, number + 1)]


def read_raw(raw: bytes, path: Path) -> Capture:
    path.write_bytes(raw)
    return read_pcapng(path)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.booleans(), st.binary(max_size=200), st.text(max_size=50)), max_size=5
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[int, bool, bytes, str]]
) -> None:
    frames = [CapturedFrame(number, *part) for number, part in enumerate(parts, 1)]
    assert read_pcapng(write(tmp_path_factory.getbasetemp() / "round.pcapng", frames)) == Capture(tuple(frames))


def test_limit_reads_no_more(tmp_path: Path) -> None:
    assert [frame.number for frame in read_pcapng(write(tmp_path / "x", sample(5)), limit=2).frames] == [1, 2]


def test_comments_are_cut_at_a_character_and_never_refused(tmp_path: Path) -> None:
    frames = [CapturedFrame(1, AT, True, FRAME, "é" * 70_000), CapturedFrame(2, AT, True, FRAME, "\ud800")]
    first, second = read_pcapng(write(tmp_path / "x", frames)).frames
    assert first.comment == "é" * 32_766
    assert second.comment == "\\ud800"


@pytest.mark.parametrize("at_ns", [-1, 2**64])
def test_times_that_no_file_can_hold_are_refused(at_ns: int) -> None:
    writer = PcapngWriter(io.BytesIO(), application="a", interface="b")
    with pytest.raises(ValueError, match="not a count of nanoseconds"):
        writer.write(FRAME, at_ns, inbound=True)


class Full(io.BytesIO):
    """A disk with room for so many bytes; an unbuffered file says so by a short write, then by an error."""

    def __init__(self, room: int, *, short: bool) -> None:
        super().__init__()
        self.room, self.short = room, short

    def write(self, data: object) -> int:
        raw = bytes(data)  # type: ignore[call-overload]
        left = self.room - self.tell()
        if len(raw) > left and not self.short:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(raw[: max(left, 0)])


@pytest.mark.parametrize("short", [True, False])
def test_a_full_disk_is_one_clear_line_and_the_rest_stays_readable(tmp_path: Path, short: bool) -> None:
    file = Full(500, short=short)
    writer = PcapngWriter(file, application="a", interface="b")
    with pytest.raises(RecordError, match="can't write capture in memory: ") as caught:
        for number in range(10):
            writer.write(FRAME, AT + number, inbound=True)
    assert "\n" not in str(caught.value)
    capture = read_raw(file.getvalue(), tmp_path / "x")
    assert [frame.at_ns - AT for frame in capture.frames] == [0, 1, 2, 3]
    assert capture.problem is None if not short else "truncated" in (capture.problem or "")


# -- files that others wrote, or that something hurt --------------------------------------------------------------


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order: str, *options: tuple[int, bytes]) -> bytes:
    body = struct.pack(order + "HHI", 1, 0, 0)
    for code, value in options:
        body += struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)
    return block(order, 1, body)


def packet(order: str, ticks: int, interface: int = 0, length: int = 4) -> bytes:
    return block(
        order, 6, struct.pack(order + "IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, length, length) + b"data"
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("options", "ticks", "at_ns"),
    [
        ((), 1_500_000, 1_500_000_000),
        (((9, b"\x09"),), 1_500_000_000, 1_500_000_000),
        (((9, b"\x03"),), 1_500, 1_500_000_000),
        (((9, b"\x8a"),), 1536, 1_500_000_000),  # units of 2**-10 seconds
        (((9, b"\x00"),), 3, 3_000_000_000),
        (((9, b"\x0c"),), 1_500_000_000_000, 1_500_000_000),
    ],
)
def test_either_byte_order_and_any_resolution(
    tmp_path: Path, order: str, options: tuple[tuple[int, bytes], ...], ticks: int, at_ns: int
) -> None:
    capture = read_raw(section(order) + interface(order, *options) + packet(order, ticks), tmp_path / "x")
    assert capture == Capture((CapturedFrame(1, at_ns, None, b"data"),))


def test_several_sections_offsets_simple_packets_and_unknown_blocks(tmp_path: Path) -> None:
    raw = section("<") + interface("<") + interface("<", (9, b"\x09"), (14, struct.pack("<q", 7))) + packet("<", 5, 1)
    raw += block("<", 0x0BAD, b"whatever") + section(">") + interface(">")
    raw += block(">", 3, struct.pack(">I", 3) + b"abc") + packet(">", 1)
    frames = read_raw(raw, tmp_path / "x").frames
    assert [(frame.number, frame.at_ns, frame.data) for frame in frames] == [
        (1, 7_000_000_005, b"data"),
        (2, 0, b"abc"),
        (3, 1000, b"data"),
    ]


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not a pcapng section at byte 0"),
        (section("<")[:20], "truncated: it ends inside the block at byte 0"),
        (section("<") + packet("<", 0), "damaged: block at byte 28 names an interface that is not described"),
        (
            section("<") + interface("<") + packet("<", 0, length=99),
            "damaged: block at byte 48 is too short for its kind",
        ),
        (section("<") + struct.pack("<III", 6, 7, 0), "damaged: block at byte 28 has the impossible length 7"),
        (section("<") + struct.pack("<III", 6, 2**32 - 4, 0), "truncated: it ends inside the block at byte 28"),
        (section("<") + interface("<")[:-4] + bytes(4), "damaged: the two lengths of the block at byte 28 differ"),
        (section("<") + block("<", 1, b""), "damaged: block at byte 28 is too short for its kind"),
    ],
)
def test_damage_is_named(tmp_path: Path, raw: bytes, problem: str) -> None:
    assert read_raw(raw, tmp_path / "x.pcapng") == Capture((), f"x.pcapng: {problem}")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert read_pcapng(tmp_path / "gone.pcapng").problem == "gone.pcapng: no such file"
    assert read_pcapng(tmp_path).problem


@given(st.data())
def test_a_truncated_file_gives_what_is_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = write(tmp_path_factory.getbasetemp() / "cut.pcapng", sample())
    raw = path.read_bytes()
    capture = read_raw(raw[: data.draw(st.integers(0, len(raw)))], path)
    assert capture.frames == tuple(sample()[: len(capture.frames)])


@given(st.binary(max_size=200), st.integers(0, 500), st.booleans())
def test_any_bytes_are_read_without_an_exception(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, bare: bool
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "noise.pcapng", sample())
    raw = path.read_bytes()
    read_raw(noise if bare else raw[:at] + noise + raw[at + len(noise) :], path)


# -- other readers --------------------------------------------------------------------------------------------------


def test_scapy_reads_our_files(tmp_path: Path) -> None:
    utils = pytest.importorskip("scapy.utils")
    reader = utils.RawPcapNgReader(str(write(tmp_path / "x.pcapng", sample())))
    packets = list(reader)
    assert [data for data, _ in packets] == [frame.data for frame in sample()]
    meta = packets[0][1]
    assert meta.tsresol == 10**9
    assert (meta.tshigh << 32 | meta.tslow) == AT + 1
    assert meta.direction == 2  # outbound
    assert b"".join(meta.comments).decode() == "Rahmen 1: ✓"
