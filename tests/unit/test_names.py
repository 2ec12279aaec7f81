"""The spelling of flags, options and numbers: the same in a message, in the record and on a page."""

import pytest

from conformance.report.dissect import dissect as dissect_for_report
from conformance.wire import Flags, dissect, names
from conformance.wire import options as opt
from tests.unit.test_report import SYN, segment


def a_syn(*options: opt.Option) -> bytes:
    """A frame with a SYN that has these options."""
    return segment(False, SYN, 0, options=opt.encode(options))


def test_flags_have_the_bits_that_their_names_say() -> None:
    assert {one.name: int(one) for one in Flags if one} == {
        name: bit for name, bit in names.FLAG_BITS.items() if bit < 0x100
    }
    assert names.flags_text(0x1FF) == "SYN+FIN+RST+PSH+URG+ECE+CWR+AE+ACK"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (opt.mss(1460), "MSS=1460"),
        (opt.window_scale(7), "WScale=7"),
        (opt.sack_permitted(), "SACK-permitted"),
        (opt.timestamps(1, 2), "TSval=1 TSecr=2"),
        (opt.sack((5, 9)), "SACK=5..9"),
        (opt.fast_open(), "Fast-Open"),
        (opt.fast_open(b"\x01\xff"), "Fast-Open=01ff"),
        (opt.Option(opt.MSS, b"\x05"), "MSS=05"),
        (opt.Option(253, b"\x02"), "option 253=02"),
    ],
)
def test_an_option_is_spelled_alike_wherever_it_is_printed(option: opt.Option, text: str) -> None:
    """In messages, as a part of a tuple that a case prints, and on the report's pages."""
    assert str(option) == repr(option) == text
    assert opt.options_text((option, opt.Option(opt.NOP))) == f"{text}, NOP"
    packet = dissect_for_report(a_syn(option))
    assert packet.tcp is not None
    shown = [one for one in packet.tcp.options if one != "EOL"]
    assert shown == ([] if option.kind == opt.SACK else [text])
    assert not packet.tcp.sack or names.sack_text(packet.tcp.sack, None) in text


def test_numbers_count_from_the_initial_one_and_wrap() -> None:
    assert [names.relative(number, 2**32 - 1) for number in (0, 2**32 - 1, 2**32 - 2)] == ["+1", "+0", "-1"]
    assert names.relative(7, None) == "7"


def test_a_number_in_no_sequence_space_of_the_connection_stays_absolute() -> None:
    assert names.relative(0, 1_756_662_625) == "0"
    assert names.relative(0, 1 << 29) == f"{-(1 << 29):+d}"
    assert names.relative(0, 1 << 29, reset=True) == "0", "a reset's 0 is no number, even where a window could reach it"
    assert names.relative(0, 2**32 - 500, reset=True) == "+500", "the numbers of the connection wrap here"
    assert names.relative(1000 + (1 << 30), 1000) == "+1073741824"
    assert names.relative(1001 + (1 << 30), 1000) == "1073742825"
    assert names.relative(5, 1 << 31) == "5"
    assert names.sack_text(((3, 5), (9, 10)), 2) == "+1..+3,+7..+8"
    assert names.sack_text((), 2) == "none"


def test_no_message_has_the_representation_of_an_option() -> None:
    """A case that prints a segment's options leaks nothing of Python."""
    syn = a_syn(opt.mss(1460), opt.sack_permitted())
    segment = dissect(syn)
    assert segment is not None
    assert "Option(" not in f"{segment.option_list}"
    assert opt.options_text(()) == "no options"
