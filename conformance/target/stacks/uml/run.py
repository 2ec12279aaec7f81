"""Starts user-mode Linux as a target: its kernel is the stack, and the agent runs inside (init.py).

The kernel gets the link as its network interface, and its first serial port is our standard input and output. It has
process ids of its own, so that nothing of it is left behind however this process ends, and its files are in memory.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

_KERNEL = "/usr/bin/linux.uml"
_FOLDER = "/run"
_MEMORY = "192M"
_READ, _FILE, _PIECE = b"\x06", b"\x05", 2048  # see init.py
_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int | bytes | None) -> None:
    if getattr(_LIBC, name)(*arguments):
        number = ctypes.get_errno()
        sys.exit(f"user-mode Linux: {name}: {os.strerror(number)}")


def _start(agent: str, serial: socket.socket) -> int:
    """Start the kernel; the process id of its first process."""
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWPID)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call("mount", b"none", _FOLDER.encode(), b"tmpfs", 0, None)
    child = os.fork()
    if child == 0:
        _become_kernel(agent, serial)
    return child


def _become_kernel(agent: str, serial: socket.socket) -> NoReturn:
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    serial.set_inheritable(True)
    link, mac = os.environ["TCP_CONFORMANCE_LINK_FD"], os.environ["TCP_CONFORMANCE_MAC"]
    command = [_KERNEL, f"mem={_MEMORY}", "root=none", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"]
    command += [f"uml_dir={_FOLDER}", "con=null", "con0=null,null", f"ssl0=fd:{serial.fileno()}"]
    command += [f"vec0:transport=fd,fd={link},depth=256,gro=0,mac={mac}"]
    # What the kernel does not know it gives to its first process, as that process's environment and arguments.
    command += [f"{name}={os.environ[name]}" for name in ("TCP_CONFORMANCE_IPV4", "TCP_CONFORMANCE_IPV6")]
    init = str(Path(__file__).with_name("init.py"))
    command += [f"init={os.path.realpath(sys.executable)}", "--", "-I", "-S", init, agent]
    os.execve(_KERNEL, command, {"HOME": _FOLDER, "TMPDIR": _FOLDER})


def _relay(serial: socket.socket) -> None:
    """Pass lines both ways until one end is closed."""
    waiting, free, file = bytearray(), True, Path(_FOLDER, "requests")
    while True:
        ready, _, _ = select.select([0, serial.fileno()], [], [])
        if 0 in ready:
            requests = os.read(0, 1 << 16)
            if not requests:
                return
            waiting += requests
        if serial.fileno() in ready:
            output = serial.recv(1 << 16)
            if not output:
                return
            if _READ in output:
                free = True
                file.unlink(missing_ok=True)
            output = output.replace(_READ, b"")
            while output:
                output = output[os.write(1, output) :]
        if waiting and free:
            piece = bytes(waiting)
            if len(piece) > _PIECE:
                file = file.with_suffix(f".{time.monotonic_ns()}")  # under its old name it may be known as it was
                file.write_bytes(piece)
                piece = _FILE + bytes(file) + b"\n"
            serial.sendall(piece + _READ)
            waiting.clear()
            free = False


def main(agent: str) -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ours, theirs = socket.socketpair()
    kernel = _start(agent, theirs)
    theirs.close()
    try:
        _relay(ours)
    finally:
        os.kill(kernel, signal.SIGKILL)
        os.waitpid(kernel, 0)


if __name__ == "__main__":
    main(sys.argv[1])
