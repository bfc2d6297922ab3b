"""Judges of expressions: found in text, in kro's environment, and against the CEL specification."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast_protocol.blueprint.cel import OMIT, RUNTIME, Environment, ExpressionError
from holdfast_protocol.blueprint.expressions import ScanError, scan
from holdfast_protocol.blueprint.schema import open_api
from support.conformance.cases import Case, Verdict, failing, judged, problems

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {
    "type": "object",
    "properties": {
        **{key: {"type": "string"} for key in ("name", "namespace", "uid")},
        **dict.fromkeys(("labels", "annotations"), _TEXTS),
    },
}


def judge_scan(case: Case, _: dict[str, Any]) -> Verdict:
    try:
        text = scan(case["text"])
    except ScanError as error:
        return failing(case, str(error))
    got: dict[str, Any] = {"kind": text.kind, "parts": [part.source for part in text.parts]}
    if text.kind == "expression":
        got["expr"] = text.parts[0].source
    return judged(got, case["expect"], *(["escape"] if "$${" in case["text"] else []))


def judge_kro_expression(case: Case, file: dict[str, Any]) -> Verdict:
    """Phase, JSON value, references, and the type as far as both have a name for it."""
    expect, features = case["expect"], _functions_in(case["expr"])
    environment = _kro_environment(file, dynamic=case["vars"] != "typed")
    wanted_phase = {"parse": "compile", "check": "compile", "program": "compile"}.get(
        expect.get("phase", ""), expect.get("phase", "")
    )
    try:
        expression = environment.compile(case["expr"])
    except ExpressionError as error:
        return Verdict(wanted_phase == "compile", f"compile: {error.message}", features)
    names = sorted(expression.uses.names)
    if names != sorted(expect.get("references", [])):
        return Verdict(False, f"references {names}", features)
    if "type" in expect and _type_name(expect["type"]) != _type_name(expression.type):
        return Verdict(False, f"type {expression.type}", features | {"type"})
    values = {"schema": file["instance"], **file["dyn"]}
    try:
        value = expression.evaluate(environment.bind({name: values[name] for name in environment.names - {RUNTIME}}))
    except ExpressionError as error:
        return Verdict(wanted_phase == "eval", f"eval: {error.message}", features)
    value = {} if value is OMIT else value  # as kro writes it where it cannot be left out
    return Verdict(not wanted_phase and value == expect.get("json"), f"{value!r}", features)


def _kro_environment(file: dict[str, Any], *, dynamic: bool) -> Environment:
    held: dict[bool, Environment] = file.setdefault("environments", {})
    if dynamic not in held:
        spec = open_api(file["simpleschema"], file["types"], problems(), ())
        properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _METADATA, "spec": spec}
        held[dynamic] = Environment(
            {"schema": {"type": "object", "properties": properties}}, file["dyn"] if dynamic else (), runtime=True
        )
    return held[dynamic]


def _type_name(name: str) -> str:
    name = re.sub(r"google\.protobuf\.(Duration|Timestamp)", lambda found: found[1].lower(), name)
    return re.sub(r"(__type_|blueprint\.)[\w.@]+", "object", name)


def _functions_in(source: str) -> frozenset[str]:
    return frozenset(re.findall(r"([A-Za-z_]\w*)\s*\(", source)) | frozenset(re.findall(r"\bruntime\b", source))


def judge_cel(case: Case, _: dict[str, Any]) -> Verdict:
    """The expected value is written as CEL and compared there, so that int, uint and double stay apart."""
    unusual = [key for key in ("container", "disable_check", "type_env") if key in case]
    features = frozenset([*unusual, str(case["file"]), str(case["kro_env"])]) | _functions_in(case["expr"])
    bindings = {key: _plain(value) for key, value in case.get("bindings", {}).items()}
    environment = Environment({}, bindings)
    expect = case["expect"]
    try:
        checked = environment.compile(case["expr"])
        if "value" not in expect and "error" not in expect:
            return Verdict(_type_name(checked.type) == expect["type"], checked.type, features)
        source = f"dyn({case['expr']}\n)"
        literal = "null" if "error" in expect else _literal(expect["value"])
        comparison = environment.compile(f"[{source}].map(v, {_comparison(expect, literal)})[0]")
        same = comparison.evaluate(environment.bind(bindings))
    except ExpressionError as error:
        refused = "error" in expect or case["kro_env"] == "unavailable"
        return Verdict(refused, f"error: {error.message}", features)
    return Verdict(same is True and "error" not in expect, f"not {expect}", features)


def _comparison(expect: dict[str, Any], literal: str) -> str:
    if expect.get("value") == {"t": "double", "v": "NaN"}:
        return "v != v"
    return f"v == dyn({literal}) && type(v) == type(dyn({literal}))"


def _literal(value: dict[str, Any]) -> str:
    kind, inside = value["t"], value.get("v")
    match kind:
        case "int":
            return str(inside)
        case "uint":
            return f"{inside}u"
        case "double":
            return f"double({str(inside)!r})" if inside in ("Infinity", "-Infinity", "NaN") else f"double({inside})"
        case "string":
            return _quoted(str(inside))
        case "bytes":
            return "b'" + "".join(f"\\x{byte:02x}" for byte in base64.b64decode(str(inside))) + "'"
        case "bool":
            return "true" if inside else "false"
        case "null":
            return "null"
        case "list":
            return "[" + ", ".join(_literal(each) for each in inside or ()) + "]"
        case "map":
            return "{" + ", ".join(f"{_literal(key)}: {_literal(each)}" for key, each in inside or ()) + "}"
        case "duration":
            return _duration(int(str(inside)))
        case "timestamp":
            return _timestamp(int(str(inside)))
        case "type":
            return str(inside)
        case "optional_none":
            return "optional.none()"
        case _:
            return f"optional.of({_literal(inside)})" if isinstance(inside, dict) else str(inside)


def _quoted(text: str) -> str:
    return '"' + "".join(each if each.isalnum() or each == " " else f"\\U{ord(each):08x}" for each in text) + '"'


def _duration(nanoseconds: int) -> str:
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    return f'duration("{sign}{left // 10**9}.{left % 10**9:09}s")'


def _timestamp(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f'timestamp("{moment.isoformat()[:19]}.{rest:09}Z")'


def _plain(value: dict[str, Any]) -> Any:
    kind, inside = value["t"], value.get("v")
    match kind:
        case "int" | "uint":
            return int(str(inside))
        case "double":
            return float(str(inside))
        case "list":
            return [_plain(each) for each in inside or ()]
        case "map":
            return {_plain(key): _plain(each) for key, each in inside or ()}
        case "bytes":
            return base64.b64decode(str(inside))
        case _:
            return inside
