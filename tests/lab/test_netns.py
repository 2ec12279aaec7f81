"""The embedded lab: what its namespaces are set to, whatever the machine is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from conformance.target import HarnessFault, SettingRefused, netns
from conformance.target.load import load_target
from conformance.target.netns import NetnsTarget


def test_congestion_control_is_the_labs_own(lab: None) -> None:
    """A machine may have chosen another."""

    async def taken(target: NetnsTarget) -> str:
        try:
            await target.open()
            reply = await target.app.call("sysctl_get", name="net.ipv4.tcp_congestion_control")
            assert target.settings["net.ipv4.tcp_congestion_control"] == reply["value"]
            return str(reply["value"])
        finally:
            await target.close()

    assert asyncio.run(taken(NetnsTarget())) == "reno"


def test_lab_does_without_a_setting_that_cannot_be_written(lab: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that the lab itself wants are left out of those that the run names."""
    monkeypatch.setattr(netns, "_SETTINGS", {"net.ipv4.no_such_setting": "1", "net.ipv4.tcp_no_metrics_save": "1"})

    async def settings() -> dict[str, str]:
        target = NetnsTarget()
        try:
            await target.open()
            return dict(target.settings)
        finally:
            await target.close()

    assert asyncio.run(settings()) == {"net.ipv4.tcp_no_metrics_save": "1"}


async def _refusal(target: NetnsTarget, sysctl: dict[str, str] | None = None) -> HarnessFault:
    """Return why a target, or one with other settings, does not open."""
    with pytest.raises(HarnessFault) as raised:
        try:
            await target.open()
            if sysctl:
                await target.alone(sysctl)
        finally:
            await target.close()
    return raised.value


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("tcp_sak = 1", "is refused: this kernel has no such setting; did you mean net.ipv4.tcp_sack?"),
        ("tcp_retries2 = 'x'", "is refused: Invalid argument"),
    ],
)
def test_setting_of_a_file_that_the_kernel_does_not_take_is_named_with_its_line(
    lab: None, tmp_path: Path, setting: str, line: str
) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(f'kind = "netns"\n[sysctl]\nnet.ipv4.{setting}\n')
    target = load_target(str(file))
    assert isinstance(target, NetnsTarget)
    message = str(asyncio.run(_refusal(target)))
    assert message.startswith(f"{file}:3: net.ipv4.tcp_")
    assert message.endswith(line)


def test_setting_of_a_case_that_the_kernel_does_not_take_is_refused_by_name(lab: None) -> None:
    refused = asyncio.run(_refusal(NetnsTarget(), {"net.ipv4.tcp_retries2": "x"}))
    assert isinstance(refused, SettingRefused)
    assert refused.name == "net.ipv4.tcp_retries2"
