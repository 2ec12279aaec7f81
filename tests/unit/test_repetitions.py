"""A repetition is compared whole, but for what a document lets differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.judge.repetition import OF_THE_MOMENT, differences
from conformance.standard import repetitions
from conformance.standard._data import DataError
from conformance.wire import ACK, CWR, ECE, PSH, SYN, URG, Segment, Seq
from conformance.wire import options as opt
from conformance.wire.ip import IpHeader

OPTIONS = (opt.mss(1460), opt.sack_permitted(), opt.timestamps(7, 3), opt.window_scale(7))
FIRST = Segment("10.0.0.1", "10.0.0.2", 7, 40000, Seq(1), Seq(2), SYN | ACK, options=opt.encode(OPTIONS))
HEADER = IpHeader(4, "10.0.0.1", "10.0.0.2", 0, 64, 5, True, b"")


def with_options(*options: opt.Option) -> Segment:
    return replace(FIRST, options=opt.encode(options))


@pytest.mark.parametrize(
    ("again", "field"),
    [
        (with_options(*OPTIONS[:3]), "WScale"),
        (with_options(opt.mss(536), *OPTIONS[1:]), "MSS"),
        (with_options(OPTIONS[0], *OPTIONS[2:]), "SACK-permitted"),
        (with_options(*OPTIONS[:2], OPTIONS[3]), "Timestamps"),
        (replace(FIRST, reserved=4), "reserved bits"),
        (replace(FIRST, flags=FIRST.flags | URG), "URG"),
    ],
)
def test_what_no_document_lets_differ_is_named(again: Segment, field: str) -> None:
    assert field in {one.field for one in differences(FIRST, again)}


@pytest.mark.parametrize(
    ("header", "field"),
    [
        (HEADER._replace(ttl=63), "TTL"),
        (HEADER._replace(tos=0x28), "DSCP"),
        (HEADER._replace(options=b"\1\1\1\1"), "IP options"),
    ],
)
def test_header_that_carries_it_counts(header: IpHeader, field: str) -> None:
    assert [one.field for one in differences(FIRST, FIRST, HEADER, header)] == [field]


def test_what_is_of_the_moment_may_differ() -> None:
    stamped = with_options(*OPTIONS[:2], opt.timestamps(1007, 1003), OPTIONS[3])
    again = replace(stamped, flags=FIRST.flags | PSH | ECE | CWR, ack=Seq(9), window=1, reserved=1)
    assert not differences(FIRST, again, HEADER, HEADER._replace(id=6, dont_fragment=False, tos=2))
    assert OF_THE_MOMENT == PSH | ECE | CWR


@pytest.mark.parametrize("field", ["TSval", "window", "ack", "TSecr", "PSH"])
def test_each_of_them_rests_on_its_row(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """Without its row in the list, a field must not differ."""
    stamped = with_options(*OPTIONS[:2], opt.timestamps(8, 4), OPTIONS[3])
    again = replace(stamped, flags=FIRST.flags | PSH, ack=Seq(9), window=1)
    rows = {name: source for name, source in repetitions.may_differ().items() if name != field}
    monkeypatch.setattr("conformance.judge.repetition.may_differ", lambda: rows)
    assert [one.field for one in differences(FIRST, again)] == [field]


def test_a_wrong_list_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^x.toml, row 2: ack is there twice$"):
        repetitions.parse('[[may_differ]]\nfield = "ack"\nsource = "s"\n' * 2, "x.toml")
    with pytest.raises(DataError, match=r"^x.toml, row 1: source missing"):
        repetitions.parse('[[may_differ]]\nfield = "ack"\n', "x.toml")
