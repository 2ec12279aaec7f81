"""Packetdrill's language: each construct becomes its tree, and each fault is shown at its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.packetdrill import Call, Code, Command, Packet, Script, ScriptError, When, parse, read
from conformance.packetdrill.script import LARGEST_FILE
from conformance.packetdrill.syntax import (
    Action,
    Address,
    Anything,
    EcnCounters,
    Expression,
    Flags,
    Function,
    Icmp,
    IpFields,
    Items,
    Number,
    Octets,
    Plain,
    Sack,
    Struct,
    Symbol,
    Text,
    Timestamps,
)

S, MS = 10**9, 10**6

TIMES = {
    "0": When("at"),
    "1.5": When("at", 1500 * MS, 1500 * MS),
    ".25": When("at", 250 * MS, 250 * MS),
    "+0": When("after"),
    "+.000001": When("after", 1000, 1000),
    "*": When("any"),
    "1~2": When("between", S, 2 * S),
    "+.1~+.2": When("within", 100 * MS, 200 * MS),
}

PACKETS = {
    "< S 0:0(0) win 1000": Packet(True, "tcp", "S", window=1000),
    "> S. 0:0(0) ack 1 <...>": Packet(False, "tcp", "S.", ack=1, options=None),
    "< . 1:1(0) ack 1 win 257": Packet(True, "tcp", ".", seq=1, ack=1, window=257),
    "> - 1:11(10)": Packet(False, "tcp", "", seq=1, length=10),
    "> PE. 1:11(10) ack 1": Packet(False, "tcp", "PE.", seq=1, length=10, ack=1),
    "< SEWA 0:0(0) win 9": Packet(True, "tcp", "SEWA", window=9),
    "> .5 1:1(0) ack 1": Packet(False, "tcp", ".", ace=5, seq=1, ack=1),
    "> P.0 1:2(1) ack 1": Packet(False, "tcp", "P.", ace=0, seq=1, length=1, ack=1),
    "< U. 1:3(2) ack 1 win 9 urg 2": Packet(True, "tcp", "U.", seq=1, length=2, ack=1, window=9, urgent=2),
    "< R 4294967295:4294967295(0) win 9": Packet(True, "tcp", "R", window=9, seq=2**32 - 1),
    "< 8080 > 33000 F. 1:1(0) ack 1 win 9": Packet(True, "tcp", "F.", window=9, seq=1, ack=1, ports=(8080, 33000)),
    "< S 0:0(0) win 9 <mss 1460,sackOK,nop,wscale 7,nop,eol>": Packet(
        True,
        "tcp",
        "S",
        window=9,
        options=(Number("mss", 1460), Plain("sackOK"), Plain("nop"), Number("wscale", 7), Plain("nop"), Plain("eol")),
    ),
    "> . 1:1(0) <nop,nop,TS val 0x10 ecr 4294967295>": Packet(
        False, "tcp", ".", seq=1, options=(Plain("nop"), Plain("nop"), Timestamps(16, 2**32 - 1))
    ),
    "< . 1:1(0) win 9 <nop,nop,sack 1:11 21:31>": Packet(
        True,
        "tcp",
        ".",
        window=9,
        seq=1,
        options=(
            Plain("nop"),
            Plain("nop"),
            Sack(((1, 11), (21, 31))),
        ),
    ),
    "> S 0:0(0) <FO,nop,nop>": Packet(False, "tcp", "S", options=(Octets("FO", ""), Plain("nop"), Plain("nop"))),
    "< S 0:0(0) win 9 <FOEXP 0a1b2c3d>": Packet(True, "tcp", "S", window=9, options=(Octets("FOEXP", "0a1b2c3d"),)),
    "< S 0:0(0) win 9 <nop,nop,md5 00112233>": Packet(
        True,
        "tcp",
        "S",
        window=9,
        options=(
            Plain("nop"),
            Plain("nop"),
            Octets("md5", "00112233"),
        ),
    ),
    "> . 1:1(0) <nop,ECN e1b 1 ceb 0 e0b 2>": Packet(
        False,
        "tcp",
        ".",
        seq=1,
        options=(
            Plain("nop"),
            EcnCounters((("e1b", 1), ("ceb", 0), ("e0b", 2))),
        ),
    ),
    "< [ce] . 1:1(0) win 9": Packet(True, "tcp", ".", window=9, seq=1, ip=IpFields(ecn="ce")),
    "> (tos 0x10, ttl 64) . 1:1(0)": Packet(False, "tcp", ".", seq=1, ip=IpFields(tos=16, ttl=64)),
    "> [flowlabel 0x2, ect0] . 1:1(0)": Packet(False, "tcp", ".", seq=1, ip=IpFields(ecn="ect0", flowlabel=2)),
    "< ipv4 192.0.2.1 > 198.51.100.1: gre: . 1:1(0) win 9": Packet(
        True, "tcp", ".", window=9, seq=1, layers=("ipv4", "gre")
    ),
    "< encap psp spi 7 . 1:1(0) win 9": Packet(True, "tcp", ".", window=9, seq=1, layers=("psp",)),
    "> udp (100)": Packet(False, "udp", length=100),
    "< udp 53 > 1053 (8)": Packet(True, "udp", length=8, ports=(53, 1053)),
    "< icmp unreachable frag_needed mtu 1200 [1:1461(1460)]": Packet(
        True, "icmp", icmp=Icmp("unreachable", "frag_needed", 1200, None, "tcp", 1, 1460)
    ),
    "< icmp unreachable port_unreachable [udp (8)]": Packet(
        True, "icmp", icmp=Icmp("unreachable", "port_unreachable", quoted_protocol="udp", quoted_length=8)
    ),
    "> icmp echo_request id 3": Packet(False, "icmp", icmp=Icmp("echo_request", identifier=3)),
}

CALLS = {
    "close(3) = 0": Call("close", (3,), 0),
    "...0.4 accept(3, ..., ...) = 4": Call("accept", (3, Anything(), Anything()), 4, ends=400 * MS),
    "read(4, ..., 9) = -1 EAGAIN (Resource temporarily unavailable)": Call(
        "read", (4, Anything(), 9), -1, "EAGAIN", "Resource temporarily unavailable"
    ),
    "ioctl(4, SIOCINQ, [7]) = 0": Call("ioctl", (4, Symbol("SIOCINQ"), Items((7,))), 0),
}

VALUES: dict[str, Expression] = {
    "0x1f": 31,
    "-1": -1,
    "A|B|0": Flags((Symbol("A"), Symbol("B"), 0)),
    '"GET" "\\r\\n"': Text("GET\\r\\n"),
    '"abc"...': Text("abc", more=True),
    "[]": Items(()),
    "192.0.2.7": Address("192.0.2.7"),
    "2001:db8::1": Address("2001:db8::1"),
    "{onoff=1, linger=0}": Struct({"onoff": 1, "linger": 0}),
    '{sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("192.0.2.1")}': Struct(
        {
            "sa_family": Symbol("AF_INET"),
            "sin_port": Function("htons", (80,)),
            "sin_addr": Function("inet_addr", (Text("192.0.2.1"),)),
        }
    ),
    "[{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}]": Items(
        (Struct({"fd": 4, "events": Flags((Symbol("POLLIN"), Symbol("POLLOUT"))), "revents": Symbol("POLLOUT")}),)
    ),
    "{msg_name(...)=..., msg_iov(1)=[{..., 10}], msg_flags=0}": Struct(
        {"msg_name": Anything(), "msg_iov": Items((Struct({"0": Anything(), "1": 10}),)), "msg_flags": 0}
    ),
    "[{cmsg_level=SOL_IP, cmsg_type=IP_RECVERR, cmsg_data={ee_errno=0, ee_info=0}}]": Items(
        (
            Struct(
                {
                    "cmsg_level": Symbol("SOL_IP"),
                    "cmsg_type": Symbol("IP_RECVERR"),
                    "cmsg_data": Struct({"ee_errno": 0, "ee_info": 0}),
                }
            ),
        )
    ),
}


def only_action(text: str) -> Action:
    (event,) = parse(text).events
    return event.action


@pytest.mark.parametrize("text", TIMES)
def test_times(text: str) -> None:
    (event,) = parse(f"{text} > . 1:1(0)").events
    assert event.when == TIMES[text]


@pytest.mark.parametrize("text", PACKETS)
def test_packets(text: str) -> None:
    assert only_action(f"+0 {text}") == PACKETS[text]


@pytest.mark.parametrize("text", CALLS)
def test_calls(text: str) -> None:
    assert only_action(f"+0 {text}") == CALLS[text]


@pytest.mark.parametrize("text", VALUES)
def test_values(text: str) -> None:
    assert only_action(f"+0 call({text}) = 0") == Call("call", (VALUES[text],), 0)


def test_a_whole_script() -> None:
    script = parse(
        "// a comment\n--tolerance_usecs=9000\n--define=PORT=80\n--non_fatal\n`sysctl -q net.ipv4.tcp_sack=0`\n\n"
        "0 bind(3, PORT) = 0 /* over\ntwo lines */\n+.1 %{ assert tcpi_snd_cwnd == 10 }%\n+0 `sleep 1`\n`true`\n"
    )
    assert script.flags == (("tolerance_usecs", "9000"), ("define", "PORT=80"), ("non_fatal", ""))
    assert script.flag("tolerance_usecs") == "9000"
    assert script.flag("non_fatal") == ""
    assert script.flag("mtu") is None
    assert script.before == Command("sysctl -q net.ipv4.tcp_sack=0")
    assert script.after == Command("true")
    assert [event.action for event in script.events] == [
        Call("bind", (3, 80), 0),
        Code("assert tcpi_snd_cwnd == 10"),
        Command("sleep 1"),
    ]
    assert [event.line for event in script.events] == [7, 9, 10]
    assert script.events[1].text == "+.1 %{ assert tcpi_snd_cwnd == 10 }%"


def test_nothing_is_a_script_of_no_events() -> None:
    assert parse("  // nothing\n") == Script()


def test_words_may_be_defined_from_outside() -> None:
    (event,) = parse("+0 > S 0:0(0) <mss MSS>", defines={"MSS": "1440"}).events
    assert event.action == Packet(False, "tcp", "S", options=(Number("mss", 1440),))


FAULTS = {
    "+0 > S 0:1(0)": (1, 10, "the end is 0, the start 0 plus the length 0, not 1"),
    "0 close(3) = 0\n+0 > S. 0:0(0) ack 1 <mms 1460>": (2, 23, "expected a TCP option (ECN, FO, FOEXP, TS, eol, "),
    "+0 < . 1:1(0) ack": (1, 18, "expected a number, not the end of the script"),
    "+0 < Q 0:0(0)": (1, 6, "expected TCP flags (F, S, R, P, U, E, W, A, C, `.`, `-`), not 'Q'"),
    "+0 < .9 0:0(0)": (1, 6, "expected an AccECN field from .0 to .7, not '.9'"),
    "+0 < S 0:-1(-1)": (1, 13, "expected a length of at least 0, not '-1'"),
    "+0 < [ect9] . 1:1(0)": (1, 7, "expected a field of the IP header"),
    "close(3) = 0": (1, 1, "expected a time in seconds, not 'close'"),
    "+0 close(3)": (1, 12, "expected `=`, not the end of the script"),
    "+0 close(3 4) = 0": (1, 12, "expected `,`, not '4'"),
    "+0 a() = -1 EBADF (Bad": (1, 23, "expected `)` behind the error's text, not the end of the script"),
    "+0 = 1": (1, 4, "expected a packet (`<` or `>`), a call, a command or a block of code, not '='"),
    "0 `true`\n* `true`": (2, 1, "only a packet from the target (`>`) may have a range of times, or `*`"),
    "+1~+2 < . 1:1(0) win 9": (1, 1, "only a packet from the target (`>`) may have a range of times, or `*`"),
    "+0 < . 1:1(0) ack 1 <...>": (1, 21, "expected `win` and the window: a packet to the target needs it, not '<'"),
    "+0 > S 0:0(0) <mss 1460,wscale 7>": (1, 15, "the options are 3 octets more than a multiple of 4; pad them"),
    "+0 > S 0:0(0) <FO COOKIE>": (
        1,
        19,
        "expected hexadecimal digits, or a name that is defined as such, not 'COOKIE'",
    ),
    "+2~+1 `true`": (1, 5, "the range ends before it begins"),
    "-1 `true`": (1, 1, "a time lies between 0 and 1000000 seconds"),
    "+0 %{ assert True": (1, 4, "what begins with %{ is never closed"),
    '\n\n+0 a("b) = 0': (3, 6, 'what begins with " is never closed'),
    "`true`\n`true`\n+0 `true`": (3, 1, "expected the end of the script behind a command without a time"),
    "--mtu=": (1, 7, "expected the flag's value, not the end of the script"),
    f"+0 a({'9' * 5000}) = 0": (1, 6, "the number does not fit into 64 bits"),
    f"+0 a({'[' * 5000}) = 0": (1, 39, "more than 32 brackets are nested"),
    f"+0 a({'a=' * 5000}1) = 0": (1, 72, "more than 32 brackets are nested"),
}


@pytest.mark.parametrize("text", FAULTS, ids=range(len(FAULTS)))
def test_faults_have_their_place(text: str) -> None:
    line, column, reason = FAULTS[text]
    with pytest.raises(ScriptError) as caught:
        parse(text, "a.pkt")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.reason.startswith(reason)


def test_a_fault_shows_the_line_and_a_caret() -> None:
    with pytest.raises(ScriptError) as caught:
        parse("0 close(3) = 0\n\t+0 > S 0:0(0) win lots\n", "a.pkt")
    assert str(caught.value).split("\n") == [
        "a.pkt:2:20: expected a number, not 'lots'",
        "     +0 > S 0:0(0) win lots",
        "                       ^",
    ]


def test_a_fault_far_in_a_long_line_shows_its_surroundings() -> None:
    with pytest.raises(ScriptError) as caught:
        parse(f"+0 a({'1, ' * 500}=) = 0")
    _, shown, caret = str(caught.value).split("\n")
    assert shown[caret.index("^")] == "="
    assert len(shown) < 130


def test_a_file_in_latin_1_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.pkt"
    path.write_bytes("// ünd\n// für\n+0 `true`".encode("latin-1"))
    with pytest.raises(ScriptError, match=r"latin\.pkt:1:4: the octet 0xfc is not UTF-8; save the script as UTF-8"):
        read(path)


def test_a_file_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.pkt"
    path.write_bytes(b" " * (LARGEST_FILE + 1))
    with pytest.raises(OSError, match="more than 1 MiB"):
        read(path)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "small.pkt"
    path.write_text("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n")
    assert len(read(path).events) == 1
