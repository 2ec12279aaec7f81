"""Evaluate a script's blocks of code: assertions over tcp_info in a small part of Python, which reaches nothing else."""

from __future__ import annotations

import ast
import operator
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from conformance.packetdrill.information import SYMBOLS

_MOST_BITS = 256  # of a number: what 64-bit members come to, multiplied a few times
_DEEPEST = 50
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "int": int,
    "float": float,
    "round": round,
}
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.RShift: operator.rshift,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class CodeError(Exception):
    """The code asks for what this evaluator does not have: one line."""


class _Broken(Exception):
    """An assertion does not hold."""


class Evaluator:
    """The names of one script's code: what a block assigns, later blocks know."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {}

    def check(self, code: str, members: Mapping[str, int]) -> str:
        """Evaluate a block; returns the assertion that does not hold, "" where all hold. Raises CodeError."""
        try:
            tree = ast.parse(textwrap.dedent(code).strip().removesuffix("\\"))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise CodeError(f"it is no Python: {error}") from None
        names = {**SYMBOLS, **self._names, **members}
        try:
            self._statements(tree.body, names)
        except _Broken as broken:
            return str(broken)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise CodeError(f"{type(error).__name__}: {error}") from None
        return ""

    def _statements(self, statements: list[ast.stmt], names: dict[str, Any]) -> None:
        for statement in statements:
            match statement:
                case ast.Assert(test, message):
                    if not _value(test, names, 0):
                        shown = f" ({_value(message, names, 0)})" if message is not None else ""
                        seen = ", ".join(f"{name} = {names[name]}" for name in _asked(statement) if name in names)
                        raise _Broken(f"the assertion does not hold: {ast.unparse(test)}{shown}; {seen}")
                case ast.Assign([ast.Name(name)], value):
                    names[name] = self._names[name] = _value(value, names, 0)
                case ast.If(test, body, orelse):
                    self._statements(body if _value(test, names, 0) else orelse, names)
                case ast.Expr(ast.Call(ast.Name("print"))) | ast.Pass():
                    pass
                case _:
                    raise CodeError(f"`{ast.unparse(statement)[:60]}` is neither an assertion nor an assignment")


def _asked(node: ast.AST) -> list[str]:
    """Return the members that an assertion asks for."""
    names = (part.id for part in ast.walk(node) if isinstance(part, ast.Name))
    return list(dict.fromkeys(name for name in names if name.startswith("tcpi_")))


def _value(node: ast.expr, names: Mapping[str, Any], depth: int) -> Any:  # noqa: PLR0911, PLR0912 - one branch a form
    """Return an expression's value. Raises CodeError for what is not in the small part of Python."""
    if depth > _DEEPEST:
        raise CodeError(f"more than {_DEEPEST} levels are nested")

    def of(part: ast.expr) -> Any:
        return _value(part, names, depth + 1)

    match node:
        case ast.Constant(value) if isinstance(value, (int, float, str, bool)):
            return value
        case ast.Name(name):
            if name not in names:
                raise CodeError(f"{name} is no member of tcp_info that the target tells")
            return names[name]
        case ast.Tuple(parts):
            return tuple(map(of, parts))
        case ast.BoolOp(ast.And(), parts):
            return all(of(part) for part in parts)
        case ast.BoolOp(ast.Or(), parts):
            return any(of(part) for part in parts)
        case ast.UnaryOp(sign, part):
            return _UNARY[type(sign)](_number(of(part)))
        case ast.BinOp(left, ast.LShift(), right):
            return _number(_number(of(left)) << min(_number(of(right)), _MOST_BITS))
        case ast.BinOp(ast.Constant(str()), ast.Mod(), _):
            return ast.unparse(node)  # a message with values: the members are shown beside it
        case ast.BinOp(left, sign, right) if type(sign) in _OPERATORS:
            return _number(_OPERATORS[type(sign)](_number(of(left)), _number(of(right))))
        case ast.IfExp(test, body, orelse):
            return of(body) if of(test) else of(orelse)
        case ast.Compare(left, signs, parts) if all(type(sign) in _COMPARISONS for sign in signs):
            values = [of(left), *map(of, parts)]
            return all(
                _COMPARISONS[type(sign)](first, second)
                for sign, first, second in zip(signs, values, values[1:], strict=False)
            )
        case ast.Call(ast.Name(name), arguments, []) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_number(of(argument)) for argument in arguments))
        case ast.Call(ast.Name("str"), [argument], []):
            return str(_number(of(argument)))
    raise CodeError(f"`{ast.unparse(node)[:60]}` is not in the part of Python that is evaluated")


def _number(value: Any) -> Any:
    if not isinstance(value, (int, float)):
        raise CodeError("only numbers are reckoned with")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise CodeError(f"a number has more than {_MOST_BITS} bits")
    return value
