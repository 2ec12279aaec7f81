"""Case ids that have changed: records and baselines of earlier versions are read as if they had today's ids.

To rename a case, add a line to `RENAMED`: the old id, then today's. Write ids as `FILE::FUNCTION`, without the parameters in
brackets, which stay as they are; write them whole, `FILE::FUNCTION[ipv4-...]`, only where a parameter itself changed. A file
that moved as a whole is one line: `FILE` to `FILE`. Never chain: when a case is renamed again, change the line that is there.
"""

from collections.abc import Mapping

RENAMED: Mapping[str, str] = {}


def current_id(case_id: str, renamed: Mapping[str, str] = RENAMED) -> str:
    """Return today's id of a case; the same id where it has not changed.

    The id may begin with a target's name and a colon, as where several targets share a record.
    """
    if not renamed:
        return case_id
    if case_id in renamed:
        return renamed[case_id]
    function, bracket, parameters = case_id.partition("[")
    if function in renamed:
        return f"{renamed[function]}{bracket}{parameters}"
    file, colons, rest = case_id.partition("::")
    if file in renamed:
        return f"{renamed[file]}{colons}{rest}"
    target, colon, own = file.partition(":")
    if colon and "/" not in target:
        return f"{target}:{current_id(f'{own}{colons}{rest}', renamed)}"
    return case_id
