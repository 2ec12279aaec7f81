"""Remember from run to run about which tester addresses a host keeps a path MTU: ten minutes (RFC 1191 6.3, RFC 8201 4)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

KEPT_S = 660
"""RFC 1191 6.3 and RFC 8201 4 recommend ten minutes; the host's clock may have begun a little later than ours."""


class Remembered:
    """The addresses that earlier runs spoiled at a host, in a file of the user's cache; where that can't be written, none."""

    def __init__(self, host: str) -> None:
        self._name = host.replace(":", "-")

    @property
    def _file(self) -> Path:
        """Return the path of the file. Raises RuntimeError where the user has no home."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "tcp-conformance" / "hosts" / self._name

    def add(self, addresses: Iterable[str]) -> None:
        """Keep these addresses from now on."""
        lines = "".join(f"{address} {int(time.time())}\n" for address in addresses)
        with contextlib.suppress(OSError, RuntimeError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a") as file:
                file.write(lines)

    def addresses(self) -> set[str]:
        """Return the addresses about which the host still keeps something; what is older is dropped from the file."""
        try:
            lines = self._file.read_text(errors="replace").splitlines()
            recent = [line for line in lines if _is_kept(line)]
            if lines and not recent:
                self._file.unlink()
        except (OSError, RuntimeError):
            return set()
        return {line.partition(" ")[0] for line in recent}


def _is_kept(line: str) -> bool:
    seconds = line.partition(" ")[2]
    return seconds.isdecimal() and 0 <= time.time() - int(seconds) < KEPT_S
