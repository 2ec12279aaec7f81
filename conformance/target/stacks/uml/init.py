"""The first process in user-mode Linux: sets the kernel up, then starts the agent and passes its lines to the outside.

Runs on the host's own root (hostfs, read-only), with the standard library only. Lines go over the first serial port. It
loses what comes faster than it is read, so the outside (run.py) ends each piece with an octet that no line has, and waits
until that octet comes back. What is too much for one piece it leaves in a file, whose name it sends after another octet.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import tty
from pathlib import Path

_READ, _FILE = b"\x06", b"\x05"
_SYS_FINIT_MODULE = 313  # x86-64
_POWER_OFF = 0x4321FEDC
# ETHTOOL_SRXCSUM, STXCSUM, SSG, STSO, SGSO, SGRO (linux/ethtool.h): each would join or cut segments, or leave sums out.
_SIOCETHTOOL, _OFFLOADS = 0x8946, (0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C)
_SIOCGIFINDEX, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _IFF_UP = 0x8933, 0x8914, 0x8916, 0x891C, 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _called(what: str, result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _load(module: str) -> None:
    """Load a module of this kernel with what it needs."""
    folder = Path("/usr/lib/uml/modules", os.uname().release)
    for line in (folder / "modules.dep").read_text().splitlines():
        name, _, needs = line.partition(":")
        if name.endswith(f"/{module}.ko"):
            for path in (*reversed(needs.split()), name):
                with (folder / path).open("rb") as file:
                    _called(path, _LIBC.syscall(_SYS_FINIT_MODULE, file.fileno(), b"", 0))
            return
    raise FileNotFoundError(f"the kernel has no module {module}")


def _sysctl(name: str, value: str) -> None:
    Path("/proc/sys", *name.split(".")).write_text(value)


def _configure(interface: str) -> None:
    """Give the interface its addresses, and switch it and the loopback on."""
    for name, value in (("accept_ra", "0"), ("router_solicitations", "0"), ("accept_dad", "0")):
        for scope in ("default", interface):
            _sysctl(f"net.ipv6.conf.{scope}.{name}", value)
    # What the kernel remembers of a peer would carry over from one case to the next.
    _sysctl("net.ipv4.tcp_no_metrics_save", "1")
    encoded = interface.encode()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six,
    ):
        for command in _OFFLOADS:
            off = ctypes.create_string_buffer(struct.pack("II", command, 0))
            with contextlib.suppress(OSError):  # what this driver lacks
                fcntl.ioctl(four, _SIOCETHTOOL, struct.pack("16sP16x", encoded, ctypes.addressof(off)))
        host, length = os.environ["TCP_CONFORMANCE_IPV4"].split("/")
        mask = struct.pack(">I", (1 << 32) - (1 << 32 - int(length)))
        for call, address in ((_SIOCSIFADDR, socket.inet_aton(host)), (_SIOCSIFNETMASK, mask)):
            fcntl.ioctl(four, call, struct.pack("16sHH4s8x", encoded, socket.AF_INET, 0, address))
        for device in (encoded, b"lo"):
            fcntl.ioctl(four, _SIOCSIFFLAGS, struct.pack("16sH14x", device, _IFF_UP))
        answer = fcntl.ioctl(four, _SIOCGIFINDEX, struct.pack("16sI12x", encoded, 0))
        (index,) = struct.unpack_from("I", answer, 16)
        host, length = os.environ["TCP_CONFORMANCE_IPV6"].split("/")
        fcntl.ioctl(
            six, _SIOCSIFADDR, struct.pack("=16sIi", socket.inet_pton(socket.AF_INET6, host), int(length), index)
        )


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def main(agent: str) -> None:
    """Serve until the agent ends."""
    _called("mount /proc", _LIBC.mount(b"proc", b"/proc", b"proc", 0, None))
    _load("ipv6")
    _configure("vec0")
    line = os.open("/dev/ttyS0", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    ours, theirs = socket.socketpair()
    with subprocess.Popen([sys.executable, "-I", "-S", agent], stdin=theirs.fileno(), stdout=theirs.fileno()):
        theirs.close()
        piece = b""
        while True:
            ready, _, _ = select.select([line, ours.fileno()], [], [])
            if line in ready:
                piece += os.read(line, 4096)
                if piece.endswith(_READ):
                    asked = piece[:-1]
                    ours.sendall(Path(os.fsdecode(asked[1:-1])).read_bytes() if asked.startswith(_FILE) else asked)
                    piece = b""
                    _write(line, _READ)
            if ours.fileno() in ready:
                output = ours.recv(4096)
                if not output:
                    return
                _write(line, output)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    finally:
        _LIBC.reboot(_POWER_OFF)
