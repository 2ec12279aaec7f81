"""Target files: what they may say, and the one line that says what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.target import lab_child
from conformance.target.load import TargetFileError, load_target

TWO = """
[[target]]
name = "first"
kind = "netns"

[[target]]
name = "second"
kind = "netns"
[target.wire]
loss = 0.01
"""


SETTINGS = 'kind = "netns"\n[sysctl]\n'
BLACK_BOX = """
kind = "blackbox"
interface = "lab0"
ipv4 = "10.88.0.1"
tester = ["10.88.1.1-10.88.1.80"]
closed = 81
[open]
echo = 7
"""


def _file(folder: Path, text: str) -> str:
    path = folder / "lab.toml"
    path.write_text(text)
    return str(path)


def test_a_list_of_targets_has_one_for_each_worker(tmp_path: Path) -> None:
    path = _file(tmp_path, TWO)
    assert [load_target(path, number).name for number in (0, 1)] == ["first", "second"]
    assert load_target(path, 1).wire.loss == 0.01
    with pytest.raises(TargetFileError, match="lists 2 targets, one for each worker: say -n 2 at most"):
        load_target(path, 2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('kind = "netz"', "lab.toml:1: kind 'netz' is not known; there is netns, stack, ssh, blackbox"),
        ('\nprofil = "linux"', "lab.toml:2: unknown key 'profil'; did you mean profile?"),
        ('kind = "netns"\n[wire]\nlost = 0.1', "lab.toml:3: wire: unknown key 'lost'; known are loss, reorder, delay"),
        ('kind = "netns"\n[wire]\nloss = 5', "lab.toml:3: wire: loss must be a number from 0 to below 1"),
        ('kind = "ssh"\nhost = "a"', "lab.toml:1: interface is missing: a target of kind ssh needs it"),
        (TWO.replace('kind = "netns"\n[', 'kin = "netns"\n['), "lab.toml:8: unknown key 'kin'; did you mean kind?"),
        ("[target]\nname = 3", "a file of several targets has [[target]] and nothing else"),
        ("target = [1]", "a file of several targets has [[target]] and nothing else"),
        ("name = ", "lab.toml: not TOML: "),
        ('kind = "netns"\nkind = "netns"', "lab.toml: not TOML: Cannot overwrite a value (at "),
        ("kind = []", "lab.toml:1: kind [] is not known"),
        ('kind = "netns"\nname = "a\\u001b[2J"', "lab.toml:2: name must be one line without control characters"),
        (f"{SETTINGS}'net./tmp/x' = 1", "lab.toml:3: sysctl 'net./tmp/x' is not a setting of the network"),
        (f"{SETTINGS}'net../../kernel/x' = 1", "lab.toml:3: sysctl 'net../../kernel/x' is not a setting"),
        (f"{SETTINGS}'net.ipv4..x' = 1", "lab.toml:3: sysctl 'net.ipv4..x' is not a setting"),
        (f"{SETTINGS}'kernel.panic' = 1", "lab.toml:3: sysctl 'kernel.panic' is not a setting of the network"),
        (f"{SETTINGS}'net.ipv4.tcp_sack' = true", "lab.toml:3: sysctl net.ipv4.tcp_sack must be a whole number or a"),
        (
            f"{SETTINGS}'net.ipv4.tcp_sack' = \"1\\n2\"",
            "lab.toml:3: sysctl net.ipv4.tcp_sack must be a whole number or",
        ),
        (f"{SETTINGS}'net.a' = 1\nnet.a = 1", "lab.toml:3: sysctl net.a stands there twice"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(TargetFileError) as raised:
        load_target(_file(tmp_path, text), 1 if "[[target]]" in text else 0)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            ("10.88.1.1-10.88.1.80", "10.50.0.0/28"),
            "lab.toml:5: tester: '10.50.0.0/28' is a network: name the addresses",
        ),
        (
            ('"10.88.1.1-10.88.1.80"', '"10.88.1.1-10.88.1.8", "10.88.1.8"'),
            "lab.toml:5: tester: '10.88.1.8' has addresses",
        ),
        (('.80"]', '.80"]\ngateway = ["10.0.0.1", "10.0.0.2"]'), "lab.toml:6: gateway has two of IPv4, 10.0.0.1 and"),
        (('.80"]', '.80", "fd88::1"]'), "lab.toml:5: tester has addresses of IPv6, of which the target has none"),
        (('"10.88.0.1"', '"10.88.1"'), "lab.toml:4: ipv4: '10.88.1' is no address"),
        (("closed = 81", "closed = 7"), "lab.toml:6: port 7 is said to be both closed and open (echo)"),
        (("closed = 81", "closed = 70000"), "lab.toml:6: closed: a port is a number from 1 to 65535"),
        (("echo = 7", "echo = 7\ndiscard = 7"), "lab.toml:8: echo: port 7 is named for two services"),
        (("echo = 7", "ecco = 7"), "lab.toml:8: open: no service is called 'ecco'"),
        (("[open]", "[open]\n[open]"), "lab.toml: not TOML: "),
    ],
)
def test_what_is_wrong_with_a_lab_host_is_one_line_with_its_place(
    tmp_path: Path, change: tuple[str, str], line: str
) -> None:
    assert change[0] in BLACK_BOX
    with pytest.raises(TargetFileError) as raised:
        load_target(_file(tmp_path, BLACK_BOX.replace(*change)))
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("control", "line"),
    [
        ('control = "10.88.0.1"', "control must be an address and a port, as 10.0.0.7:10000, not '10.88.0.1'"),
        ('control = "10.88.0.1:0"', "control must be an address and a port"),
        ('control = "ecu:10000"', "control: 'ecu' is no address"),
        ('control = "8.8.8.8:53"', "nothing is sent: 8.8.8.8 is public"),
        ('control = "[fd88::1]:10000"\ntransport = "sctp"', "transport must be udp or tcp, it is 'sctp'"),
        ('control = "10.88.0.1:1"\nservice = 65536', "service is a number of 16 bits, not 65536"),
        ("", "control is missing: a target of kind testability needs it"),
    ],
)
def test_what_is_wrong_with_an_upper_tester_is_one_line(tmp_path: Path, control: str, line: str) -> None:
    text = BLACK_BOX.replace("blackbox", "testability").partition("[open]")[0]
    with pytest.raises(TargetFileError) as raised:
        load_target(_file(tmp_path, text + control))
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_all_ranges_of_a_family_are_the_testers(tmp_path: Path) -> None:
    two = BLACK_BOX.replace('"10.88.1.1-10.88.1.80"', '"10.88.1.1-10.88.1.2", "10.88.9.9"')
    target = load_target(_file(tmp_path, two))
    assert [str(address) for address in target.pool(4)] == ["10.88.1.1", "10.88.1.2", "10.88.9.9"]


def test_settings_may_be_written_with_dots(tmp_path: Path) -> None:
    target = load_target(_file(tmp_path, SETTINGS + "net.ipv4.tcp_sack = 0\n'net.ipv4.tcp_mem' = '1 2 3'"))
    assert target.settings == {"net.ipv4.tcp_sack": "0", "net.ipv4.tcp_mem": "1 2 3"}


@pytest.mark.parametrize("name", ["net./tmp/x", "/tmp/x", "net.ipv4/../../x", "net.", "net", "kernel.panic", "net.a\n"])
def test_the_lab_writes_no_file_but_a_setting_of_the_network(name: str) -> None:
    with pytest.raises(OSError, match="not a setting of the network"):
        lab_child._sysctl(name, "1")
