"""Lab hosts for real: an OpenSSH server and open ports in a namespace of their own, on a segment with the tester."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Ran, Suite, clean_environment
from tests.lab import host_segment
from tests.lab.processes import children, wait
from tests.lab.test_faults import CASES as CASES_THAT_WAIT
from tests.lab.test_faults import QUICK

_LIBC = ctypes.CDLL(None, use_errno=True)
CASES = "testcases/rfc9293/test_s3_6_closing.py"
SSH = """
kind = "ssh"
host = "target"
ssh = ["-F", "ssh_config"]
interface = "lab0"
ipv4 = "10.88.0.1"
ipv6 = "fd88::1"
tester = ["10.88.1.1-10.88.1.80", "fd88::100-fd88::180"]
"""
BLACK_BOX = """
kind = "blackbox"
profile = "linux"
interface = "lab0"
ipv4 = "10.88.0.1"
ipv6 = "fd88::1"
tester = ["10.88.1.1-10.88.1.80", "fd88::100-fd88::180"]
closed = 81
[open]
discard = 1009
echo = 7
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
            env={**clean_environment(), "PYTHONPATH": str(ROOT)},
            preexec_fn=self._enter,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr, output)

    def doctor(self, target: str) -> Ran:
        """What `doctor` says of a target, in the tester's namespace."""
        (self.folder / "looked-at.toml").write_text(target)
        done = subprocess.run(
            [sys.executable, "-m", "conformance.cli", "doctor", "--target=looked-at.toml"],
            cwd=self.folder,
            env={**clean_environment(), "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
            preexec_fn=self._enter,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout + done.stderr, self.folder)

    @property
    def host(self) -> int:
        """The host's first process."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def on_the_host(self, code: str) -> None:
        """Run that in the host's network namespace."""
        entered = f"assert ctypes.CDLL(None).setns(os.open('/proc/{self.host}/ns/net', os.O_RDONLY), 0x40000000) == 0"
        script = f"import ctypes, os, time\nfrom pyroute2 import IPRoute\n{entered}\n{code}"
        subprocess.run([sys.executable, "-c", script], check=True)

    def reboot(self) -> None:
        """Whatever was logged in ends, and the host is not there for a while."""
        (sshd,) = children(self.host, deep=False)
        for process in children(sshd):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.on_the_host(
            "with IPRoute() as ip:\n"
            "    for state, seconds in ('down', 2), ('up', 0):\n"
            "        for name in 'lab1', 'control1':\n"
            "            ip.link('set', index=ip.link_lookup(ifname=name)[0], state=state)\n"
            "        time.sleep(seconds)\n"
            "    ip.addr('replace', index=ip.link_lookup(ifname='lab1')[0], address='fd88::1', prefixlen=64, flags=2)\n"
        )

    def _enter(self) -> None:
        """Into the tester's network namespace."""
        space = os.open(f"/proc/{self.process.pid}/ns/net", os.O_RDONLY)
        assert _LIBC.setns(space, 0x40000000) == 0


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    if os.geteuid():
        pytest.skip("needs root: sshd has to change users")
    for tool, package in (("sshd", "openssh-server"), ("ssh", "openssh-client"), ("nft", "nftables")):
        if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin"):
            pytest.skip(f"needs {tool} (Debian's {package})")
    folder = tmp_path_factory.mktemp("hosts")
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


def test_ssh_host_gives_the_verdicts_of_the_embedded_lab(hosts: Hosts) -> None:
    ran = hosts.run(SSH, name="ssh")
    embedded = hosts.run('kind = "netns"\n', name="embedded")
    assert ran.results, ran.out
    applicable = {name: verdict for name, verdict in ran.verdicts.items() if verdict != "not applicable"}
    assert applicable == {name: embedded.verdicts[name] for name in applicable}
    assert len(applicable) > len(embedded.verdicts) * 0.9
    assert not (hosts.folder / "agent.py").exists()


def test_black_box_runs_what_needs_no_application(hosts: Hosts) -> None:
    ran = hosts.run(BLACK_BOX, "--tier=quick", cases="testcases/rfc9293/test_s3_10_7_segment_arrives.py", name="box")
    assert ran.results, ran.out
    said = {record["message"] for record in ran.results.values() if record["verdict"] == "not applicable"}
    assert "needs app, which target box does not have" in said
    assert set(ran.verdicts.values()) <= {"conforms", "deviates", "not applicable"}, ran.out
    assert sum(verdict == "conforms" for verdict in ran.verdicts.values()) >= 20


def test_the_testers_own_address_serves_with_resets_kept_back(hosts: Hosts) -> None:
    own = BLACK_BOX.replace('ipv6 = "fd88::1"\n', "").replace('ipv4 = "10.88.0.1"', 'ipv4 = "192.168.77.1"')
    own = own.replace('interface = "lab0"', 'interface = "control0"\nown-address = true')
    own = own.replace('["10.88.1.1-10.88.1.80", "fd88::100-fd88::180"]', '["192.168.77.2"]')
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
        (("10.88.1.1-10.88.1.80", "10.88.0.1-10.88.0.9"), "the tester address 10.88.0.1 is the target's own"),
        (('ipv4 = "10.88.0.1"', 'ipv4 = "192.168.77.2"'), "is this machine itself"),
        (('ipv4 = "10.88.0.1"', 'ipv4 = "8.8.8.8"'), '8.8.8.8 is public; if it is meant, say allow = ["8.8.8.8"]'),
        (('ipv4 = "10.88.0.1"', 'ipv4 = "224.0.0.1"'), "nothing is sent: 224.0.0.1 is multicast"),
        (('interface = "lab0"', 'interface = "lab7"'), "lab7: No such device"),
        (('host = "target"', 'host = "nobody.invalid"'), "ssh nobody.invalid: "),
        (('host = "target"', 'host = "target"\npython = "python9"'), "no python9 on target"),
        (('ssh = ["-F"', 'ssh = ["-o", "UserKnownHostsFile=/dev/null", "-F"'), "Host key verification failed"),
        (('ipv4 = "10.88.0.1"', 'ipv4 = "10.88.0.99"'), "10.88.0.99 does not answer ARP on lab0"),
        (('interface = "lab0"', 'interfaces = "lab0"'), "unknown key 'interfaces'; did you mean interface?"),
        (("tester = ", "testers = "), "unknown key 'testers'; did you mean tester?"),
        (("10.88.1.1-10.88.1.80", "10.88.1.1-x"), "is no range of addresses"),
    ],
    ids=[
        "tester-is-target", "target-is-tester", "public", "multicast", "interface", "name", "python", "host-key",
        "silent", "typo", "typo-of-tester", "range",
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_lab_host_is_one_line(hosts: Hosts, change: tuple[str, str], line: str) -> None:
    assert change[0] in SSH
    ran = hosts.run(SSH.replace(*change), name="wrong")
    assert ran.code == pytest.ExitCode.USAGE_ERROR, ran.out
    assert line in ran.out
    assert "Traceback" not in ran.out


def test_an_address_in_use_is_found_before_anything_is_sent(hosts: Hosts) -> None:
    take = (
        "with IPRoute() as ip: ip.addr('{}', index=ip.link_lookup(ifname='lab1')[0], address='10.88.1.7', prefixlen=32)"
    )
    hosts.on_the_host(take.format("add"))
    try:
        ran = hosts.run(SSH, name="taken")
    finally:
        hosts.on_the_host(take.format("del"))
    assert ran.code == pytest.ExitCode.USAGE_ERROR, ran.out
    assert "tester address 10.88.1.7 is in use by " in ran.out


def test_a_host_that_reboots_in_mid_case_is_an_error_not_a_violation(hosts: Hosts, tmp_path: Path) -> None:
    cases = Suite(tmp_path).write(CASES_THAT_WAIT).folder / "test_cases.py"
    results = hosts.folder / "rebooted" / "results.jsonl"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(hosts.run, SSH, cases=str(cases), name="rebooted")
        wait(lambda: results.exists() and len(results.read_text().splitlines()) >= len(QUICK))
        hosts.reboot()
        ran = running.result()
    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    assert {name for name, verdict in ran.verdicts.items() if verdict == "conforms"} == QUICK
    assert {verdict for name, verdict in ran.verdicts.items() if name not in QUICK} == {"error"}, ran.out
    assert len(ran.verdicts) == 18
    again = hosts.run(SSH, "-k", "quick", cases=str(cases), name="again")
    assert set(again.verdicts.values()) == {"conforms"}, again.out


def test_doctor_looks_at_a_lab_host(hosts: Hosts) -> None:
    ran = hosts.doctor(SSH)
    assert ran.code == 0, ran.out
    words = ["forwarding", "addresses", "ssh and agent", "interface", "tester's addresses", "target"]
    assert all(f" {word} " in ran.out for word in words), ran.out
    assert "nobody has 10.88.1.1 to 10.88.1.80" in ran.out
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
