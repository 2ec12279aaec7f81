"""Scripts in packetdrill's language as cases of a run, on the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Suite

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "packetdrill"
CALM = "--pkt-tolerance=200000"
"""Microseconds: the lateness of a tester on a busy machine matters to none of these tests."""
_OPEN = """
   0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
  +0 bind(3, ..., ...) = 0
  +0 listen(3, 1) = 0
  +0 < S 0:0(0) win 32792 <mss 1000>
  +0 > S. 0:0(0) ack 1 <...>
+.01 < . 1:1(0) ack 1 win 32792
  +0 accept(3, ..., ...) = 4
"""
_DATA = "+.01 < P. 1:101(100) ack 1 win 32792\n"
BROKEN = {
    "ack": (_OPEN + _DATA + "+0 > . 1:1(0) ack 102\n", "ack: expected 102, came 101"),
    "flags": (_OPEN + _DATA + "+0 > F. 1:1(0) ack 101\n", "flags: expected F., came ."),
    "time": (_OPEN + _DATA + "+.5~+.6 > . 1:1(0) ack 101\n", "the packet came at"),
    "nothing": (_OPEN + "+0 > . 1:1(0) ack 1\n", "nothing came where the script expects"),
    "call": (_OPEN + "+0 write(4, ..., 100) = 99\n", "write() returned 100, expected 99"),
    "error": (_OPEN + "+0 close(4) = -1 EBUSY (Busy)\n", "close() returned 0, expected EBUSY"),
    "poll": (
        _OPEN + "+0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLIN}], 1, 0) = 1\n",
        "revents are 0x4, expected 0x1",
    ),
    "epoll": (
        _OPEN
        + "+0 epoll_create(1) = 5\n+0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLOUT, fd=4}) = 0\n"
        + "+0 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 0) = 1\n",
        "events are 0x4, expected 0x1",
    ),
    "option": (_OPEN + "+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [1], [4]) = 0\n", "TCP_NODELAY is 0, expected 1"),
    "ioctl": (_OPEN + _DATA + "+0 ioctl(4, SIOCINQ, [99]) = 0\n", "SIOCINQ gives 100, expected 99"),
    "cmsg": (
        _OPEN
        + "+0 setsockopt(4, SOL_TCP, TCP_INQ, [1], 4) = 0\n"
        + _DATA
        + "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 60}], msg_flags=0, msg_control="
        + "[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=41}]}, 0) = 60\n",
        "the control message holds 40, expected 41",
    ),
    "descriptor": (_OPEN + "+0 write(9, ..., 10) = 10\n", "write() failed with EBADF, expected 10"),
    "blocks": (_OPEN + "+0 read(4, ..., 10) = 10\n", "read() still blocks after 2 s"),
    "code": (_OPEN + "+0 %{ assert tcpi_state == TCP_CLOSE }%\n", "the assertion does not hold"),
    "more": ("//: nothing more\n" + _OPEN + "+0 write(4, ..., 10) = 10\n", "expected no segment"),
}


@pytest.fixture
def scripts(lab: None, tmp_path: Path) -> Suite:
    """Return an empty folder for scripts."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return Suite(tmp_path)


def test_each_construct_passes(scripts: Suite) -> None:
    ran = scripts.run(str(EXAMPLES), CALM)
    assert set(ran.verdicts.values()) == {"conforms"}, ran.out
    assert len(list(EXAMPLES.glob("*.pkt"))) >= 40


def test_what_breaks_a_script_is_seen_with_its_line(scripts: Suite) -> None:
    for name, (text, _) in BROKEN.items():
        (scripts.folder / f"{name}.pkt").write_text(text)
    ran = scripts.run("--family=4", CALM)
    for name, (text, message) in BROKEN.items():
        result = ran.results[f"{name}[ipv4]"]
        assert result["verdict"] == "violates", (name, result["message"])
        assert message in result["message"]
        if name != "more":
            assert f"{name}.pkt:{len(text.splitlines())}" in ran.out
    assert ran.code == 1


def test_what_does_not_apply_is_named(scripts: Suite) -> None:
    (scripts.folder / "shell.pkt").write_text("`touch made-by-the-script`\n" + _OPEN)
    (scripts.folder / "call.pkt").write_text(_OPEN + "+0 cap_set(4) = 0\n")
    ran = scripts.run("--family=4", CALM)
    assert ran.results["shell[ipv4]"]["message"] == "a shell on the target (--pkt-shell): touch made-by-the-script"
    assert ran.results["call[ipv4]"]["message"] == "cap_set() is no call that an agent makes"
    assert set(ran.verdicts.values()) == {"not applicable"}
    assert not (scripts.folder / "made-by-the-script").exists()


def test_a_shell_runs_in_the_labs_own_network(scripts: Suite) -> None:
    device = "ip -o link show dev tun0 > seen && grep -q state seen"
    (scripts.folder / "shell.pkt").write_text(f"`{device}`\n{_OPEN}+0 `ip link show dev tun0 | grep -q target0`\n")
    (scripts.folder / "fails.pkt").write_text(_OPEN + "+0 `echo why >&2; exit 3`\n")
    (scripts.folder / "names.pkt").write_text("`ip route get 192.0.2.1`\n" + _OPEN)
    ran = scripts.run("--family=4", "--pkt-shell", CALM)
    assert ran.verdicts["names[ipv4]"] == "not applicable"
    assert "names 192.0.2.1, which is no address of the lab's" in ran.results["names[ipv4]"]["message"]
    assert ran.verdicts["shell[ipv4]"] == "conforms", ran.out
    assert ran.verdicts["fails[ipv4]"] in ("violates", "inconclusive")  # a busy machine never finds calm
    assert "a command ended with 3: echo why" in ran.results["fails[ipv4]"]["message"]
    assert "target0" in (scripts.folder / "seen").read_text()


def test_mapped_addresses_are_a_family_of_their_own(scripts: Suite) -> None:
    (scripts.folder / "x.pkt").write_text(_OPEN)
    (scripts.folder / "only.pkt").write_text("--ip_version=ipv4-mapped-ipv6\n" + _OPEN)
    ran = scripts.run("--pkt-mapped", CALM)
    names = ("x[ipv4]", "x[ipv6]", "x[ipv4-mapped]", "only[ipv4-mapped]")
    assert ran.verdicts == dict.fromkeys(names, "conforms"), ran.out


def test_in_portable_mode_a_script_differs(scripts: Suite) -> None:
    (scripts.folder / "x.pkt").write_text(BROKEN["ack"][0])
    (scripts.folder / "window.pkt").write_text(_OPEN.replace("ack 1 <...>", "ack 1 win 1 <...>"))
    ran = scripts.run("--family=4", "--pkt-portable", CALM)
    assert ran.results["x[ipv4]"]["message"] == "differs from the script: ack: expected 102, came 101"
    assert ran.verdicts == {"x[ipv4]": "breaks should", "window[ipv4]": "conforms"}


def test_a_text_that_is_no_script_is_shown_with_its_place(scripts: Suite) -> None:
    (scripts.folder / "wrong.pkt").write_text("0 socket(\n")
    ran = scripts.run("--family=4", CALM)
    assert "wrong.pkt:2:1: expected" in ran.out
    assert "Traceback" not in ran.out


def test_a_script_without_end_and_a_folder_without_a_script_are_named(scripts: Suite) -> None:
    ran = scripts.run("--family=4")
    assert "no case and no script (*.pkt) in" in ran.out
    (scripts.folder / "endless.pkt").write_text("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+999999 close(3) = 0\n")
    ran = scripts.run("--family=4")
    assert "endless.pkt::endless[ipv4]: longer than a script may last with --tier" in ran.out
    assert "Traceback" not in ran.out


@pytest.mark.long
def test_a_thousand_scripts_are_a_run(scripts: Suite) -> None:
    for index in range(1000):
        (scripts.folder / f"script{index}.pkt").write_text(_OPEN)
    ran = scripts.run("--target=smoltcp", "--family=4", "--pkt-portable")
    assert len(ran.verdicts) == 1000
    assert set(ran.verdicts.values()) == {"conforms"}, ran.out
