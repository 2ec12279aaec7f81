"""The eleven states of RFC 9293, section 3.3.2, under the names that the RFC gives them."""

from __future__ import annotations

import difflib
import enum
import re

# Figure 5 of the RFC and the tools of two systems shorten some names.
_ALIASES = {
    "ESTAB": "ESTABLISHED",
    "FINWAIT-1": "FIN-WAIT-1",
    "FINWAIT-2": "FIN-WAIT-2",
    "SYN-RCVD": "SYN-RECEIVED",
    "SYN-RECV": "SYN-RECEIVED",
}


class State(enum.Enum):
    """A connection's state. The value is the RFC's spelling, `str()` gives it too."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"

    def __str__(self) -> str:
        return self.value

    @classmethod
    def parse(cls, text: str) -> State:
        """Return the state that `text` names, in any case, with hyphens, underscores or blanks.

        Figure 5's short forms (ESTAB, SYN RCVD, FINWAIT-2) are understood.

        Raises:
            ValueError: no state has that name; the message gives the nearest one.
        """
        name = re.sub(r"[\s_]+", "-", text.strip().upper())
        try:
            return cls(_ALIASES.get(name, name))
        except ValueError:
            near = difflib.get_close_matches(name, [state.value for state in cls], n=1)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise ValueError(f"no TCP state is called {text!r}{hint}") from None


SYNCHRONIZED = frozenset(
    {
        State.ESTABLISHED,
        State.FIN_WAIT_1,
        State.FIN_WAIT_2,
        State.CLOSE_WAIT,
        State.CLOSING,
        State.LAST_ACK,
        State.TIME_WAIT,
    }
)
"""Both ends know both initial sequence numbers (RFC 9293, 3.5.2, group 3)."""

NON_SYNCHRONIZED = frozenset({State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED})
"""A connection record without that (RFC 9293, 3.5.2, group 2)."""

RECEIVES_DATA = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
"""Text that arrives is delivered (RFC 9293, 3.10.7.4, seventh step)."""

FIN_RECEIVED = frozenset({State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT})
"""The peer's FIN has been taken in."""

FIN_OUTSTANDING = frozenset({State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK})
"""A FIN was sent and is not acknowledged yet."""

FIN_ACKNOWLEDGED = frozenset({State.FIN_WAIT_2, State.TIME_WAIT})
"""A FIN was sent and has been acknowledged."""
