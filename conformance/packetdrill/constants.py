"""The numbers behind a script's names, as Linux has them on 64-bit machines (linux/socket.h, tcp.h, in.h, errqueue.h)."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
from types import ModuleType

from conformance.judge import NotApplicable
from conformance.packetdrill.syntax import Anything, Expression, Flags, Function, Symbol

# Names that Python's own modules lack, or that some of them lack.
_LINUX = {
    "SOL_SOCKET": 1, "SOL_TCP": 6, "SOL_IP": 0, "SOL_IPV6": 41, "NULL": 0,
    "SO_TIMESTAMPING": 37, "SO_MAX_PACING_RATE": 47, "SO_INCOMING_CPU": 49, "SO_ZEROCOPY": 60, "SO_RCVTIMEO": 20,
    "SO_SNDTIMEO": 21, "SO_RCVBUFFORCE": 33, "SO_SNDBUFFORCE": 32, "SO_BUSY_POLL": 46, "SO_TXTIME": 61,
    "IP_MTU_DISCOVER": 10, "IP_RECVERR": 11, "IP_RECVTTL": 12, "IP_RECVTOS": 13, "IP_MTU": 14, "IP_FREEBIND": 15,
    "IP_MINTTL": 21, "IP_PMTUDISC_DONT": 0, "IP_PMTUDISC_WANT": 1, "IP_PMTUDISC_DO": 2, "IP_PMTUDISC_PROBE": 3,
    "IPV6_MTU_DISCOVER": 23, "IPV6_MTU": 24, "IPV6_RECVERR": 25, "IPV6_MINHOPCOUNT": 73,
    "TCP_NODELAY": 1, "TCP_MAXSEG": 2, "TCP_CORK": 3, "TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6,
    "TCP_SYNCNT": 7, "TCP_LINGER2": 8, "TCP_DEFER_ACCEPT": 9, "TCP_WINDOW_CLAMP": 10, "TCP_INFO": 11, "TCP_QUICKACK": 12,
    "TCP_CONGESTION": 13, "TCP_MD5SIG": 14, "TCP_THIN_LINEAR_TIMEOUTS": 16, "TCP_THIN_DUPACK": 17,
    "TCP_USER_TIMEOUT": 18, "TCP_QUEUE_SEQ": 21, "TCP_FASTOPEN": 23, "TCP_TIMESTAMP": 24, "TCP_NOTSENT_LOWAT": 25,
    "TCP_CC_INFO": 26, "TCP_SAVE_SYN": 27, "TCP_SAVED_SYN": 28, "TCP_FASTOPEN_CONNECT": 30, "TCP_ULP": 31,
    "TCP_FASTOPEN_KEY": 33, "TCP_FASTOPEN_NO_COOKIE": 34, "TCP_ZEROCOPY_RECEIVE": 35, "TCP_INQ": 36, "TCP_CM_INQ": 36,
    "TCP_TX_DELAY": 37, "MSG_ZEROCOPY": 0x4000000, "MSG_FASTOPEN": 0x20000000, "MSG_EOR": 0x80,
    "SCM_TIMESTAMPING": 37, "SCM_TSTAMP_SND": 0, "SCM_TSTAMP_SCHED": 1, "SCM_TSTAMP_ACK": 2,
    **{f"SOF_TIMESTAMPING_{name}": 1 << bit for bit, name in enumerate((
        "TX_HARDWARE", "TX_SOFTWARE", "RX_HARDWARE", "RX_SOFTWARE", "SOFTWARE", "SYS_HARDWARE", "RAW_HARDWARE", "OPT_ID",
        "TX_SCHED", "TX_ACK", "OPT_CMSG", "OPT_TSONLY", "OPT_STATS", "OPT_PKTINFO", "OPT_TX_SWHW", "BIND_PHC", "OPT_ID_TCP",
    ))},
    "SO_EE_ORIGIN_NONE": 0, "SO_EE_ORIGIN_LOCAL": 1, "SO_EE_ORIGIN_ICMP": 2, "SO_EE_ORIGIN_ICMP6": 3,
    "SO_EE_ORIGIN_TIMESTAMPING": 4, "SO_EE_ORIGIN_ZEROCOPY": 5, "SO_EE_CODE_ZEROCOPY_COPIED": 1,
    "EPOLL_CTL_ADD": 1, "EPOLL_CTL_DEL": 2, "EPOLL_CTL_MOD": 3, "EPOLLEXCLUSIVE": 1 << 28, "POLLRDHUP": 0x2000,
    "SIOCINQ": 0x541B, "FIONREAD": 0x541B, "SIOCOUTQ": 0x5411, "TIOCOUTQ": 0x5411, "SIOCOUTQNSD": 0x894B,
    "SPLICE_F_MOVE": 1, "SPLICE_F_NONBLOCK": 2, "SPLICE_F_MORE": 4, "SPLICE_F_GIFT": 8,
}  # fmt: skip
_MODULES: tuple[ModuleType, ...] = (socket, select, fcntl, os, errno)


def constant(name: str) -> int:
    """Return the number of a name. Raises NotApplicable for one that is not known here."""
    value = _LINUX.get(name)
    for module in _MODULES:
        if value is None and name.isupper():
            value = getattr(module, name, None)
    if not isinstance(value, int):
        raise NotApplicable(f"{name} is no constant that is known here")
    return int(value)


def number(value: Expression) -> int:
    """Return what a whole expression comes to: a number, a name, or several joined by `|`. Raises NotApplicable."""
    match value:
        case int():
            return value
        case Symbol(name):
            return constant(name)
        case Flags(parts):
            joined = 0
            for part in parts:
                joined |= number(part)
            return joined
        case Function("htons" | "htonl" | "ntohs" | "ntohl", (part,)):
            return number(part)
        case Anything():
            raise NotApplicable("`...` where a call needs a number")
    raise NotApplicable("a value that is no number where a call needs one")
