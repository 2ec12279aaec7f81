"""A lab host for tests: a network namespace with the kernel's stack, an OpenSSH server on a control veth, and open ports.

Run as a script: it makes a namespace for the tester and one for the host, joins both by two veth pairs (`lab0` and `control0`
on the tester's side), starts what listens on the host, says `ready`, and ends all of it when its input ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from pyroute2 import IPRoute

_CLONE_NEWNET, _PR_SET_PDEATHSIG = 0x40000000, 1
_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C)  # ETHTOOL_SRXCSUM, STXCSUM, SSG, STSO, SGSO, SGRO (linux/ethtool.h)
_LIBC = ctypes.CDLL(None, use_errno=True)
HOST = {"lab1": ("10.88.0.1/16", "fd88::1/64"), "control1": ("192.168.77.1/24",)}
TESTER = {"lab0": (), "control0": ("192.168.77.2/24",)}


def _unshare() -> None:
    if _LIBC.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _up(interface: str, addresses: tuple[str, ...]) -> None:
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=interface)[0]
        for address in addresses:
            host, length = address.split("/")
            ip.addr("add", index=index, address=host, prefixlen=int(length), **({"flags": 2} if ":" in host else {}))
        for link in (index, 1):
            ip.link("set", index=link, state="up")
    set_offloads(interface, on=False)


def set_offloads(interface: str, *, on: bool) -> None:
    """Have the interface finish checksums, cut segments and merge them, or do none of it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in _OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, on))
            fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), ctypes.addressof(value)))


def _services() -> None:
    """echo and discard, each connection in a thread."""

    def serve(port: int, answer: bool) -> None:
        with socket.create_server(("::", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True) as listener:
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer_requests, args=(connection, answer), daemon=True).start()

    def answer_requests(connection: socket.socket, answer: bool) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    if answer:
                        connection.sendall(data)
            except OSError:
                pass

    for port, answer in ((7, True), (1009, False)):
        threading.Thread(target=serve, args=(port, answer), daemon=True).start()


def main(folder: Path) -> None:
    """Make both; the ssh keys are in the folder."""
    _unshare()
    reader, writer = os.pipe()
    done, finished = os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        _unshare()
        os.write(writer, b"!")
        os.read(done, 1)  # the veth pairs are there
        for interface, addresses in HOST.items():
            _up(interface, addresses)
        Path("/proc/sys/net/ipv4/tcp_no_metrics_save").write_text("1")
        _services()
        sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config"), "-o", "ListenAddress=192.168.77.1"]
        log = (folder / "sshd.log").open("wb")
        Path("/run/sshd").mkdir(exist_ok=True)
        server = subprocess.Popen(sshd, stdout=log, stderr=log, preexec_fn=_end_with_parent)  # noqa: PLW1509 - no threads matter
        os.write(writer, b"!")
        server.wait()
        os._exit(0)
    os.read(reader, 1)
    child = os.open(next(iter(_children(parent))), os.O_RDONLY)
    with IPRoute() as ip:
        for ours, theirs in zip(TESTER, HOST, strict=True):
            ip.link("add", ifname=ours, kind="veth", peer={"ifname": theirs, "net_ns_fd": child})
    for interface, addresses in TESTER.items():
        _up(interface, addresses)
    os.write(finished, b"!")
    os.read(reader, 1)
    print("ready", flush=True)
    sys.stdin.read()


def _children(pid: int) -> list[str]:
    return [f"/proc/{one}/ns/net" for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
