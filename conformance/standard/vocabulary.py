"""List the words of a cell that are neither stimulus nor response: its profile, and what it needs."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Final

PROFILES: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "base": "RFC 9293 without its options",
        "5961": "the mitigations of RFC 5961, which RFC 9293 takes up",
        "rfc793-legacy": "what RFC 793 said and RFC 9293 still allows where RFC 5961 is not implemented",
        "mls": "multi-level security: compartments on segments",
        "reuse": "a new SYN reopens TIME-WAIT by its sequence number (MAY-2)",
        "6191": "a new SYN reopens TIME-WAIT by its timestamp (SHLD-4, RFC 6191)",
        "1337": "RSTs are ignored in TIME-WAIT (RFC 1337, F1)",
        "tfo": "data on the SYN (RFC 7413)",
        "half-duplex-close": "after CLOSE nothing is read any more (MAY-1)",
    }
)
"""The document, or the option of it, that a cell belongs to."""

NEEDS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "app": "the application makes calls on the way, so an agent is needed",
        "state": "the outcome shows in the target's own word alone",
        "zero-window": "the application reads nothing until the target's receive window is closed",
        "outstanding": "the target has sent data that is not acknowledged yet",
        "unread": "data was received that the application has not read",
        "pending": "the application has sent data that cannot go out yet",
        "reader-gone": "the application has closed the descriptor, not only its sending side",
        "peer-window-zero": "the tester offers a window of zero while the application sends",
        "keepalive": "keep-alives are switched on with short intervals",
        "user-timeout": "a user timeout is set (RFC 5482)",
        "r2": "the number of retransmissions is set low",
        "timestamps": "the connection was opened with the Timestamps option",
        "no-timestamps": "the connection was opened without the Timestamps option",
        "group-address": "a segment to a broadcast or multicast address can be sent",
        "wait": "the case takes as long as a timer of the target",
    }
)
"""The needs of a cell, of lab or target, beyond an open port."""
