"""Files that a record names: read inside of the run's folder alone, however the folder was made."""

import contextlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO


def open_inside(folder: Path, name: str) -> BinaryIO | None:
    """Open the regular file that `name`, relative to `folder`, leads to; None where there is none.

    A name that leaves the folder and a name that goes through a symbolic link lead to none.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        return None
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not make us wait
    with contextlib.ExitStack() as opened:
        try:
            at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, at)
            for part in path.parts[:-1]:
                at = os.open(part, flags | os.O_DIRECTORY, dir_fd=at)
                opened.callback(os.close, at)
            descriptor = os.open(path.name, flags, dir_fd=at)
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        return None
