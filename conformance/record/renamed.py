"""Case ids that have changed: records and baselines of earlier versions are read as if they had today's ids.

To rename a case, add a line to `RENAMED`: the old id, then today's. Write ids as `FILE::FUNCTION`, without the parameters in
brackets, which stay as they are. Where a parameter itself changed, add it to `_PARAMETERS`, which holds for both families. A file
that moved as a whole is one line: `FILE` to `FILE`. Never chain: when a case is renamed again, change the line that is there.
"""

from collections.abc import Mapping

_PARAMETERS: Mapping[str, Mapping[str, str]] = {
    "linux/test_keepalive.py::test_keepalive_settings_show_on_the_wire": {
        "1-1-2": "idle-1-s-every-1-s-2-probes",
        "2-1-3": "idle-2-s-every-1-s-3-probes",
        "1-2-1": "idle-1-s-every-2-s-1-probe",
    },
    "linux/test_options.py::test_ecn_is_asked_for_when_it_is_on": {
        "0-False": "never",
        "1-True": "always",
        "2-False": "when-asked",
    },
    "linux/test_options.py::test_ecn_is_granted_unless_it_is_off": {
        "0-False": "never",
        "1-True": "always",
        "2-True": "when-asked",
    },
    "linux/test_path_mtu.py::test_no_pmtu_disc_allows_fragmentation": {
        "0-True": "mode-0",
        "1-False": "mode-1",
        "2-False": "mode-2",
    },
    "linux/test_path_mtu.py::test_min_pmtu_is_the_least_path_mtu": {
        "552-552": "min-552",
        "300-400": "min-300",
    },
    "linux/test_syn_retries.py::test_syn_linear_timeouts_come_before_the_doubling": {
        "1-0": "1-retry",
        "3-0": "3-retries",
        "1-2": "1-retry-2-linear",
    },
    "linux/test_time_wait.py::test_tw_reuse_opens_anew_after_its_delay": {
        "1-1000": "on-1000-ms",
        "1-2000": "on-2000-ms",
    },
}

RENAMED: Mapping[str, str] = {
    f"{function}[ipv{family}-{old}]": f"{function}[ipv{family}-{today}]"
    for function, parameters in _PARAMETERS.items()
    for old, today in parameters.items()
    for family in (4, 6)
}


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
