"""What nothing is ever sent to, unless a lab file means it."""

from __future__ import annotations

import pytest

from conformance.target import HarnessFault
from conformance.target.safety import addresses, refusal


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("127.0.0.1", "the loopback of this machine"),
        ("127.255.0.9", "the loopback of this machine"),
        ("::1", "the loopback of this machine"),
        ("0.0.0.0", "no address of a host"),
        ("::", "no address of a host"),
        ("8.8.8.8", "public"),
        ("2001:4860:4860::8888", "public"),
        ("240.0.0.1", "reserved"),
        ("192.0.2.1", "reserved"),
        ("::ffff:8.8.8.8", ""),
        ("::ffff:127.0.0.1", ""),
        ("::ffff:10.0.0.1", ""),
    ],
)
def test_what_reaches_beyond_a_lab_is_refused_unless_it_is_meant(address: str, why: str) -> None:
    said = refusal(address)
    assert said is not None
    assert said.startswith(f"{address} is {why}")
    assert said.endswith(f'; if it is meant, say allow = ["{address}"]')
    assert refusal(address, [address]) is None
    assert refusal(address, ["10.0.0.1", "fd00::1"]) is not None


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.0.9", "192.168.1.1", "198.18.0.1", "169.254.3.4", "fd00::1", "fe80::1"]
)
def test_what_belongs_to_a_lab_is_not_refused(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("10.0.0.9-10.0.0.1", "is no range of addresses"),
        ("10.0.0.1-fd00::1", "is no range of addresses"),
        ("x", "is no range of addresses"),
        ("10.0.0.0-10.1.0.0", "are 65537 addresses: 4096 are the most"),
        ("fd00::-fd00::ffff:ffff", "are 4294967296 addresses: 4096 are the most"),
    ],
)
def test_ranges_that_are_none(text: str, line: str) -> None:
    with pytest.raises(HarnessFault, match=line):
        addresses(text)
