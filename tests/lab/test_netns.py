"""The embedded lab: what its namespaces are set to, whatever the machine is."""

from __future__ import annotations

import asyncio

import pytest

from conformance.target import netns
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
    """What the lab itself wants is left out of what the run says of its settings."""
    monkeypatch.setattr(netns, "_SETTINGS", {"net.ipv4.no_such_setting": "1", "net.ipv4.tcp_no_metrics_save": "1"})

    async def settings() -> dict[str, str]:
        target = NetnsTarget()
        try:
            await target.open()
            return dict(target.settings)
        finally:
            await target.close()

    assert asyncio.run(settings()) == {"net.ipv4.tcp_no_metrics_save": "1"}
