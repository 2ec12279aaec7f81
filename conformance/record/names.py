"""File names made from case ids."""

import hashlib
import re

_LONGEST = 80  # characters of the readable part: names stay far below the 255 bytes of a file system


def case_name(case_id: str) -> str:
    """`rfc9293/test_s3_6_closing.py::test_simultaneous_close[ipv4]` -> `simultaneous-close-ipv4-81c64a35`.

    Lower-case letters, digits and dashes only. The digits at the end are a digest of the whole id: two
    modules may each have a case of the same name, and the name of a case never depends on its neighbours.
    """
    function = case_id.rpartition("::")[2].removeprefix("test_")
    readable = re.sub(r"[^a-z0-9]+", "-", function.lower()).strip("-")[:_LONGEST].rstrip("-")
    digest = hashlib.blake2s(case_id.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
    return f"{readable or 'case'}-{digest}"


def capture_name(case_id: str) -> str:
    """Return the case's capture, relative to the run's folder: `captures/simultaneous-close-ipv4-81c64a35.pcapng`."""
    return f"captures/{case_name(case_id)}.pcapng"


def without_family(case_id: str) -> str:
    """Return a case's id without its address family: the same for IPv4 and IPv6."""
    return re.sub(r"-?\bipv[46]\b-?(?=[^\[]*\]$)", "", case_id).removesuffix("[]")
