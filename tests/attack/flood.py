"""`python -m tests.attack.flood PID KIND SECONDS`: flood the tester from the namespace of the target's process PID.

Says how many frames it has sent. The kinds: `arp` (requests from many addresses), `foreign` (TCP between two strangers),
`long` (foreign frames of nearly 64 kB, where the interface takes them).
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
import time

_CLONE_NEWNET = 0x40000000
_LONG = 60_000


def _interface() -> str:
    """Return the namespace's interface that is not the loopback's."""
    names = [name for _, name in socket.if_nameindex() if name != "lo" and not name.startswith("control")]
    return names[0]


def _frames(kind: str, own: bytes) -> list[bytes]:
    """Return the frames that are sent again and again."""
    if kind == "arp":
        head = b"\xff" * 6 + own + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
        strangers = [bytes((10, 99, number >> 8, number & 255)) for number in range(256)]
        return [head + own + address + bytes(6) + bytes((10, 98, 0, 1)) for address in strangers]
    size = _LONG if kind == "long" else 20
    total = 20 + 20 + size
    frames = []
    for number in range(64):
        ip = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, total, number, 0, 64, 6, 0, bytes((10, 99, 0, 1)), bytes((10, 99, 0, 2))
        )
        tcp = struct.pack("!HHIIBBHHH", 1000 + number, 80, number, 0, 0x50, 0x10, 65535, 0, 0)
        frames.append(b"\xff" * 6 + own + b"\x08\x00" + ip + tcp + bytes(size))
    return frames


def main() -> None:
    """Flood."""
    pid, kind, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None).setns(space, _CLONE_NEWNET):
        sys.exit("can't enter the namespace")
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((_interface(), 0))
    own = wire.getsockname()[4]
    frames, sent, end_s = _frames(kind, own), 0, time.monotonic() + seconds
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{sent} frames"))
    try:
        while time.monotonic() < end_s:
            for frame in frames:
                try:
                    wire.send(frame)
                    sent += 1
                except BlockingIOError:
                    pass
                except OSError as error:
                    if error.errno == 90 and kind == "long":  # EMSGSIZE: the longest that the interface takes
                        frames = [frame[: 14 + 1500] for frame in frames]
                        break
                    raise
            time.sleep(0.005 if kind == "arp" else 0)
    except OSError:
        pass  # the lab has ended
    print(f"{sent} frames", file=sys.stderr)


if __name__ == "__main__":
    main()
