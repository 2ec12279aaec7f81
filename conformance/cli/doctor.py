"""`tcp-conformance doctor`: what was looked at, what is missing, and the command that helps."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from conformance.cli import COMMANDS
from conformance.cli.output import complain, parser_of, plain_console
from conformance.report.text import clean


def main(words: Sequence[str]) -> int:
    """Look at this machine, a lab host or an agent; return 1 where something is missing or wrong."""
    parser = parser_of("doctor", COMMANDS["doctor"])
    parser.add_argument("--agent", metavar="COMMAND", help="check this agent against the protocol, call by call")
    parser.add_argument(
        "--target",
        metavar="NAME|FILE.toml",
        help="look at this lab host: addresses, interface, ssh and agent, who answers",
    )
    options = parser.parse_args(words)
    if options.agent is not None:
        return _check_agent(options.agent)
    from conformance.doctor import examine, examine_target  # noqa: PLC0415
    from conformance.target.load import TargetFileError  # noqa: PLC0415

    try:
        findings = examine() if options.target is None else examine_target(options.target)
    except TargetFileError as error:
        complain("doctor", error)
        return 2
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        sign = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "missing": "[red]missing[/]"}[finding.state]
        table.add_row(sign, finding.what, escape(clean(finding.observed)))
    console = Console()
    console.print(table)
    for finding in findings:
        if finding.mend:
            console.print(escape(clean(f"\n{finding.what}: {finding.mend}")), highlight=False)
    return int(any(finding.state == "missing" for finding in findings))


def _check_agent(command: str) -> int:
    from conformance.agent_check import check_agent  # noqa: PLC0415

    console, failed = plain_console(), False
    for call in check_agent(command):
        failed = failed or bool(call.wrong)
        reason = f": {clean(call.wrong)}" if call.wrong else ""
        console.print(f"{'[red]wrong[/]' if call.wrong else '[green]ok[/]   '} {escape(call.what + reason)}")
    return int(failed)
