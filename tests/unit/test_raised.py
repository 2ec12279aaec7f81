"""An exception put into a statement about the target, and the case's own line."""

from __future__ import annotations

import pytest

from conformance.judge import NotApplicable, Violation
from conformance.run.raised import line_of, statement_of
from conformance.target import AppError, HarnessFault


async def _case() -> None:
    _helper()


def _helper() -> None:
    raise HarnessFault("a line of the case's own file")


def _raised(error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as raised:
        raise error
    return raised.value


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (AppError("ECONNRESET", "by peer"), Violation, "the application's call failed: ECONNRESET: by peer"),
        (AppError("unknown-op", "abort"), NotApplicable, "target t lacks a call of the application: unknown-op: abort"),
        (AppError("EINVAL", "no"), AppError, "EINVAL: no"),
        (AssertionError("off by one"), Violation, "the case asserts: off by one"),
        (AssertionError(""), Violation, "the case asserts: no text"),
        (HarnessFault("no power"), HarnessFault, "no power"),
    ],
)
def test_failed_calls_and_assertions_of_the_case_speak_of_the_target(
    raised: BaseException, kind: type[BaseException], message: str
) -> None:
    statement = statement_of(_raised(raised), _case, "t")
    assert type(statement) is kind
    assert str(statement) == message
    assert line_of(statement, _case) == line_of(raised, _case)


def test_an_assertion_below_the_case_is_the_harness_own() -> None:
    raised = _raised(AssertionError("x"))
    assert statement_of(raised, pytest.importorskip, "t") is raised


def test_the_line_is_the_innermost_of_the_case_file() -> None:
    with pytest.raises(HarnessFault) as raised:
        _helper()
    assert line_of(raised.value, _case) == _helper.__code__.co_firstlineno + 1
    assert line_of(raised.value, pytest.importorskip) is None
