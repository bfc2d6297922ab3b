"""Selectors over labels and fields, with the meaning they have in Kubernetes.

Structured: matchLabels and matchExpressions. Text: `zone in (a,b),!legacy,cpu>4`. An absent selector selects nothing,
an empty one everything; `NotIn` and `!=` also hold where the key is absent.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from holdfast_protocol.wire.flaws import Flaw, Path
from holdfast_protocol.wire.labels import is_label_key, is_label_value

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]

OPERATORS: Final[tuple[Operator, ...]] = ("In", "NotIn", "Exists", "DoesNotExist")
MAX_REQUIREMENTS: Final = 100
MAX_VALUES: Final = 1_000  # of one requirement
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,19}", re.ASCII)


class Requirement(msgspec.Struct, frozen=True):
    """One condition on one key."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    sign: str = ""  # =, == or != when it was written so

    def __str__(self) -> str:
        if self.sign:
            return f"{self.key}{self.sign}{self.values[0]}"
        if self.operator in ("Exists", "DoesNotExist"):
            return self.key if self.operator == "Exists" else f"!{self.key}"
        if self.operator in ("Gt", "Lt"):
            return f"{self.key}{'>' if self.operator == 'Gt' else '<'}{self.values[0]}"
        return f"{self.key} {self.operator.lower()} ({','.join(sorted(self.values))})"


Selector = tuple[Requirement, ...]  # all must hold; empty selects everything


def holds(requirement: Requirement, values: tuple[str, ...]) -> bool:
    """Return whether a requirement holds for all the values a key has; none means the key is absent."""
    match requirement.operator:
        case "In":
            return any(value in requirement.values for value in values)
        case "NotIn":
            return not any(value in requirement.values for value in values)
        case "Exists":
            return bool(values)
        case "DoesNotExist":
            return not values
        case _:
            return any(_compares(requirement, value) for value in values)


def canonical(selector: Selector) -> str:
    """Return the text form of a selector, sorted by key."""
    return ",".join(str(each) for each in sorted(selector, key=lambda each: each.key))


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Return whether every requirement holds for these labels."""
    return all(holds(each, (labels[each.key],) if each.key in labels else ()) for each in selector)


def _compares(requirement: Requirement, value: str) -> bool:
    if not _INTEGER.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
        return False
    limit = int(requirement.values[0])
    return int(value) > limit if requirement.operator == "Gt" else int(value) < limit


def read_selector(value: Any, flaws: list[Flaw], path: Path = ()) -> Selector | None:
    """Return a structured label selector; None for null, or when something was added to `flaws`."""
    if value is None:
        return None
    before = len(flaws)
    if not isinstance(value, dict):
        flaws.append(Flaw(path, "a selector is a map with matchLabels and matchExpressions"))
        return None
    check_keys(value, ("matchLabels", "matchExpressions"), flaws, path)
    found = []
    labels = value.get("matchLabels") or {}
    if not isinstance(labels, dict) or not all(isinstance(each, str) for each in labels.values()):
        flaws.append(Flaw((*path, "matchLabels"), "must be a map of texts"))
    else:
        for key in sorted(labels):
            requirement = Requirement(key, "In", (labels[key],), "=")
            where = (*path, "matchLabels", key)
            check_requirement(requirement, flaws, where, where)
            found.append(requirement)
    found += read_expressions(value.get("matchExpressions"), flaws, (*path, "matchExpressions"))
    return tuple(found) if len(flaws) == before else None


def read_expressions(
    value: Any,
    flaws: list[Flaw],
    path: Path,
    *,
    operators: tuple[Operator, ...] = OPERATORS,
    single: bool = False,
) -> list[Requirement]:
    """Return the requirements of a matchExpressions list; what is wrong goes to `flaws`. `single`: one value each."""
    found: list[Requirement] = []
    if not isinstance(value or [], list):
        flaws.append(Flaw(path, "must be a list of requirements"))
        return found
    if len(value or []) > MAX_REQUIREMENTS:
        flaws.append(Flaw(path, f"more than {MAX_REQUIREMENTS} requirements"))
        return found
    for index, each in enumerate(value or []):
        requirement = _requirement(each, flaws, (*path, index), operators)
        if requirement is not None:
            found.append(requirement)
            if single and len(requirement.values) != 1:
                flaws.append(Flaw((*path, index, "values"), "takes exactly one value"))
    return found


def _requirement(value: Any, flaws: list[Flaw], path: Path, operators: tuple[Operator, ...]) -> Requirement | None:
    if not isinstance(value, dict):
        flaws.append(Flaw(path, "a requirement is a map with key, operator and values"))
        return None
    check_keys(value, ("key", "operator", "values"), flaws, path)
    key, operator, values = value.get("key", ""), value.get("operator", ""), value.get("values") or []
    if not isinstance(key, str):
        flaws.append(Flaw((*path, "key"), "must be text"))
        return None
    if operator not in operators:
        flaws.append(
            Flaw((*path, "operator"), f"{str(operator)[:40]!r} is no operator here", f"one of {', '.join(operators)}")
        )
        return None
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        flaws.append(Flaw((*path, "values"), "must be a list of texts"))
        return None
    requirement = Requirement(key, operator, tuple(values))
    check_requirement(requirement, flaws, (*path, "key"), (*path, "values"))
    return requirement


def check_keys(value: dict[str, Any], known: tuple[str, ...], flaws: list[Flaw], path: Path) -> None:
    """Add every key that means nothing here."""
    unknown = [key for key in value if key not in known]
    flaws.extend(Flaw((*path, key), f"unknown field {key[:80]!r}", f"known: {', '.join(known)}") for key in unknown)


def check_requirement(requirement: Requirement, flaws: list[Flaw], key_path: Path, values_path: Path) -> None:
    """Add what is wrong with a requirement's key and values."""
    if not is_label_key(requirement.key):
        flaws.append(Flaw(key_path, f"{requirement.key[:80]!r} is no label key"))
    count = len(requirement.values)
    if requirement.operator in ("In", "NotIn") and not 0 < count <= MAX_VALUES:
        flaws.append(Flaw(values_path, f"{requirement.operator} needs at least one value and at most {MAX_VALUES}"))
    if requirement.operator in ("Exists", "DoesNotExist") and count:
        flaws.append(Flaw(values_path, f"{requirement.operator} takes no values"))
    if requirement.operator in ("Gt", "Lt") and (count != 1 or not _INTEGER.fullmatch(requirement.values[0])):
        flaws.append(Flaw(values_path, f"{requirement.operator} takes one whole number"))
    for index, value in enumerate(requirement.values):
        if not is_label_value(value):
            flaws.append(Flaw((*values_path, index), f"{value[:80]!r} is no label value"))
