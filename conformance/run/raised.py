"""Turn what a case's end was raised by into a statement about the target, where it is one."""

from __future__ import annotations

import traceback
from types import NoneType

from conformance.case.info import CaseFunction
from conformance.judge import NotApplicable, Violation
from conformance.target import App, AppError, HarnessFault, TargetGone

# What a socket call says of the connection itself; every other failure of a call is the harness's own.
_CONNECTION_CODES = frozenset(
    {
        "timeout",
        "ECONNREFUSED",
        "ECONNRESET",
        "ECONNABORTED",
        "EPIPE",
        "ENOTCONN",
        "ETIMEDOUT",
        "EHOSTUNREACH",
        "ENETUNREACH",
    }
)
# What a call says of the target's application.
_LACKING = {"ENOPROTOOPT": "socket option", "unknown-op": "call of the application"}


def statement_of(raised: BaseException | None, function: CaseFunction, target_name: str) -> BaseException | None:
    """Return the violation, or what does not apply, that a failed call or an assertion of the case itself stands for."""
    statement: Exception | None = None
    if isinstance(raised, AppError) and raised.code in _LACKING:
        statement = NotApplicable(f"target {target_name} lacks a {_LACKING[raised.code]}: {raised}")
    elif isinstance(raised, AppError) and raised.code in _CONNECTION_CODES:
        statement = Violation(f"the application's call failed: {raised}")
    elif type(raised) is AssertionError and _asserted_in(raised, function):
        statement = Violation(f"the case asserts: {str(raised).strip() or 'no text'}")
    if raised is None or statement is None:
        return raised
    return statement.with_traceback(raised.__traceback__)


def line_of(raised: BaseException, function: CaseFunction) -> int | None:
    """Return the innermost line of the case's own file that `raised` went through."""
    if isinstance(raised, Violation) and raised.line is not None:
        return raised.line
    own = function.__code__.co_filename
    frames = traceback.extract_tb(raised.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == own), None)


async def cause_of(raised: Exception | None, agent: App) -> Exception | None:
    """Return what is behind a case's end: agent or lab failed, or the stack crashed, which looks like the target's answers.

    An agent that dies closes its sockets. What is left of a stack that crashed may go on, and even look right.
    """
    try:
        crashed = (await agent.call("hello")).get("crashed")
    except HarnessFault as fault:
        return raised and fault
    except AppError:
        return raised
    if crashed and isinstance(raised, (Violation, AppError, TargetGone, NoneType)):
        violation = Violation(f"the stack crashed: {crashed[0]}", f"Behind that: {raised}" if raised else "")
        return violation.with_traceback(raised.__traceback__ if raised else None)
    return raised


def _asserted_in(raised: AssertionError, function: CaseFunction) -> bool:
    """Return True where the case itself asserts, about the target; an assertion below it is the harness's own."""
    innermost = traceback.extract_tb(raised.__traceback__)[-1]
    return innermost.filename == function.__code__.co_filename
