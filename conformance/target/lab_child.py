"""The embedded lab's own process: network namespaces without names, joined by a veth pair.

It is started as a script with two arguments: the descriptor of a SOCK_SEQPACKET channel and its parent's process id.
For each request on the channel (one JSON object a message) it forks a child that makes two namespaces and a veth pair,
hands back the packet sockets of the tester's end and the agent's channel (SCM_RIGHTS), and becomes the agent on the
target's end. Nothing here has a name outside, so everything vanishes with its last process, even after SIGKILL.

A request with a `command` is for a stack that is a process of its own: it stays in our own namespace, in which there is
nothing (one for each would take longer than the stack's start), and gets the agent's channel and one end of a wire, a pair of
sockets that keeps frames apart (see docs/agent-protocol.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import errno
import fcntl
import json
import os
import re
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWNS = 0x10000000, 0x40000000, 0x00020000
_PR_SET_PDEATHSIG = 1
_SIOCETHTOOL = 0x8946
# ETHTOOL_SRXCSUM, STXCSUM, SSG, STSO, SGSO, SGRO (linux/ethtool.h): each would let a host put lies on the wire.
_OFFLOADS = (0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C)
_IFA_F_NODAD = 0x02
_SETTING = re.compile(r"net(?:\.[A-Za-z0-9_-]+)+")
_LINK_FD = 3
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _die_with_parent(parent: int) -> None:
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _be_privileged() -> None:
    """Go into an empty network namespace; where we may not, as root of a user namespace, which is enough for ours."""
    try:
        _call("unshare", _CLONE_NEWNET)
    except PermissionError:
        _own_user_namespace()
        _call("unshare", _CLONE_NEWNET)


def _own_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    _call("unshare", _CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


class _Refused(OSError):
    """A setting that the kernel does not take."""

    def __init__(self, name: str, value: str, why: str) -> None:
        super().__init__(f"sysctl {name} = {value}: {why}")
        self.reply = {"setting": name, "value": value, "why": why}


def _sysctl(name: str, value: str) -> None:
    if not _SETTING.fullmatch(name) or not value.isprintable():
        raise OSError(errno.EINVAL, f"not a setting of the network: {name!r} = {value!r}")
    Path("/proc/sys", *name.split(".")).write_text(value)


def _set(name: str, value: str) -> None:
    """Write a setting that somebody asked for. Raises _Refused."""
    try:
        _sysctl(name, value)
    except FileNotFoundError:
        there = [".".join(path.relative_to("/proc/sys").parts) for path in Path("/proc/sys/net").rglob("*")]
        near = difflib.get_close_matches(name, there, n=1)
        why = "this kernel has no such setting" + (f"; did you mean {near[0]}?" if near else "")
        raise _Refused(name, value, why) from None
    except OSError as error:
        raise _Refused(name, value, str(error.strerror)) from None


def _offloads_off(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in _OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(sock, _SIOCETHTOOL, request)


def _packet_socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    sock.bind((interface, 0))
    return sock


def _lab(request: dict[str, Any]) -> tuple[dict[str, Any], list[socket.socket]]:
    """Make the namespaces of one lab; this process ends up in the target's. Returns what to say, and what to hand over."""
    _call("unshare", _CLONE_NEWNET)
    with Path("/proc/self/ns/net").open() as target:
        _call("unshare", _CLONE_NEWNET)
        # The tester's end has no address on any kernel, and no kernel of its own that talks.
        for scope in ("all", "default"):
            if Path("/proc/sys/net/ipv6").exists():
                _sysctl(f"net.ipv6.conf.{scope}.disable_ipv6", "1")
        with IPRoute() as ip:
            size = {"mtu": request["mtu"]} if "mtu" in request else {}
            peer = {"ifname": "target0", "net_ns_fd": target.fileno(), **size}
            ip.link("add", ifname="tester0", kind="veth", peer=peer, **size)
            index = ip.link_lookup(ifname="tester0")[0]
            ip.link("set", index=index, state="up")
            tester_mac = str(ip.get_links(index)[0].get_attr("IFLA_ADDRESS"))
        sockets = [_packet_socket("tester0") for _ in range(request.get("sockets", 1))]
        _call("setns", target.fileno(), _CLONE_NEWNET)
    if Path("/proc/sys/net/ipv6").exists():
        for name, value in (("accept_ra", "0"), ("router_solicitations", "0"), ("accept_dad", "0")):
            _sysctl(f"net.ipv6.conf.default.{name}", value)
            _sysctl(f"net.ipv6.conf.target0.{name}", value)
    with IPRoute() as ip:
        index = ip.link_lookup(ifname="target0")[0]
        for address in request["addresses"]:
            host, length = address.split("/")
            flags = {"flags": _IFA_F_NODAD} if ":" in host else {}
            ip.addr("add", index=index, address=host, prefixlen=int(length), **flags)
        for interface in (index, 1):
            ip.link("set", index=interface, state="up")
        target_mac = str(ip.get_links(index)[0].get_attr("IFLA_ADDRESS"))
    _offloads_off("target0")
    for name, value in request.get("sysctl", {}).items():
        _set(name, str(value))
    granted = {}
    for name, value in request.get("wishes", {}).items():
        with contextlib.suppress(OSError):
            _sysctl(name, value)
            granted[name] = value
    answer = {"tester_mac": tester_mac, "target_mac": target_mac, "pid": os.getpid(), "granted": granted}
    return answer, sockets


def _become_agent(channel: socket.socket, request: dict[str, Any]) -> None:
    """One lab in this forked process: make it, hand it over, and be its agent from then on."""
    command = request.get("command")
    wire = None
    try:
        if command:
            wire, tester_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            answer, sockets = {"pid": os.getpid()}, [tester_end]
        else:
            command = [sys.executable, "-I", "-S", *request["agent"]]
            answer, sockets = _lab(request)
    except (OSError, IndexError) as error:
        refused = error.reply if isinstance(error, _Refused) else {}
        channel.send(json.dumps({"error": str(error), "number": request["number"], **refused}).encode())
        os._exit(1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    handed = [theirs.fileno(), *(sock.fileno() for sock in sockets)]
    socket.send_fds(channel, [json.dumps({**answer, "number": request["number"]}).encode()], handed)
    os.dup2(ours.fileno(), 0)
    os.dup2(ours.fileno(), 1)
    os.environ.update(request.get("environment", {}))
    if wire is not None:
        os.dup2(wire.fileno(), _LINK_FD)
        os.set_inheritable(_LINK_FD, True)
        os.environ["TCP_CONFORMANCE_LINK_FD"] = str(_LINK_FD)
    os.closerange(3 if wire is None else _LINK_FD + 1, 256)
    os.execv(command[0], command)


def main(descriptor: int, parent: int) -> None:
    """Serve requests until the channel closes."""
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    channel = socket.socket(fileno=descriptor)
    try:
        _be_privileged()
    except OSError as error:
        channel.send(json.dumps({"error": f"no user namespace: {error}"}).encode())
        return
    channel.send(json.dumps({"ready": True}).encode())
    me = os.getpid()
    while message := channel.recv(1 << 16):
        if os.fork() == 0:
            _die_with_parent(me)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become_agent(channel, json.loads(message))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
