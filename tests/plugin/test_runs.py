"""Verdicts, outcomes, options and records of whole runs, on the real stack."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.record import read_pcapng
from tests.conftest import Suite

ALL_VERDICTS = '''
    @verifies("RFC9293:3.5-handshake")
    async def test_conforms(tcp):
        """The handshake."""
        await tcp.drive_to(State.ESTABLISHED)

    @verifies("RFC9293:MUST-13")
    async def test_violates(tcp):
        """A wrong expectation: nothing acknowledges what was never sent."""
        conn = await tcp.drive_to(State.ESTABLISHED)
        await conn.send(ACK, payload=b"abc", text="three octets")
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt + 1)

    @verifies("RFC9293:SHLD-3")
    async def test_breaks_should(tcp):
        """A SHOULD that is not followed."""
        raise Violation("not followed")

    @verifies("RFC9293:MAY-2")
    async def test_may_choose(tcp):
        """A choice."""
        tcp.choice("colour", "red", ["red", "blue"])

    @verifies("RFC9293:MUST-13", needs=["teleport"])
    async def test_not_applicable(tcp):
        """A capability that no target has."""

    @verifies("RFC9293:MUST-13")
    async def test_inconclusive(tcp):
        """The harness can't tell."""
        raise Inconclusive("jitter of 3 ms, bound of 1 ms")

    @verifies("RFC9293:MUST-13")
    async def test_error(tcp):
        """The harness fails."""
        raise HarnessFault("the lab fell over")

    @verifies("RFC9293:MUST-13")
    async def test_asserts(tcp):
        """The case asserts something that the target did not do."""
        assert b"abc" == b"abd"

    @verifies("RFC9293:MUST-13")
    async def test_call_fails(tcp):
        """Nobody connects, so nothing is accepted."""
        conn = await tcp.listen()
        await conn.listener.accept(wait_s=0.2)
'''


def test_every_verdict_is_recorded_and_told_to_pytest(suite: Callable[[str], Suite]) -> None:
    ran = suite(ALL_VERDICTS).run("--family=4", "--junitxml=junit.xml", "--html=out/pytest.html")
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    assert ran.verdicts == {
        "test_conforms[ipv4]": "conforms",
        "test_violates[ipv4]": "violates",
        "test_breaks_should[ipv4]": "breaks should",
        "test_may_choose[ipv4]": "conforms",
        "test_not_applicable[ipv4]": "not applicable",
        "test_inconclusive[ipv4]": "inconclusive",
        "test_error[ipv4]": "error",
        "test_asserts[ipv4]": "violates",
        "test_call_fails[ipv4]": "violates",
    }
    assert "3 failed, 3 passed, 2 skipped, 1 error" in ran.out
    assert ran.results["test_not_applicable[ipv4]"]["message"].startswith("needs teleport")
    assert ran.results["test_may_choose[ipv4]"]["choices"] == [
        {"name": "colour", "taken": "red", "allowed": ["red", "blue"]}
    ]
    tests = {one.get("name"): one for one in ET.parse(ran.output.parent / "junit.xml").iter("testcase")}
    assert tests["test_error[ipv4]"].find("error") is not None
    assert tests["test_violates[ipv4]"].find("failure") is not None
    assert (ran.output / "index.html").exists()
    page = (ran.output / "pytest.html").read_text()
    assert "captures/violates-ipv4" in page


def test_a_failure_says_what_broke(suite: Callable[[str], Suite]) -> None:
    ran = suite(ALL_VERDICTS).run("--family=6", "-k", "test_violates")
    record = ran.results["test_violates[ipv6]"]
    assert (
        record["message"]
        == "expected ACK seq=+1 ack=+5 within 1 s, came ACK seq=+1 ack=+4 win=" + record["message"].rpartition("=")[2]
    )
    for part in (
        "RFC9293:MUST-13 (MUST, section 3.6.1): When a connection is closed actively",
        "State: ESTABLISHED",
        "Stimulus: three octets: ACK seq=+1 ack=+1 len=3",
        "Nearest miss: ack: expected +5, came +4",
        "SYN+ACK seq=+0 ack=+1",
        "<== ACK seq=+1 ack=+5 within 1 s",
    ):
        assert part in record["failure"], part
        assert part in ran.out, part
    broke = next(step for step in record["steps"] if step.get("ok") is False)
    capture = read_pcapng(ran.output / record["capture"])
    assert capture.problem is None
    assert capture.frames[broke["frame"] - 1].comment.startswith("BROKE: expected ACK")
    assert capture.frames[broke["frame"] - 1].inbound is True


def test_strict_makes_a_should_fail(suite: Callable[[str], Suite]) -> None:
    made = suite(ALL_VERDICTS)
    assert made.run("--family=4", "-k", "breaks_should").code == pytest.ExitCode.OK
    ran = made.run("--family=4", "-k", "breaks_should", "--strict")
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    assert ran.verdicts == {"test_breaks_should[ipv4]": "violates"}


def test_selection_is_plain_pytest(suite: Callable[[str], Suite]) -> None:
    made = suite(ALL_VERDICTS)
    assert set(made.run("-m", "should").verdicts) == {"test_breaks_should[ipv4]", "test_breaks_should[ipv6]"}
    assert set(made.run("-k", "conforms and ipv6").verdicts) == {"test_conforms[ipv6]"}
    ran = made.run("-x", "--family=4", "--concurrency=1")
    assert "stopping after 1 failures" in ran.out
    assert "test_conforms[ipv4]" in ran.results


def test_a_fixture_that_every_test_has_is_set_up_and_torn_down(suite: Callable[[str], Suite]) -> None:
    made = suite("""
        @verifies("RFC9293:MUST-13")
        async def test_case(tcp):
            \"\"\"Nothing.\"\"\"

        def test_plain(around): pass
    """)
    (made.folder / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(autouse=True)\ndef around(request):\n"
        "    print('before', request.node.name)\n    yield\n    print('after', request.node.name)\n"
    )
    ran = made.run("--family=4", "-s")
    assert ran.code == pytest.ExitCode.OK, ran.out
    for name in ("test_case[ipv4]", "test_plain"):
        assert ran.out.index(f"before {name}") < ran.out.index(f"after {name}")


def test_tiers_leave_out_what_waits_longer(suite: Callable[[str], Suite]) -> None:
    made = suite(
        '''
        @verifies("RFC9293:3.5-handshake", lasts=5)
        async def test_short(tcp):
            """It waits five seconds."""

        @verifies("RFC9293:3.5-handshake", lasts=5.1)
        async def test_long(tcp):
            """It waits longer."""

        @verifies("RFC9293:3.5-handshake", lasts=900)
        async def test_longest(tcp):
            """It waits a quarter of an hour."""
        '''
    )
    assert set(made.run("--family=4", "--tier=quick").verdicts) == {"test_short[ipv4]"}
    assert set(made.run("--family=4").verdicts) == {"test_short[ipv4]", "test_long[ipv4]"}
    assert len(made.run("--family=4", "--tier=full").verdicts) == 3


def test_a_case_counts_by_the_timers_of_the_target(suite: Callable[[str], Suite]) -> None:
    made = suite(
        '''
        from conformance.api import after

        @verifies("RFC9293:3.5-handshake", lasts="time-wait")
        async def test_waits_for_it(tcp):
            """It waits for TIME-WAIT."""

        @verifies("RFC9293:3.5-handshake", lasts=after("time-wait", 31))
        async def test_waits_longer(tcp):
            """It waits longer than the standard tier beyond TIME-WAIT."""

        @verifies("RFC9293:3.5-handshake", lasts=100)
        async def test_waits_by_itself(tcp):
            """It waits, whatever the target."""
        '''
    )
    assert set(made.run("--family=4").verdicts) == {"test_waits_for_it[ipv4]"}
    (made.folder / "slow.toml").write_text('kind = "netns"\nprofile = "lwip"\n')  # its TIME-WAIT is 120 s
    slow = made.run("--family=4", "--target=slow.toml")
    assert set(slow.verdicts) == {"test_waits_for_it[ipv4]", "test_waits_by_itself[ipv4]"}


def test_a_timer_that_no_profile_has_is_one_clear_line(suite: Callable[[str], Suite]) -> None:
    ran = suite(
        '''
        @verifies("RFC9293:3.5-handshake", lasts="timewait")
        async def test_waits(tcp):
            """It waits for nothing known."""
        '''
    ).run("--family=4")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "lasts: no profile has a timer 'timewait'; the nearest is time-wait" in ran.out


def test_workers_share_the_cases_and_one_record(suite: Callable[[str], Suite]) -> None:
    """Each worker has a lab of its own; every case runs once, side by side within a worker."""
    pytest.importorskip("xdist")
    ran = suite(
        '''
        @pytest.mark.parametrize("number", range(20))
        @verifies("RFC9293:3.5-handshake", lasts=1)
        async def test_waits(tcp, number):
            """It waits a second."""
            await tcp.drive_to(State.ESTABLISHED)
            await tcp.sleep(1)
        '''
    ).run("--family=4", "-n2")
    assert ran.code == pytest.ExitCode.OK, ran.out
    lines = (ran.output / "results.jsonl").read_text().splitlines()
    assert len(lines) == len(ran.results) == 20
    starts = [record["started_ns"] for record in ran.results.values()]
    assert max(starts) - min(starts) < 10e9, "twenty seconds is what one after another would take"
    assert "text                  20" in ran.out
    assert (ran.output / "index.html").exists()
    again = Suite(ran.output.parent).run("--family=4", "-n2", "-k", "3")
    assert set(again.verdicts) == {"test_waits[ipv4-3]", "test_waits[ipv4-13]"}, "the earlier run's record is gone"


def test_nothing_is_made_where_nothing_runs(suite: Callable[[str], Suite]) -> None:
    made = suite(ALL_VERDICTS)
    assert made.run("--collect-only", "-q").code == pytest.ExitCode.OK
    (made.folder / "test_cases.py").write_text("def test_plain(): pass\n")
    ran = made.run()
    assert ran.code == pytest.ExitCode.OK
    assert not ran.output.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--target=freebsd",), "no target is called 'freebsd': there is linux"),
        (("--target=missing.toml",), "can't read target file missing.toml: No such file or directory"),
        (("--concurrency=0",), "'0' is not a whole number above 0"),
        (("--family=5",), "invalid choice: '5'"),
        (("--output=/proc/nothing",), "choose another --output"),
    ],
)
def test_wrong_options_get_one_line(suite: Callable[[str], Suite], options: tuple[str, ...], says: str) -> None:
    ran = suite(ALL_VERDICTS).run(*options, "-k", "conforms")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert says in ran.out
    assert "Traceback" not in ran.out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('name = "x"\nsysctls = {}\n', "lab.toml:2: unknown key 'sysctls'; did you mean sysctl?"),
        ('kind = "vm"\n', "lab.toml:1: kind 'vm' is not known; there is netns"),
        ("name = 3\n", "lab.toml:1: name must be a text, it is 3"),
        ('\nprofile = "linus"\n', "lab.toml:2: no profile is called 'linus'"),
        ('[sysctl]\n"kernel.panic" = 1\n', "lab.toml:2: sysctl 'kernel.panic' is not a setting of the network"),
        ('[sysctl]\n"net.ipv4.tcp_nothing" = 1\n', "tcp_nothing = 1 is refused: this kernel has no such setting"),
        ("name = [", "lab.toml: not TOML"),
    ],
)
def test_wrong_target_files_get_one_line(suite: Callable[[str], Suite], content: str, says: str) -> None:
    made = suite(ALL_VERDICTS)
    (made.folder / "lab.toml").write_text(content)
    ran = made.run("--target=lab.toml", "-k", "conforms")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert says in ran.out
    assert "Traceback" not in ran.out


def test_a_target_file_changes_the_target(suite: Callable[[str], Suite]) -> None:
    made = suite(
        '''
        @verifies("RFC9293:3.5-handshake")
        async def test_setting(tcp):
            """The setting is there."""
            assert await tcp.app.sysctl("net.ipv4.tcp_timestamps") == "0"
        '''
    )
    (made.folder / "lab.toml").write_text('name = "plain"\n[sysctl]\n"net.ipv4.tcp_timestamps" = 0\n')
    ran = made.run("--target=lab.toml", "--family=4")
    record = ran.results["test_setting[ipv4]"]
    assert (record["verdict"], record["target"]["name"]) == ("conforms", "plain")
    assert record["target"]["settings"]["net.ipv4.tcp_timestamps"] == "0"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            '@verifies("RFC9293:MUST-130")\nasync def test_x(tcp):\n    """X."""\n',
            "no requirement is called 'RFC9293:MUST-130'",
        ),
        (
            '@verifies("claim:C-99")\nasync def test_x(tcp):\n    """X."""\n',
            "no claim is called 'C-99'; the nearest is C-59",
        ),
        ('async def test_x(tcp):\n    """X."""\n', "a case needs @verifies"),
        (
            '@verifies("RFC9293:MUST-13", cells=["CLOSING/rst-left-egde"])\nasync def test_x(tcp):\n    """X."""\n',
            "no cell is called 'CLOSING/rst-left-egde'; the nearest is CLOSING/rst-left-edge",
        ),
        (
            '@verifies("RFC9293:MUST-13")\nasync def test_x(tcp):\n    pass\n',
            "a case needs a docstring; its first line, the title, says what must happen",
        ),
        (
            '@verifies("RFC9293:MUST-13")\nasync def test_x(tcp, tmp_path):\n    """X."""\n',
            "a case takes tcp and its own parameters, not the fixture tmp_path",
        ),
    ],
)
def test_a_case_that_says_something_wrong_stops_the_run(suite: Callable[[str], Suite], source: str, says: str) -> None:
    ran = suite(source).run()
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert says in ran.out
    assert not ran.output.exists()


def test_cases_run_side_by_side_and_longest_first(suite: Callable[[str], Suite]) -> None:
    ran = suite(
        '''
        @pytest.mark.parametrize("number", range(40))
        @verifies("RFC9293:3.5-handshake", lasts=1)
        async def test_waits(tcp, number):
            """It waits a second."""
            await tcp.sleep(1)

        @verifies("RFC9293:3.5-handshake", lasts=3)
        async def test_waits_longest(tcp):
            """It waits three seconds, and is collected last."""
            await tcp.sleep(3)
        '''
    ).run("--family=4", "--concurrency=41")
    starts = {name: record["started_ns"] for name, record in ran.results.items()}
    assert ran.code == pytest.ExitCode.OK
    assert min(starts, key=lambda name: starts[name]) == "test_waits_longest[ipv4]"
    ends = {name: record["started_ns"] + record["duration_s"] * 1e9 for name, record in ran.results.items()}
    # All of them ran while the longest did: none had to wait for another's end.
    assert max(starts.values()) < min(ends.values())


def test_a_case_alone_has_a_target_of_its_own(suite: Callable[[str], Suite]) -> None:
    ran = suite(
        '''
        @verifies("RFC9293:3.5-handshake", sysctl={"net.ipv4.tcp_fin_timeout": "7"})
        async def test_alone(tcp):
            """Its own setting."""
            assert await tcp.app.sysctl("net.ipv4.tcp_fin_timeout") == "7"
            await tcp.drive_to(State.ESTABLISHED)

        @verifies("RFC9293:3.5-handshake")
        async def test_shared(tcp):
            """The shared target keeps its default."""
            assert await tcp.app.sysctl("net.ipv4.tcp_fin_timeout") == "60"
        '''
    ).run("--family=4")
    assert ran.verdicts == {"test_alone[ipv4]": "conforms", "test_shared[ipv4]": "conforms"}
    assert ran.results["test_alone[ipv4]"]["target"]["settings"]["net.ipv4.tcp_fin_timeout"] == "7"


def test_a_setting_may_be_a_parameter_and_is_a_capability(suite: Callable[[str], Suite]) -> None:
    ran = suite(
        '''
        import pytest

        @pytest.mark.parametrize("seconds", [7, 9])
        @verifies("RFC9293:3.5-handshake", sysctl={"net.ipv4.tcp_fin_timeout": "{seconds}"})
        async def test_set(tcp, seconds):
            """A value of its own each time."""
            assert await tcp.app.sysctl("net.ipv4.tcp_fin_timeout") == str(seconds)
            await tcp.drive_to(State.ESTABLISHED)

        @verifies("RFC9293:3.5-handshake", sysctl={"net.ipv4.tcp_no_such": "1"})
        async def test_unknown(tcp):
            """A setting that this kernel does not have."""
        '''
    ).run("--family=4")
    assert ran.verdicts == {
        "test_set[ipv4-7]": "conforms",
        "test_set[ipv4-9]": "conforms",
        "test_unknown[ipv4]": "not applicable",
    }
    assert "sysctl:net.ipv4.tcp_no_such" in ran.results["test_unknown[ipv4]"]["message"]


def test_a_setting_of_no_parameter_is_said(suite: Callable[[str], Suite]) -> None:
    ran = suite(
        '''
        @verifies("RFC9293:3.5-handshake", sysctl={"net.ipv4.tcp_fin_timeout": "{seconds}"})
        async def test_set(tcp):
            """A value that nobody gives."""
        '''
    ).run("--family=4")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "a sysctl names 'seconds', which is no parameter of the case" in ran.out


def test_a_known_deviation_is_expected_and_strict(suite: Callable[[str], Suite], tmp_path: Path) -> None:
    """The profile's own rows: a failure that does not look like the known one stays a violation."""
    made = suite(
        '''
        @verifies("RFC9293:3.5-handshake")
        async def test_known(tcp):
            """The known failure."""
            raise Violation("SYN repeated after 3 s")

        @verifies("RFC9293:3.5-handshake")
        async def test_other(tcp):
            """Another failure of a case that is listed."""
            raise Violation("no SYN at all")

        @verifies("RFC9293:3.5-handshake")
        async def test_mended(tcp):
            """Listed, and it conforms."""
        '''
    )
    (made.folder / "conftest.py").write_text(
        "import conformance.run.run as run\n"
        "from conformance.standard.profile import profile\n"
        "from conformance.standard.profile_rows import Deviation\n"
        "from dataclasses import replace\n"
        "row = Deviation(('test_*',), 'RFC9293:MUST-19', 'a sentence', 'backs off late', 'a source', 'repeated after')\n"
        "run.profile = lambda name: replace(profile(name), deviations=(row,))\n"
    )
    ran = made.run("--family=4")
    assert ran.verdicts == {
        "test_known[ipv4]": "deviates",
        "test_other[ipv4]": "violates",
        "test_mended[ipv4]": "conforms",
    }
    assert ran.results["test_known[ipv4]"]["deviation"]["reason"] == "backs off late"
    assert "no longer deviates (mend the profile)" in ran.out
    assert made.run("--family=4", "-k", "mended").code == pytest.ExitCode.OK
    assert made.run("--family=4", "-k", "mended", "--strict").code == pytest.ExitCode.TESTS_FAILED


def test_the_record_has_what_readers_rely_on(suite: Callable[[str], Suite]) -> None:
    ran = suite(ALL_VERDICTS).run("-k", "conforms")
    expected = {
        "id", "title", "verdict", "family", "requirements", "cells", "claims", "level", "target", "started_ns",
        "duration_s", "timings", "states", "capture", "message",
    }  # fmt: skip
    for line in (ran.output / "results.jsonl").read_text().splitlines():
        assert expected <= set(json.loads(line))
    states = [one["state"] for one in ran.results["test_conforms[ipv4]"]["states"] if one["side"] == "tester"]
    assert states == ["SYN-SENT", "ESTABLISHED"]


def test_an_ordinary_user_needs_no_privilege(lab: None, tmp_path: Path) -> None:
    """The run's own uid may be root: the lab's process is started without any right, as another user."""
    if os.geteuid():
        pytest.skip("needs root to become another user; an ordinary user's runs show the same")
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    import pyroute2  # noqa: PLC0415

    import conformance  # noqa: PLC0415

    readable = Path(sys.executable).resolve()
    paths = [Path(conformance.__file__).parent.parent, Path(pyroute2.__file__).parent.parent]
    system = next((one for one in (readable, Path("/usr/bin/python3")) if _reachable(one)), None)
    if system is None or not all(_reachable(one) for one in paths):
        pytest.skip("needs an interpreter and packages that another user can read")
    tmp_path.chmod(0o777)
    for folder in list(tmp_path.parents)[:2]:
        folder.chmod(0o755)
    script = (
        "import asyncio, os\nfrom conformance.target.netns import NetnsTarget\n"
        "async def main():\n    target = NetnsTarget()\n    await target.open()\n    print(os.geteuid(), target.version)\n"
        "    await target.close()\nasyncio.run(main())\n"
    )
    done = subprocess.run(
        [system, "-B", "-c", script],
        cwd="/",
        env={"PYTHONPATH": os.pathsep.join(map(str, paths)), "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "user namespace" in done.stderr:
        pytest.skip("needs user namespaces for ordinary users")
    assert done.stdout.startswith("65534 "), done.stderr


def _reachable(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in [path, *path.parents])


CROSSING = '''
    @pytest.mark.parametrize("late_ns", [400_000, 500_000_000])
    @verifies("RFC9293:MUST-13")
    async def test_syn_again(tcp, late_ns):
        """The target's SYN again, so long after our answer to it, and before what answers that."""
        conn = await tcp.drive_to(State.SYN_SENT)
        syn = next(frame for frame in tcp.trace.frames if frame.inbound)
        sent = await conn.send(SYN | ACK)
        tcp.station.sorter.sort(syn.data, sent.at_ns + late_ns)
        conn._queue.rotate(1)
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)

    @verifies("RFC9293:MUST-13")
    async def test_syn_ack_again(tcp):
        """The target's SYN,ACK again, 0.4 ms after our ACK of it."""
        conn = await tcp.drive_to(State.SYN_RECEIVED)
        syn_ack = next(frame for frame in tcp.trace.frames if frame.inbound)
        sent = await conn.send(ACK)
        tcp.station.sorter.sort(syn_ack.data, sent.at_ns + 400_000)
        await conn.silence()
'''


def test_a_syn_again_in_the_moment_of_our_answer_is_no_answer_to_it(suite: Callable[[str], Suite]) -> None:
    ran = suite(CROSSING).run()
    assert ran.verdicts == {
        f"test_syn_again[ipv{family}-{late_ns}]": verdict
        for family in (4, 6)
        for late_ns, verdict in ((400_000, "conforms"), (500_000_000, "violates"))
    } | dict.fromkeys(("test_syn_ack_again[ipv4]", "test_syn_ack_again[ipv6]"), "violates")
