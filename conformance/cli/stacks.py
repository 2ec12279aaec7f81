"""`tcp-conformance stacks`: the stacks that come with the harness; lists them, builds them."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.cli import COMMANDS
from conformance.cli.output import complain, parser_of


def main(words: Sequence[str]) -> int:
    """List or build the stacks; return 1 where one fails to build."""
    parser = parser_of("stacks", COMMANDS["stacks"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--build", action="store_true", help="build those whose toolchain is there")
    parser.add_argument(
        "--install", action="store_true", help="as root: install the Debian packages that they need first"
    )
    options = parser.parse_args(words)
    from conformance.target.build import StackMissing, install, stacks  # noqa: PLC0415

    if unknown := [name for name in options.names if name not in stacks()]:
        complain("stacks", f"no stack is called {unknown[0]!r}: there is {', '.join(stacks())}")
        return 2
    chosen = [stacks()[name] for name in options.names or stacks()]
    if options.install:
        install(chosen)
    failed = False
    for stack in chosen:
        try:
            if options.build:
                stack.make()
            if stack.is_built():
                status = f"ready: --target {stack.name}"
            else:
                status = f"can't be built here: {stack.lacks()}" if stack.missing else "not built: make stacks"
        except StackMissing as error:
            failed = failed or not stack.missing
            status = str(error).removeprefix(f"{stack.name}: ")
        print(f"{stack.name:<10} {stack.title}: {status}")
    return int(failed)
