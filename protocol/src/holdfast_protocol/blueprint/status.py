"""The status an instance may say, as its blueprint projects it: `schema.status`, values and conditions."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint import cel_types
from holdfast_protocol.blueprint.cel import RUNTIME, Bindings, Environment, Expression, ExpressionError
from holdfast_protocol.blueprint.conditions import check_conditions, marked
from holdfast_protocol.blueprint.documents import Path
from holdfast_protocol.blueprint.filling import Failure, Known, field_values
from holdfast_protocol.blueprint.node import compile_standalone
from holdfast_protocol.blueprint.problems import Problems
from holdfast_protocol.blueprint.template import Field, compile_fields

CONDITIONS: Final = "conditions"
MAX_CONDITIONS: Final = 50
_CONDITION_TYPES: Final = ("kro.run.Condition", "list(kro.run.Condition)", "dyn", "list(dyn)")


class Status(msgspec.Struct, frozen=True):
    """The compiled section; empty without one."""

    fields: tuple[Field, ...] = ()
    conditions: tuple[Expression, ...] = ()

    def projected(self, bindings: Bindings) -> tuple[dict[str, Any] | None, tuple[Failure, ...]]:
        """Return the status as far as there is data for it, or None with what makes it impossible."""
        failures: list[Failure] = []
        values = field_values(self.fields, bindings, Known({}), failures)
        wrong = tuple(each for each in failures if not each.absent)
        if wrong:
            return None, wrong
        status: dict[str, Any] = {}
        for path, value in values.items():
            _upsert(status, path, value)
        return status, ()

    def conditions_now(self, values: dict[str, Any]) -> tuple[tuple[dict[str, str], ...], tuple[Failure, ...]]:
        """Return the conditions there is data for; what fails, and types made twice, are left out and said."""
        found: list[dict[str, str]] = []
        failures: list[Failure] = []
        for index, expression in enumerate(self.conditions):
            path: Path = (CONDITIONS, index)
            try:
                made = expression.evaluate(expression.bind({**values, RUNTIME: cel_types.value_of("runtime")}))
                found += _conditions(made)
            except ExpressionError as error:
                if not error.absent:
                    failures.append(Failure(path, error.message, error.hint))
        count = Counter(each["type"] for each in found)
        twice = sorted(kind for kind, times in count.items() if times > 1)
        if twice:
            failures.append(Failure((CONDITIONS,), f"more than one condition of type {', '.join(twice)}"))
        return tuple(each for each in found if count[each["type"]] == 1), tuple(failures)


def compile_status(
    value: Any, environment: Environment, condition_environment: Environment, problems: Problems, path: Path
) -> Status:
    """Return the section compiled; what is wrong with it goes to `problems`."""
    if value is None:
        return Status()
    if not isinstance(value, dict):
        problems.add(path, "status is a map of fields")
        return Status()
    plain = {key: each for key, each in value.items() if key != CONDITIONS}
    fields = compile_fields(plain, environment, problems, path)
    filled = {field.path for field in fields}
    for leaf, text in _leaves(plain, ()):
        if leaf not in filled and not (isinstance(text, str) and "${" in text):
            problems.add((*path, *leaf), "a field of status is an expression: ${deployment.status.x}")
    for field in fields:
        if any(each.omits for each in field.expressions):
            problems.add((*path, *field.path), "omit() is for values in a template")
        if not any(each.uses.names for each in field.expressions):
            problems.add((*path, *field.path), "a field of status must read a resource or the schema")
    return Status(fields, _compile_conditions(value.get(CONDITIONS), condition_environment, problems, path))


def _compile_conditions(value: Any, environment: Environment, problems: Problems, path: Path) -> tuple[Expression, ...]:
    path = (*path, CONDITIONS)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_CONDITIONS:
        problems.add(path, f"conditions is a list of at most {MAX_CONDITIONS} expressions")
        return ()
    found: dict[int, Expression] = {}
    for index, text in enumerate(value):
        shown = marked(text) if isinstance(text, str) else text
        expression = compile_standalone(shown, environment, problems, (*path, index))
        if expression is None:
            continue
        if expression.type not in _CONDITION_TYPES:
            said = f"a condition is runtime.newCondition(...) or a list of them, and this is {expression.type}"
            problems.add((*path, index), said)
            continue
        found[index] = expression
    for index, message in check_conditions({index: each.tree for index, each in found.items()}):
        problems.add((*path, index), message)
    return tuple(found.values())


def _conditions(value: Any) -> list[dict[str, str]]:
    found = value if isinstance(value, list) else [value]
    for each in found:
        if not isinstance(each, dict) or {*each} != {"type", "status", "reason", "message"}:
            raise ExpressionError("a condition is runtime.newCondition(...) or a list of them")
    return found


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, (*path, index))
    else:
        yield path, value


def _upsert(body: dict[str, Any], path: Path, value: Any) -> None:
    """Put a value in, making the maps and lists on its way; elements of a list not known yet are null."""
    at: Any = body
    for step, then in zip(path, (*path[1:], None), strict=True):
        if isinstance(step, int):
            at.extend([None] * (step + 1 - len(at)))
        inside = value if then is None else [] if isinstance(then, int) else {}
        known = at[step] if isinstance(step, int) else at.get(step)
        if then is None or known is None:
            at[step] = inside
        at = at[step]
