"""Keep what fuzzing has found, as files: `corpus/READER/DIGEST`. Each is fed to its reader in every `make test`."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def seeds(reader: str) -> tuple[bytes, ...]:
    """Return what was found of a reader."""
    return tuple(path.read_bytes() for path in sorted((FOLDER / reader).glob("*")))


def keep(reader: str, data: bytes) -> Path:
    """Keep what a reader did not stand, and return its file."""
    path = FOLDER / reader / hashlib.blake2s(data, digest_size=6).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
