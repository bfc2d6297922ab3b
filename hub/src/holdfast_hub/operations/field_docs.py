"""What the code says of the fields of its Structs: the comment at the end of a field's line, for schemas and `explain`.

The comment is the one place such a word stands. A program installed without its sources has no descriptions, nothing else.
"""

import ast
import inspect
import io
import textwrap
import tokenize
from functools import cache
from typing import Any


@cache
def field_docs(shape: Any) -> dict[str, str]:
    """Return the description of each field by its name in Python, of the fields that have one."""
    found: dict[str, str] = {}
    for each in reversed(shape.__mro__[:-2]):
        if each.__module__.startswith("msgspec"):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(each))
        except (OSError, TypeError):
            continue
        comments = {
            token.start[0]: token.string.lstrip("#: ").strip()
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT and not token.string.startswith("# noqa")
        }
        (body,) = ast.parse(source).body
        for node in body.body if isinstance(body, ast.ClassDef) else ():
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                text = comments.get(node.end_lineno or node.lineno) or comments.get(node.lineno)
                if text:
                    found[node.target.id] = text
    return found


@cache
def shape_doc(shape: Any) -> str:
    """Return the first paragraph of a Struct's own docstring; "" when it only says that it is one."""
    text = shape.__dict__.get("__doc__") or ""
    first = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    return "" if first.rstrip(".").lower() in {"as written", "the spec as written"} else first
