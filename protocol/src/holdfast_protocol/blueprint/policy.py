"""Policies: conditions on rendered resources, written in CEL. The hub checks them at submit, a site again before it applies.

A rule must be true. What cannot be decided (data that is not there, a loop too long) counts as broken: a policy that
says nothing about a resource keeps quiet by its `match`, not by failing.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final

import msgspec

from holdfast_protocol.blueprint.cel import Environment, Expression, ExpressionError
from holdfast_protocol.errors import WireError
from holdfast_protocol.wire import strict
from holdfast_protocol.wire.flaws import Flaw, Path
from holdfast_protocol.wire.target import Resource

MAX_RULES: Final = 50  # of one policy
MAX_NAMES: Final = 100  # kinds, or namespaces, of one match
MAX_TEXT: Final = 1024  # characters of a message, a name
MAX_SPEC: Final = 64 * 1024  # bytes of one policy as JSON: it travels in every target it is in
DEFAULT_NAMESPACE: Final = "default"  # of a resource that names none
VARIABLES: Final = ("object", "instance", "pod", "containers")


class Rule(msgspec.Struct, frozen=True):
    """One compiled condition; the message says what is wrong where it does not hold."""

    name: str
    expression: Expression
    message: str


class Policy(msgspec.Struct, frozen=True):
    """Compiled. Empty kinds or namespaces: all of them."""

    name: str
    kinds: frozenset[str]
    namespaces: frozenset[str]
    rules: tuple[Rule, ...]

    def concerns(self, body: dict[str, Any]) -> bool:
        namespace = body["metadata"].get("namespace") or DEFAULT_NAMESPACE
        return (not self.kinds or body["kind"] in self.kinds) and (not self.namespaces or namespace in self.namespaces)


class Violation(msgspec.Struct, frozen=True):
    """A resource that breaks a rule."""

    policy: str
    rule: str
    message: str

    def __str__(self) -> str:
        rule = f" ({self.rule})" if self.rule else ""
        return f"Policy/{self.policy}{rule}: {self.message}"


def entry(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return a policy as a target carries it."""
    return {"name": name, **spec}


def flaws(spec: dict[str, Any]) -> tuple[Flaw, ...]:
    """Return everything wrong with a Policy's spec (without placement)."""
    found: list[Flaw] = []
    _compile("", spec, found)
    return tuple(found)


def compiled(policy: dict[str, Any]) -> Policy:
    """Return a policy of a target, compiled (once for equal ones). Raises WireError `BadPolicy`."""
    return _compiled(strict.encode(policy))


@lru_cache(maxsize=512)
def _compiled(data: bytes) -> Policy:
    spec: dict[str, Any] = msgspec.json.decode(data)
    name = spec.pop("name", None)
    found: list[Flaw] = []
    policy = _compile(str(name), spec, found)
    if found or not isinstance(name, str):
        said = found[0].message if found else "it has no name"
        raise WireError(f"Policy/{str(name)[:80]}: {said}", reason="BadPolicy")
    return policy


def violations(policies: Sequence[Policy], resource: Resource) -> tuple[Violation, ...]:
    """Return what compiled policies have against a resource."""
    concerned = [each for each in policies if each.concerns(resource.body)]
    if not concerned:
        return ()
    pod = pod_of(resource.body)
    values = {"object": resource.body, "instance": resource.instance, "pod": pod, "containers": containers_of(pod)}
    bindings = _environment().bind(values)
    found = []
    for policy in concerned:
        for rule in policy.rules:
            try:
                why = "" if rule.expression.evaluate(bindings) is True else rule.message
            except ExpressionError as error:
                why = f"{rule.message} (it could not be decided: {error.message})"
            if why:
                found.append(Violation(policy.name, rule.name, why))
    return tuple(found)


def pod_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of the Pod a resource is or makes; empty for one that makes none."""
    spec = body.get("spec")
    for key in ("", "jobTemplate", "spec", "template", "spec"):
        below = spec.get(key) if isinstance(spec, dict) and key else spec
        spec = below if isinstance(below, dict) else spec
        if isinstance(spec, dict) and isinstance(spec.get("containers"), list):
            return spec
    return {}


def containers_of(pod: dict[str, Any]) -> list[Any]:
    """Return the init containers and containers of a Pod's specification."""
    found: list[Any] = []
    for key in ("initContainers", "containers"):
        some = pod.get(key)
        found += some if isinstance(some, list) else []
    return found


@cache
def _environment() -> Environment:
    text, anything = {"type": "string"}, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return Environment({"instance": text, "containers": {"type": "array", "items": anything}}, ["object", "pod"])


def _compile(name: str, spec: dict[str, Any], found: list[Flaw]) -> Policy:
    _check_keys(spec, ("match", "rules"), (), found)
    match = spec.get("match", {})
    kinds: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    if not isinstance(match, dict):
        found.append(Flaw(("match",), "match is a map with kinds and namespaces"))
    else:
        _check_keys(match, ("kinds", "namespaces"), ("match",), found)
        kinds = _names(match, "kinds", found)
        namespaces = _names(match, "namespaces", found)
    rules = spec.get("rules")
    if not isinstance(rules, list) or not 0 < len(rules) <= MAX_RULES:
        found.append(Flaw(("rules",), f"rules is a list of 1 to {MAX_RULES} conditions"))
        rules = []
    if len(strict.encode(spec)) > MAX_SPEC:
        found.append(Flaw((), f"larger than {MAX_SPEC} bytes"))
    return Policy(name, kinds, namespaces, tuple(_rules(rules, found)))


def _names(match: dict[str, Any], key: str, found: list[Flaw]) -> frozenset[str]:
    value = match.get(key, [])
    if not isinstance(value, list) or len(value) > MAX_NAMES or not all(isinstance(each, str) for each in value):
        found.append(Flaw(("match", key), f"{key} is a list of at most {MAX_NAMES} names"))
        return frozenset()
    if key in match and not value:
        found.append(Flaw(("match", key), "selects nothing", hint=f"leave {key} out for all"))
    return frozenset(value)


def _rules(rules: list[Any], found: list[Flaw]) -> Iterator[Rule]:
    for index, rule in enumerate(rules):
        path: Path = ("rules", index)
        if not isinstance(rule, dict):
            found.append(Flaw(path, "a rule is a map with expression and message"))
            continue
        _check_keys(rule, ("name", "expression", "message"), path, found)
        texts = {key: rule.get(key, "") for key in ("name", "message")}
        for key, text in texts.items():
            if not isinstance(text, str) or len(text) > MAX_TEXT:
                found.append(Flaw((*path, key), f"{key} is a text of at most {MAX_TEXT} characters"))
        expression = _expression(rule.get("expression"), (*path, "expression"), found)
        if expression is not None:
            yield Rule(str(texts["name"]), expression, str(texts["message"] or f"{expression.source.strip()[:200]}"))


def _expression(source: Any, path: Path, found: list[Flaw]) -> Expression | None:
    if not isinstance(source, str):
        found.append(Flaw(path, "expression is a text in CEL", hint="object.spec.replicas <= 3"))
        return None
    if source.strip().startswith("${"):
        found.append(Flaw(path, "an expression of a policy is CEL alone, without ${}"))
        return None
    try:
        expression = _environment().compile(source)
    except ExpressionError as error:
        found.append(Flaw(path, error.message, hint=error.hint, offset=error.offset))
        return None
    if expression.omits:
        found.append(Flaw(path, "omit() is for values in a template"))
    elif expression.type not in ("bool", "dyn"):
        found.append(Flaw(path, f"it is {expression.type}, and a rule is true or false", hint="compare it: == 1"))
    return expression


def _check_keys(value: dict[str, Any], known: Sequence[str], path: Path, found: list[Flaw]) -> None:
    hint = f"known: {', '.join(known)}"
    found += [Flaw((*path, key), f"unknown field {key[:80]!r}", hint) for key in value if key not in known]
