"""Keeps this machine's own kernel from resetting the tester's connections, where they use its address.

The kernel knows nothing of them and answers what comes for them by RST. A table of nftables of our own drops those, for
the tester's ports alone. The table belongs to the process that made it (flag `owner`), so the kernel takes it away when
that process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence

from conformance.target import HarnessFault


class ResetSuppression:
    """A table that drops resets which leave from `addresses` and one of `ports`. Raises HarnessFault."""

    def __init__(self, addresses: Sequence[str], ports: range) -> None:
        nft = shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if nft is None:
            raise HarnessFault("the tester's own address needs nft: sudo apt-get install nftables")
        name = f"tcp_conformance_{os.getpid()}"
        rules = [f"add table inet {name} {{ flags owner; }}"]
        rules.append(f"add chain inet {name} out {{ type filter hook output priority -300; policy accept; }}")
        for address in addresses:
            family = "ip6" if ":" in address else "ip"
            match = f"{family} saddr {address} tcp sport {ports[0]}-{ports[-1]} tcp flags & rst == rst"
            rules.append(f"add rule inet {name} out {match} drop")
        self._process = subprocess.Popen(
            [nft, "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a signal to the run's group is the run's alone: the rules stay until it is done
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # nft says nothing where all is well: what it is asked last shows that it has done the rest.
        self._process.stdin.write("\n".join([*rules, f"list table inet {name}"]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(f"table inet {name}"):
                return
            if "Error" in line:
                self.close()
                raise HarnessFault(f"nft refuses to keep resets back: {line.strip()}")
        self.close()
        raise HarnessFault("nft refuses to keep resets back: it ended")

    def close(self) -> None:
        """Take the table away."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
