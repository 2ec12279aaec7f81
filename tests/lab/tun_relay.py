"""Join two network namespaces, those of two processes, by a TUN interface in each, `layer3` in both.

Run as a script with both processes' ids: the second namespace is the host's, and gets the addresses. Ends with its input.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import sys

from pyroute2 import IPRoute

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_NAME, _MTU = "layer3", 1500
HOST = ("10.99.0.1/16", "fd99::1/64")


def made_in(process: str, addresses: tuple[str, ...]) -> int:
    """Make a TUN in the process's namespace and bring it up; return what the packets are read from and written to."""
    space = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(space, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _NAME.encode(), _IFF_TUN | _IFF_NO_PI))
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=_NAME)[0]
        for address in addresses:
            host, length = address.split("/")
            ip.addr("add", index=index, address=host, prefixlen=int(length), **({"flags": 2} if ":" in host else {}))
        ip.link("set", index=index, state="up", mtu=_MTU)
    return tun


def main(tester: str, host: str) -> None:
    """Carry packets both ways until the input ends."""
    ends = [made_in(tester, ()), made_in(host, HOST)]
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([*ends, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        for here, there in (ends, ends[::-1]):
            if here in ready:
                os.write(there, os.read(here, 65536))


if __name__ == "__main__":
    main(*sys.argv[1:])
