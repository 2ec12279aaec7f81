"""Lab hosts for real: an OpenSSH server and open ports in a namespace of their own, on a segment with the tester."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from conformance.wire.offload import COMPLETED, PART
from tests.conftest import Ran, clean_environment
from tests.lab import host_segment
from tests.lab.processes import children

_LIBC = ctypes.CDLL(None, use_errno=True)
CASES = "testcases/rfc9293/test_s3_6_closing.py"
SSH = """
kind = "ssh"
host = "target"
ssh = ["-F", "ssh_config"]
interface = "lab0"
ipv4 = "10.88.0.1"
ipv6 = "fd88::1"
tester = ["10.88.1.1-10.88.1.250", "fd88::100-fd88::1f0"]
"""
BLACK_BOX = """
kind = "blackbox"
profile = "linux"
interface = "lab0"
ipv4 = "10.88.0.1"
ipv6 = "fd88::1"
tester = ["10.88.1.1-10.88.1.250", "fd88::100-fd88::1f0"]
closed = 81
[open]
discard = 1009
echo = 7
"""
UPPER_TESTER = """
kind = "testability"
profile = "linux"
interface = "lab0"
ipv4 = "10.88.0.1"
ipv6 = "fd88::1"
tester = ["10.88.1.1-10.88.1.250", "fd88::100-fd88::1f0"]
control = "192.168.77.1:30700"
features = ["timestamps", "sack", "wscale", "ecn"]
tells-end = true
"""
ROOT = Path(__file__).parent.parent.parent


@dataclass
class Hosts:
    """The tester's side of the segment."""

    folder: Path
    process: subprocess.Popen[str]

    def run(self, target: str, *options: str, cases: str = CASES, name: str = "out") -> Ran:
        """A run in the tester's namespace."""
        (self.folder / f"{name}.toml").write_text(target)
        output = self.folder / name
        command = [sys.executable, "-m", "pytest", str(ROOT / cases), "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, f"--target={name}.toml", f"--output={output}", *options],
            cwd=self.folder,
            env={**clean_environment(), "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self.folder / "cache")},
            preexec_fn=self._enter,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr, output)

    def doctor(self, target: str) -> Ran:
        """Return what `doctor` says of a target, in the tester's namespace."""
        (self.folder / "looked-at.toml").write_text(target)
        done = subprocess.run(
            [sys.executable, "-m", "conformance.cli", "doctor", "--target=looked-at.toml"],
            cwd=self.folder,
            env={
                **clean_environment(),
                "PYTHONPATH": str(ROOT),
                "XDG_CACHE_HOME": str(self.folder / "cache"),
                "COLUMNS": "300",
            },
            preexec_fn=self._enter,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr, self.folder)

    def restart(self, away_s: float, once: Callable[[], bool]) -> None:
        """As if the host were started anew while a run is under way: its agent ends, and for a while ssh gets nowhere."""
        until = time.monotonic() + 120
        while not once():
            assert time.monotonic() < until, "the run did not get there"
            time.sleep(0.05)
        for pid in children(self.process.pid):
            if b"agent.py" in _command_of(pid):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)  # ssh has to hear of it before
        for state in ("down", "up"):
            code = (
                "from pyroute2 import IPRoute\nwith IPRoute() as ip:"
                f" ip.link('set', index=ip.link_lookup(ifname='control0')[0], state='{state}')"
            )
            subprocess.run([sys.executable, "-c", code], preexec_fn=self._enter, check=True)
            time.sleep(away_s if state == "down" else 0)

    @property
    def host(self) -> int:
        """The process that is in the host's network namespace."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    @contextlib.contextmanager
    def offloading(self) -> Iterator[None]:
        """Have both ends of the segment leave checksums and the cutting of segments to their interfaces."""
        self._offload(on=True)
        try:
            yield
        finally:
            self._offload(on=False)

    def connections(self) -> list[str]:
        """Return the sockets of the host's kernel that are connected, or were, over the segment: by both ends and state."""
        rows = [
            line.split()[1:4]
            for name in ("tcp", "tcp6")
            for line in Path(f"/proc/{self.host}/net/{name}").read_text().splitlines()[1:]
        ]
        control = "4DA8C0"  # 192.168.77.0 as the kernel writes it: ssh's own
        return [" ".join(row) for row in rows if row[2] != "0A" and control not in row[1]]

    def _offload(self, *, on: bool) -> None:
        for pid, interface in ((self.process.pid, "lab0"), (self.host, "lab1")):
            code = f"from tests.lab.host_segment import set_offloads\nset_offloads({interface!r}, on={on})"
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, preexec_fn=partial(self._enter, pid), check=True)

    def _enter(self, pid: int | None = None) -> None:
        """Go into the network namespace of that process, the tester's without."""
        space = os.open(f"/proc/{pid or self.process.pid}/ns/net", os.O_RDONLY)
        assert _LIBC.setns(space, 0x40000000) == 0


def _command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with made_hosts(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@contextlib.contextmanager
def made_hosts(folder: Path) -> Iterator[Hosts]:
    """Make the segment, with its keys and settings in a folder; skip where something is missing."""
    if os.geteuid():
        pytest.skip("needs root: sshd has to change users")
    for tool, package in (("sshd", "openssh-server"), ("ssh", "openssh-client"), ("nft", "nftables")):
        if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin"):
            pytest.skip(f"needs {tool} (Debian's {package})")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    key = (folder / "host_key.pub").read_text().split(maxsplit=2)
    (folder / "known_hosts").write_text(f"192.168.77.1 {key[0]} {key[1]}\n")
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n"
    )
    (folder / "ssh_config").write_text(
        f"Host target\n  HostName 192.168.77.1\n  User root\n  IdentityFile {folder}/user_key\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n  StrictHostKeyChecking yes\n"
    )
    process = subprocess.Popen(
        [sys.executable, host_segment.__file__, folder],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            pytest.skip("needs the right to make network namespaces")
        yield Hosts(folder, process)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


# Whether Linux's timeout is longer than it had to be goes by how steady the round trips were, and whether it is shorter by how
# short the last of them was: the machine's doing.
BY_CHANCE = {f"test_timeout_follows_the_round_trips[ipv4-{trips}]" for trips in ("steady", "falling-far")}


QUICK = "--tier=quick", "--family=4"


@pytest.fixture(scope="module")
def embedded(hosts: Hosts) -> Ran:
    """The quick tier on the embedded lab."""
    return hosts.run('kind = "netns"\n', *QUICK, cases="testcases", name="embedded")


@pytest.mark.parametrize(
    "offload", [pytest.param(False, marks=pytest.mark.long, id="alone"), pytest.param(True, id="offload")]
)
def test_ssh_host_gives_the_verdicts_of_the_embedded_lab(hosts: Hosts, embedded: Ran, offload: bool) -> None:
    """Case for case, in all quick ones; but for what needs another host, or settings of its own.

    It makes no difference that both interfaces offload: what arrives is completed and split as the wire would carry it.
    """
    with hosts.offloading() if offload else contextlib.nullcontext():
        ran = hosts.run(SSH, *QUICK, cases="testcases", name=f"ssh-{offload}")
    assert ran.results, ran.out
    marks = {COMPLETED, PART} if offload else set()
    captures = b"".join(path.read_bytes() for path in (ran.output / "captures").iterdir())
    assert {mark for mark in (COMPLETED, PART) if mark.encode() in captures} == marks
    verdicts, others = ran.verdicts, embedded.verdicts
    sure = {name for name in others if "inconclusive" not in (verdicts[name], others[name])} - BY_CHANCE
    applicable = {name: verdict for name, verdict in verdicts.items() if verdict != "not applicable"}
    differ = {
        name: (applicable[name], others[name]) for name in sure & applicable.keys() if applicable[name] != others[name]
    }
    assert not differ
    missing = {one["message"] for one in ran.results.values() if one["verdict"] == "not applicable"}
    lacks = {message.split()[1].rstrip(",") for message in missing if message.startswith("needs ")}
    assert lacks <= {"settings", "instances", "group-address", "ip-options"}
    assert len(applicable) > len(others) * 0.8
    assert not (hosts.folder / "agent.py").exists()


def test_black_box_runs_every_case_that_needs_no_application(hosts: Hosts) -> None:
    before = set(hosts.connections())
    ran = hosts.run(BLACK_BOX, "--tier=quick", "--family=4", cases="testcases", name="box")
    assert ran.results, ran.out
    assert set(ran.verdicts.values()) <= {"conforms", "deviates", "not applicable", "inconclusive"}, ran.out
    has = {"open-port", "discard-port", "prompt-wire", "ipv4"}
    can = [record for record in ran.results.values() if has >= set(record["needs"])]
    assert not [record["message"] for record in can if record["message"].startswith("needs ")]
    assert sum(record["verdict"] == "conforms" for record in can) >= 50
    others = [record for record in ran.results.values() if not has >= set(record["needs"])]
    assert {record["verdict"] for record in others} == {"not applicable"}
    assert not set(hosts.connections()) - before
    assert all(record["message"].startswith("needs ") for record in others)


@contextlib.contextmanager
def upper_tester(hosts: Hosts, transport: str = "udp", port: str = "30700") -> Iterator[None]:
    """Run the example's upper tester on the host."""
    command = [
        sys.executable,
        "examples/upper-tester/upper_tester.py",
        port,
        *(["--tcp"] if transport == "tcp" else []),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        preexec_fn=partial(hosts._enter, hosts.host),  # noqa: PLW1509 - no threads matter
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_upper_tester_gives_the_verdicts_of_the_embedded_lab(hosts: Hosts, embedded: Ran, transport: str) -> None:
    with upper_tester(hosts, transport):
        ran = hosts.run(f'{UPPER_TESTER}transport = "{transport}"\n', *QUICK, name=f"upper-{transport}")
    assert ran.results, ran.out
    applicable = {name: verdict for name, verdict in ran.verdicts.items() if verdict != "not applicable"}
    assert not {name: verdict for name, verdict in applicable.items() if verdict != embedded.verdicts[name]}, ran.out
    assert len(applicable) >= 0.9 * len(ran.verdicts)
    held = ("01", "08")  # ESTABLISHED and CLOSE-WAIT: those of an application
    assert not [one for one in hosts.connections() if one.endswith(held)]


def test_host_behind_an_interface_without_ethernet_gives_the_same_verdicts(hosts: Hosts, embedded: Ran) -> None:
    """A TUN carries IP packets alone: nothing is asked of neighbours, and what is judged is judged alike."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    target = SSH.replace("lab0", "layer3").replace("10.88.", "10.99.").replace("fd88:", "fd99:")
    relay = [sys.executable, "tests/lab/tun_relay.py", str(hosts.process.pid), str(hosts.host)]
    with subprocess.Popen(relay, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        looked, ran = hosts.doctor(target), hosts.run(target, *QUICK, name="layer3")
        assert process.stdin is not None
        process.stdin.close()
    assert "layer3 is there, carries IP packets alone" in looked.out
    assert ran.results, ran.out
    applicable = {name: verdict for name, verdict in ran.verdicts.items() if verdict != "not applicable"}
    assert not {name: verdict for name, verdict in applicable.items() if verdict != embedded.verdicts[name]}, ran.out
    assert len(applicable) >= 0.9 * len(ran.verdicts)


def test_upper_tester_that_is_not_there_is_one_line(hosts: Hosts) -> None:
    ran = hosts.run(UPPER_TESTER, *QUICK, name="nobody")
    assert "nobody.toml:8: nobody: the upper tester at 192.168.77.1, UDP port 30700: Connection refused" in ran.out
    assert ran.code


REBOOTED = '''
import pathlib

import pytest
from conformance.api import *


@pytest.mark.parametrize("number", range(4))
@verifies("RFC9293:3.5-handshake", lasts=6)
async def test_in_the_middle(tcp, number):
    """It is in the middle of something for six seconds, then needs target and agent."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    pathlib.Path(__file__).with_name(f"begun-{number}").touch()
    await tcp.sleep(6)
    await conn.deliver(b"x")


@pytest.mark.parametrize("number", range(4))
@verifies("RFC9293:3.5-handshake")
async def test_later(tcp, number):
    """It begins when the others have ended."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.deliver(b"x")
'''


def test_host_that_is_started_anew_costs_the_cases_that_run_alone(hosts: Hosts) -> None:
    """Its agent ends, and ssh gets nowhere for three seconds: what runs is an error, with its line; what comes later runs."""
    (hosts.folder / "test_rebooted.py").write_text(REBOOTED)
    (hosts.folder / "pytest.ini").write_text("[pytest]\n")
    begun = [hosts.folder / f"begun-{number}" for number in range(4)]
    ended = threading.Thread(target=hosts.restart, args=(3.0, lambda: all(path.exists() for path in begun)))
    ended.start()
    ran = hosts.run(SSH, "--family=4", "--concurrency=4", cases=str(hosts.folder / "test_rebooted.py"), name="rebooted")
    ended.join()
    assert ran.verdicts == {
        **{f"test_in_the_middle[ipv4-{number}]": "error" for number in range(4)},
        **{f"test_later[ipv4-{number}]": "conforms" for number in range(4)},
    }, ran.out
    messages = {one["message"] for one in ran.results.values()} - {""}
    assert messages == {"rebooted: the agent's process ended"}


def test_the_testers_own_address_serves_with_resets_kept_back(hosts: Hosts) -> None:
    own = BLACK_BOX.replace('ipv6 = "fd88::1"\n', "").replace('ipv4 = "10.88.0.1"', 'ipv4 = "192.168.77.1"')
    own = own.replace('interface = "lab0"', 'interface = "control0"\nown-address = true')
    own = own.replace('["10.88.1.1-10.88.1.250", "fd88::100-fd88::1f0"]', '["192.168.77.2"]')
    cases = "testcases/rfc9293/test_s3_10_7_segment_arrives.py"
    ran = hosts.run(own, "-k", "CLOSED or LISTEN", "--family=4", cases=cases, name="own")
    assert ran.code == 0, ran.out
    assert "conforms" in ran.verdicts.values()
    left = subprocess.run(
        ["nft", "list", "ruleset"], preexec_fn=hosts._enter, capture_output=True, text=True, check=True
    )
    assert left.stdout == ""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("10.88.1.1-10.88.1.250", "10.88.0.1-10.88.0.9"), "the tester address 10.88.0.1 is the target's own"),
        (('ipv4 = "10.88.0.1"', 'ipv4 = "192.168.77.2"'), "is this machine itself"),
        (('ipv4 = "10.88.0.1"', 'ipv4 = "8.8.8.8"'), '8.8.8.8 is public; if it is meant, say allow = ["8.8.8.8"]'),
        (('ipv4 = "10.88.0.1"', 'ipv4 = "224.0.0.1"'), "nothing is sent: 224.0.0.1 is multicast"),
        (('interface = "lab0"', 'interface = "lab7"'), "lab7: No such device"),
        (('host = "target"', 'host = "nobody.invalid"'), "ssh nobody.invalid: "),
        (('host = "target"', 'host = "target"\npython = "python9"'), "no python9 on target"),
        (('ssh = ["-F"', 'ssh = ["-o", "UserKnownHostsFile=/dev/null", "-F"'), "Host key verification failed"),
        (('ssh = ["-F"', 'ssh = ["-o", "NoSuchOption=1", "-F"'), "onfiguration option"),
        (('ipv4 = "10.88.0.1"', 'ipv4 = "10.88.0.99"'), "10.88.0.99 does not answer ARP on lab0"),
        (('interface = "lab0"', 'interfaces = "lab0"'), "unknown key 'interfaces'; did you mean interface?"),
        (("tester = ", "testers = "), "unknown key 'testers'; did you mean tester?"),
        (("10.88.1.1-10.88.1.250", "10.88.1.1-x"), "is no range of addresses"),
    ],
    ids=[
        "tester-is-target", "target-is-tester", "public", "multicast", "interface", "name", "python", "host-key",
        "option", "silent", "typo", "typo-of-tester", "range",
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_lab_host_is_one_line(hosts: Hosts, change: tuple[str, str], line: str) -> None:
    assert change[0] in SSH
    ran = hosts.run(SSH.replace(*change), name="wrong")
    assert ran.code == pytest.ExitCode.USAGE_ERROR, ran.out
    assert line in ran.out
    assert "Traceback" not in ran.out


def test_an_address_in_use_is_found_before_anything_is_sent(hosts: Hosts) -> None:
    take = textwrap.dedent("""
        import ctypes, os, sys
        assert ctypes.CDLL(None).setns(os.open(f"/proc/{sys.argv[1]}/ns/net", os.O_RDONLY), 0x40000000) == 0
        from pyroute2 import IPRoute
        with IPRoute() as ip:
            ip.addr(sys.argv[2], index=ip.link_lookup(ifname="lab1")[0], address="10.88.1.7", prefixlen=32)
    """)
    host = str(hosts.host)
    subprocess.run([sys.executable, "-c", take, host, "add"], check=True)
    try:
        ran = hosts.run(SSH, name="taken")
    finally:
        subprocess.run([sys.executable, "-c", take, host, "del"], check=True)
    assert ran.code == pytest.ExitCode.USAGE_ERROR, ran.out
    assert "tester address 10.88.1.7 is in use by " in ran.out


WRONG = {
    "subnet": (
        '"10.88.1.1-10.88.1.250", "fd88::100-fd88::1f0"',
        '"10.99.1.1-10.99.1.80", "fd99::100-fd99::180"',
        ":7: tester: 10.88.0.1 ",
        "take tester addresses of its own subnet, or name the router between as gateway",
    ),
    "open": (
        "echo = 7",
        "echo = 70",
        ":11: echo: port 70 of 10.88.0.1 resets a SYN",
        "start the service, or take it out",
    ),
    "closed": ("closed = 81", "closed = 7", ":8: port 7 is said to be both closed and open (echo)", ""),
    "closed-that-is-open": (
        "closed = 81\n[open]\ndiscard = 1009\n",
        "closed = 1009\n[open]\n",
        ":8: closed: port 1009 of 10.88.0.1 is open",
        "name one on which nothing listens",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_lab_file_that_is_wrong_is_refused_before_the_first_case(hosts: Hosts, wrong: str) -> None:
    """By its line, in the run and by doctor alike; else it would be violations of the target's."""
    before, after, line, mend = WRONG[wrong]
    assert before in BLACK_BOX
    target = BLACK_BOX.replace(before, after)
    open_before = set(hosts.connections())
    for ran in (hosts.run(target, "--family=4", name=f"wrong-{wrong}"), hosts.doctor(target)):
        assert ran.code != 0, ran.out
        (message,) = [text for text in ran.out.splitlines() if line in text]
        assert mend in message
        assert "Traceback" not in ran.out
        assert not ran.results
    assert not set(hosts.connections()) - open_before


@pytest.mark.parametrize("number", range(4), ids=["ssh", "black-box", "upper-tester", "settings"])
def test_target_files_of_the_documentation_are_well(hosts: Hosts, number: int) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "lab-hosts.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    with upper_tester(hosts, port="10000"):
        ran = hosts.doctor(blocks[number])
    assert ran.code == 0, ran.out
    assert ("open: 1009, 7; closed: 81" in ran.out) == (number == 1)


def test_doctor_names_offloads(hosts: Hosts) -> None:
    with hosts.offloading():
        ran = hosts.doctor(SSH)
    assert ran.code == 0, ran.out
    assert "lab0 has tx, tso, gso, gro on; the target leaves checksums to its interface" in ran.out
    assert "the target leaves the cutting of segments to its interface" in ran.out
    assert "`ethtool -K IF tx off tso off gso off gro off` at both ends" in ran.out


def test_interface_that_is_down_is_named(hosts: Hosts) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    make = (
        "import fcntl, os, struct, sys\nfd = os.open('/dev/net/tun', os.O_RDWR)\n"
        "fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', b'odd0', 0x1002))\n"
        "print('made', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", make],
        preexec_fn=hosts._enter,  # noqa: PLW1509 - no threads matter
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as made:
        assert made.stdout is not None
        assert made.stdout.readline() == "made\n"
        ran = hosts.doctor(BLACK_BOX.replace('"lab0"', '"odd0"'))
        assert made.stdin is not None
        made.stdin.close()
    assert ran.code != 0
    assert "looked-at.toml:4: odd0 is down: ip link" in ran.out
    assert "Traceback" not in ran.out


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ('name = "mystack"\nkind = "stack"\ncommand = ["./mystack"]\n', "mystack: no program "),
        ('kind = "netns"\n[sysctl]\nnet.ipv4.tcp_sak = 1\n', "looked-at.toml:3: net.ipv4.tcp_sak = 1 is refused: "),
    ],
    ids=["stack", "settings"],
)
def test_doctor_looks_at_what_the_file_names(hosts: Hosts, target: str, line: str) -> None:
    """The embedded lab of this machine, which is well, is another target."""
    ran = hosts.doctor(target)
    assert ran.code != 0
    assert line in ran.out
    assert "embedded lab" not in ran.out


def test_doctor_looks_at_a_lab_host(hosts: Hosts) -> None:
    ran = hosts.doctor(SSH)
    assert ran.code == 0, ran.out
    words = ["forwarding", "addresses", "ssh and agent", "interface", "tester's addresses", "target"]
    assert all(f" {word} " in ran.out for word in words), ran.out
    assert "nobody has 10.88.1.1 to 10.88.1.250" in ran.out
    assert ran.out.count("; closed: 9") == 2
    assert "lab0 has none on; frames are as the wire carries them" in ran.out
    assert "10.88.0.1, fd88::1 at " in ran.out


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        (
            BLACK_BOX.replace("10.88.0.1", "8.8.8.8").replace('fd88::1"', 'ff02::1"'),
            ['8.8.8.8 is public; if it is meant, say allow = ["8.8.8.8"]', "ff02::1 is multicast"],
        ),
        (BLACK_BOX.replace("lab0", "lab7"), ["lab7: No such device"]),
        (BLACK_BOX.replace("10.88.0.1", "10.88.0.99"), ["10.88.0.99 does not answer ARP on lab0"]),
        (SSH.replace('host = "target"', 'host = "nobody.invalid"'), ["ssh nobody.invalid: "]),
        (BLACK_BOX.replace("[open]", "[opened]"), ["unknown key 'opened'; did you mean open?"]),
    ],
    ids=["refused", "interface", "silent", "name", "file"],
)
def test_doctor_says_what_is_wrong_with_a_lab_host(hosts: Hosts, target: str, lines: list[str]) -> None:
    ran = hosts.doctor(target)
    assert ran.code != 0
    assert all(line in ran.out for line in lines), ran.out
    assert "Traceback" not in ran.out
