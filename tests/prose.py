"""Names and docstrings that a reader stumbles over: found in the syntax tree, and allowed to become fewer only.

`python -m tests.prose PATH...` lists them with their lines; `python -m tests.prose --update` writes the counts that
are left into prose.toml, and refuses where there are more than before.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALLOWED = Path(__file__).with_name("prose.toml")
ROOMS = ("conformance", "testcases", "tests")
NAMES = frozenset({"one", "said", "told", "found", "came", "other", "kept", "reckoned"})
FRAGMENT = re.compile(r"(What|Whether|How|That|Which|Whose|Those|Where|Who)\b")
CLAUSES = ("that of which", "as far as", "otherwise than", "but as part of it")

Counts = Mapping[str, Mapping[str, int]]
"""Numbers of faults by file, then by kind."""

_HEAD = """\
# What tests/unit/test_prose.py still allows, by file. Numbers only go down: mend some, then `python -m tests.prose --update`.
"""
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BINDING = (
    *(ast.Name, ast.Attribute, ast.arg, ast.alias, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef),
    *(ast.ExceptHandler, ast.MatchAs, ast.MatchStar),
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Fault:
    """A place that is to be put into plain words; `kind` is names, fragments or clauses."""

    kind: str
    line: int
    message: str


def faults(source: str) -> list[Fault]:
    """Return the faults of a module's source, in the order of its lines."""
    tree = ast.parse(source)
    all_of_them = [*_names(tree), *_fragments(tree), *_clauses(tree, source)]
    return sorted(all_of_them, key=lambda fault: fault.line)


def _names(tree: ast.AST) -> Iterator[Fault]:
    for name, line in _bound(tree):
        if name in NAMES:
            yield Fault("names", line, f"the name {name!r} does not say what the thing is")


def _bound(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that are bound in a tree with their lines, but for the variables of comprehensions."""
    waiting = [(tree, False)]
    while waiting:
        node, inside = waiting.pop()
        inside = inside or isinstance(node, _COMPREHENSIONS)
        if isinstance(node, _BINDING):
            match node:
                case ast.Name(id=name, ctx=ast.Store()) if not inside:
                    yield name, node.lineno
                case ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.alias(asname=str(name)):
                    yield name, node.lineno
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield name, node.lineno
                case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                    yield name, node.lineno
        waiting += [(child, inside) for child in ast.iter_child_nodes(node)]


def _docstrings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield docstrings with their lines: of modules, classes and functions, and those below a variable."""
    for node in ast.walk(tree):
        if not isinstance(node, _DOCUMENTED):
            continue
        for place, statement in enumerate(node.body):
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    if place == 0 or isinstance(node.body[place - 1], ast.Assign | ast.AnnAssign):
                        yield text, statement.lineno


def _fragments(tree: ast.AST) -> Iterator[Fault]:
    for text, line in _docstrings(tree):
        if begins := FRAGMENT.match(text.strip()):
            yield Fault("fragments", line, f"a docstring begins with {begins[1]!r}: say what the caller gets")


def _clauses(tree: ast.AST, source: str) -> Iterator[Fault]:
    # Splitting a file into tokens is slow, and few files hold any of the words.
    words = " ".join(source.replace("#", " ").split()).lower()
    if not any(clause in words for clause in CLAUSES):
        return
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [(token.string, token.start[0]) for token in tokens if token.type == tokenize.COMMENT]
    for text, line in (*_docstrings(tree), *comments):
        plain = " ".join(text.split()).lower()
        for clause in CLAUSES:
            for _ in range(plain.count(clause)):
                yield Fault("clauses", line, f"{clause!r} has to be read twice")


def counted() -> dict[str, dict[str, int]]:
    """Return the faults of the whole house in numbers."""
    counts: dict[str, dict[str, int]] = {}
    for path in files(ROOT / room for room in ROOMS):
        if kinds := Counter(fault.kind for fault in faults(path.read_text(encoding="utf-8"))):
            counts[str(path.relative_to(ROOT))] = dict(sorted(kinds.items()))
    return counts


def files(places: Iterable[Path]) -> list[Path]:
    """Return the Python files at or below some places, sorted."""
    return sorted(path for place in places for path in ([place] if place.is_file() else place.rglob("*.py")))


def allowed() -> dict[str, dict[str, int]]:
    """Return what prose.toml allows."""
    return tomllib.loads(ALLOWED.read_text(encoding="utf-8"))


def total(counts: Counts) -> int:
    """Return the sum over all files and kinds."""
    return sum(sum(kinds.values()) for kinds in counts.values())


def written(counts: Counts) -> str:
    """Return the content of prose.toml for these counts."""
    lines = (
        f'"{path}" = {{ {", ".join(f"{kind} = {number}" for kind, number in kinds.items())} }}\n'
        for path, kinds in sorted(counts.items())
    )
    return _HEAD + "".join(lines)


def differences(counts: Counts, limits: Counts) -> list[str]:
    """Return a line for each count that is not the allowed number: what is wrong, where, and what to do."""
    lines = []
    for path in sorted({*counts, *limits}):
        for kind in ("names", "fragments", "clauses"):
            number, limit = counts.get(path, {}).get(kind, 0), limits.get(path, {}).get(kind, 0)
            if number > limit:
                lines.append(f"{path}: {number} {kind}, {limit} allowed; see `python -m tests.prose {path}`")
            elif number < limit:
                lines.append(f"{path}: {number} {kind}, {limit} allowed; run `python -m tests.prose --update`")
    return lines


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders to list the faults of")
    parser.add_argument("--update", action="store_true", help="write the numbers that are left into prose.toml")
    options = parser.parse_args()
    if options.update:
        counts, limit = counted(), total(allowed())
        if total(counts) > limit:
            print(f"{total(counts)} faults are more than the {limit} allowed; mend these, then run it again:")
            print("\n".join(line for line in differences(counts, allowed()) if "see `" in line))
            return 1
        ALLOWED.write_text(written(counts), encoding="utf-8")
        print(f"{ALLOWED.relative_to(ROOT)}: {total(counts)} faults in {len(counts)} files are left")
        return 0
    for path in files(options.paths or [ROOT / room for room in ROOMS]):
        for fault in faults(path.read_text(encoding="utf-8")):
            print(f"{path}:{fault.line}: {fault.message}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
