"""Linux's struct tcp_info (linux/tcp.h) under the names that a script's code uses."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_OCTETS = ("state", "ca_state", "retransmits", "probes", "backoff", "options")
# What follows the first eight octets, in order: `q:` has 64 bits, `h:` 16, the others 32.
_WORDS = """rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent last_data_recv
last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans
q:pacing_rate q:max_pacing_rate q:bytes_acked q:bytes_received segs_out segs_in notsent_bytes min_rtt data_segs_in
data_segs_out q:delivery_rate q:busy_time q:rwnd_limited q:sndbuf_limited delivered delivered_ce q:bytes_sent
q:bytes_retrans dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash h:total_rto h:total_rto_recoveries
total_rto_time received_ce delivered_e1_bytes delivered_e0_bytes delivered_ce_bytes received_e1_bytes
received_e0_bytes received_ce_bytes"""
_SIZES = {"q": ("=Q", 8), "h": ("=H", 2), "": ("=I", 4)}
_STATES = "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING"
SYMBOLS: Mapping[str, int] = {
    **{f"TCP_{name}": number for number, name in enumerate(_STATES.split(), 1)},
    **{f"TCP_CA_{name}": number for number, name in enumerate(("Open", "Disorder", "CWR", "Recovery", "Loss"))},
    **{
        f"TCPI_OPT_{name}": 1 << bit
        for bit, name in enumerate(
            ("TIMESTAMPS", "SACK", "WSCALE", "ECN", "ECN_SEEN", "SYN_DATA", "USEC_TS", "TFO_CHILD")
        )
    },
}


def members(raw: bytes) -> dict[str, int]:
    """Return the members that the kernel filled in, as `tcpi_NAME`; an older kernel has fewer of them."""
    values = dict(zip(_OCTETS, raw, strict=False))
    if len(raw) >= 8:
        values |= {"snd_wscale": raw[6] & 15, "rcv_wscale": raw[6] >> 4, "delivery_rate_app_limited": raw[7] & 1}
    at = 8
    for word in _WORDS.split():
        size, _, name = word.rpartition(":")
        form, octets = _SIZES[size]
        if at + octets > len(raw):
            break
        values[name] = struct.unpack_from(form, raw, at)[0]
        at += octets
    return {f"tcpi_{name}": value for name, value in values.items()}
