"""The CamelCase reasons the code gives, read from its text: by the word `reason`, and by the calls that take one in a place."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
REASON: Final = re.compile(r"[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)*")
PLACES: Final = {  # of a reason among the arguments
    "Cause": 2,
    "Condition": 1,
    "Failure": 0,
    "Judgement": 1,
    "Rejection": 0,
    "Reply": 1,
    "Standing": 2,
    "Unfit": 0,
    "_degraded": 1,
    "_drop": 2,
    "_over": 2,
    "drop": 3,
}
_READ: Final = (ast.keyword, ast.Assign, ast.Dict, ast.Tuple, ast.Call, ast.Constant)


@functools.cache
def _nodes() -> tuple[ast.AST, ...]:
    paths = (path for member in ("protocol", "hub", "edge") for path in sorted((ROOT / member / "src").rglob("*.py")))
    return tuple(node for path in paths for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, _READ))


def reasons_given() -> set[str]:
    """Return every reason that stands where the code names one."""
    return {word for node in _nodes() for word in _of(node)}


def words_of_the_code() -> set[str]:
    """Return every text of the code that could be a reason."""
    return {node.value for node in _nodes() if isinstance(node, ast.Constant) and REASON.fullmatch(str(node.value))}


def _of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.keyword(arg="reason", value=value):
            yield from _texts(value)
        case ast.Assign(targets=[ast.Name(id="reason") | ast.Attribute(attr="reason")], value=value):
            yield from _texts(value)
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "reason":
                    yield from _texts(value)
        case ast.Tuple(elts=[ast.Constant(value="ready" | "progressing" | "degraded"), value, *_]):
            yield from _texts(value)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments) if name in PLACES:
            for value in arguments[PLACES[name] : PLACES[name] + 1]:
                yield from _texts(value)


def _texts(value: ast.expr) -> Iterator[str]:
    """Give the reasons among an expression's own texts, not among those of the calls in it."""
    match value:
        case ast.Constant(value=str(text)) if REASON.fullmatch(text):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body)
            yield from _texts(orelse)
        case ast.BoolOp(values=values):
            for each in values:
                yield from _texts(each)
