"""The house is written in plain words: names, docstrings and comments, by the syntax tree."""

from __future__ import annotations

import textwrap

import pytest

from tests import prose


def test_no_file_has_more_faults_than_allowed_and_none_has_fewer() -> None:
    """Numbers only go down; what was mended is taken off the list, so that it can't come back."""
    differences = prose.differences(prose.counted(), prose.allowed())
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("one = 1", "names"),
        ("one: int = 1", "names"),
        ("for told in []: pass", "names"),
        ("def send(other): pass", "names"),
        ("def said(): pass", "names"),
        ("async def told(): pass", "names"),
        ("key = lambda one: one.seq", "names"),
        ("self.kept = 1", "names"),
        ("with opened() as found: pass", "names"),
        ("try: pass\nexcept OSError as one: pass", "names"),
        ("if (came := call()): pass", "names"),
        ("match value:\n    case [one]: pass", "names"),
        ("import module as other", "names"),
        ('"""What violates while we were late."""', "fragments"),
        ('def is_old():\n    """Whether it repeats."""', "fragments"),
        ('class Call:\n    """How it is called."""', "fragments"),
        ('limit = 1\n"""Those that wait."""', "fragments"),
        ('class Call:\n    limit: int = 1\n    """That of the option."""', "fragments"),
        ("# read as far as it is whole", "clauses"),
        ('"""Match otherwise\nthan by name."""', "clauses"),
    ],
)
def test_a_fault_is_noticed(source: str, kind: str) -> None:
    assert [fault.kind for fault in prose.faults(source)] == [kind]


@pytest.mark.parametrize(
    "source",
    [
        "sum(one.size for one in segments)",
        "{one: found for one, found in pairs}",
        "message = one + record.found",
        'def load():\n    """Return what is there."""',
        'text = "What a target says, as far as it goes"',
        "# one of two, and the other",
    ],
)
def test_plain_words_are_left_alone(source: str) -> None:
    assert prose.faults(textwrap.dedent(source)) == []


def test_a_count_that_grew_or_shrank_says_what_to_do() -> None:
    limits = {"a.py": {"names": 2}, "b.py": {"fragments": 1}}
    assert prose.differences({"a.py": {"names": 3}}, limits) == [
        "a.py: 3 names, 2 allowed; see `python -m tests.prose a.py`",
        "b.py: 0 fragments, 1 allowed; run `python -m tests.prose --update`",
    ]


def test_an_update_lets_faults_move_to_another_file_but_not_become_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["prose", "--update"])
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    monkeypatch.setattr(prose, "ALLOWED", prose.ROOT / "prose.toml")
    prose.ALLOWED.write_text(prose.written({"old.py": {"names": 2}}))
    (prose.ROOT / "tests").mkdir()
    module = prose.ROOT / "tests" / "new.py"
    module.write_text("one = said = told = 1\n")
    assert prose.main() == 1
    assert "tests/new.py: 3 names, 0 allowed" in capsys.readouterr().out
    assert prose.allowed() == {"old.py": {"names": 2}}
    module.write_text("one = said = 1\n")
    assert prose.main() == 0
    assert prose.allowed() == {"tests/new.py": {"names": 2}}
