"""Check the folder and the message after a run that never began, or judged nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Suite

CASES = '''
    @verifies("RFC9293:3.5-handshake")
    async def test_conforms(tcp):
        """The handshake."""
        await tcp.drive_to(State.ESTABLISHED)

    @verifies("RFC9293:MUST-13", needs=["teleport"])
    async def test_not_applicable(tcp):
        """A capability that no target has."""

    @verifies("RFC9293:MUST-13")
    async def test_inconclusive(tcp):
        """The harness can't tell."""
        raise Inconclusive("jitter of 3 ms, bound of 1 ms")
'''
REPORTS = ("--junitxml=out/junit.xml", "--html=out/pytest.html", "--self-contained-html")


NEVER_BEGAN = [
    (("--target=nosuch",), pytest.ExitCode.USAGE_ERROR, "no target is called 'nosuch'"),
    (("--target=nosuch", "-n2"), pytest.ExitCode.USAGE_ERROR, "no target is called 'nosuch'"),
    (
        ("--target=refused.toml",),
        pytest.ExitCode.USAGE_ERROR,
        "tcp_nothing = 1 is refused: this kernel has no such setting",
    ),
    (("-k", "nosuch"), pytest.ExitCode.NO_TESTS_COLLECTED, "nothing matched -k nosuch --family 4: no case ran"),
    (("-k", "nosuch", "-n2"), pytest.ExitCode.NO_TESTS_COLLECTED, "nothing matched -k nosuch --family 4: no case ran"),
    (("--rfc=5482",), pytest.ExitCode.NO_TESTS_COLLECTED, "nothing matched --rfc 5482 --family 4: no case ran"),
    (("nosuch.py",), pytest.ExitCode.USAGE_ERROR, "file or directory not found: nosuch.py"),
    (("broken.py",), pytest.ExitCode.INTERRUPTED, "1 error"),
]


def test_a_run_that_never_began_leaves_the_last_one_as_it_was(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    (made.folder / "refused.toml").write_text('[sysctl]\n"net.ipv4.tcp_nothing" = 1\n')
    (made.folder / "broken.py").write_text("raise ValueError\n")
    refused = made.run("--family=4", "--target=refused.toml")
    assert not refused.output.exists(), "no empty folder is left behind"
    good = made.run("--family=4", *REPORTS)
    assert good.code == pytest.ExitCode.OK, good.out
    order = [good.out.index(text) for text in ("conformance of linux", "generated xml file", "report: out/index.html")]
    assert order == sorted(order), good.out
    files = {path: path.read_bytes() for path in good.output.rglob("*") if path.is_file()}
    assert {"results.jsonl", "junit.xml", "pytest.html", "index.html"} <= {path.name for path in files}
    for options, code, says in NEVER_BEGAN:
        ran = made.run("--family=4", *REPORTS, *options)
        assert ran.code == code, ran.out
        assert says in ran.out
        assert "INTERNALERROR" not in ran.out
        assert "report:" not in ran.out
        assert "no run: out keeps the last one, and its junit.xml and pytest.html" in ran.out
        assert {path: path.read_bytes() for path in files} == files, options
    again = made.run("--family=4", *REPORTS)
    assert again.code == pytest.ExitCode.OK, again.out
    assert (again.output / "junit.xml").read_bytes() != files[again.output / "junit.xml"]


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one-process", "workers"])
def test_a_folder_of_the_users_is_refused_in_one_line(
    suite: Callable[[str], Suite], workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # or the first thing that is in the way is the cases' bytecode
    made = suite(CASES)
    for name in ("mine/cases/brief.html", "mine/results.jsonl", "cases/brief.html"):
        (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / name).write_text("mine")
    before = {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
    for output, example in (".", "cases"), ("mine", "cases"):
        reports = (f"--junitxml={output}/junit.xml", f"--html={output}/pytest.html", "--self-contained-html")
        ran = made.run("--family=4", f"--output={output}", *reports, *workers)
        assert ran.code == pytest.ExitCode.USAGE_ERROR, ran.out
        line = f"{output} holds '{example}' and no run made it; name an empty or a new folder as --output"
        assert line in ran.out
        now = {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
        assert {path: now[path] for path in now if "__pycache__" not in path.parts} == before, ran.out


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one-process", "workers"])
def test_a_run_in_which_nothing_was_judged_fails(suite: Callable[[str], Suite], workers: tuple[str, ...]) -> None:
    ran = suite(CASES).run("--family=4", "-k", "applicable or inconclusive", *workers)
    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    assert "nothing was judged: 1 not applicable, 1 inconclusive" in ran.out
