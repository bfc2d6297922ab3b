"""`scripts/conformance FILE...`: judge every case of files in the shared format.

Prints `name passed/total` for each file, then its failures: excused ones by the reason that excuses them, the others one by
one. Exits 1 when one is not excused by docs/deviations.toml, or a file cannot be read.
"""

import json
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from support.conformance.cases import Case, Judge, Verdict
from support.conformance.graphs import judge_graph
from support.conformance.language import judge_cel, judge_kro_expression, judge_scan
from support.conformance.schemas import judge_change, judge_instance, judge_markers, judge_schema
from support.conformance.selection import judge_field_selector, judge_selector

DEVIATIONS = Path(__file__).parents[3] / "docs" / "deviations.toml"
JUDGES: dict[str, Judge] = {
    "cel": judge_cel,
    "expressions": judge_scan,
    "field selectors": judge_field_selector,
    "graphs": judge_graph,
    "instances": judge_instance,
    "kro expressions": judge_kro_expression,
    "markers": judge_markers,
    "schema changes": judge_change,
    "schemas": judge_schema,
    "selectors": judge_selector,
}


class Deviation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Excuses failures of one kind of file: all of them, those with one of the ids, or with one of the features."""

    kind: str
    reason: str
    ids: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def excuses(self, kind: str, case: Case, verdict: Verdict) -> bool:
        if kind != self.kind:
            return False
        if not self.ids and not self.features:
            return True
        return case["id"] in self.ids or not verdict.features.isdisjoint(self.features)


class Outcome(msgspec.Struct):
    """What became of one file's cases. `excused` counts by reason; `failures` are the others, as text."""

    name: str
    kind: str
    total: int = 0
    passed: int = 0
    excused: dict[str, list[str]] = {}
    failures: list[str] = []


def kind_of(cases: list[Case], file: dict[str, Any]) -> str:
    """Return the kind of cases a file holds, by their shape; empty when it is none we know."""
    keys = {key for case in cases for key in case}
    expected = {key for case in cases if isinstance(case.get("expect"), dict) for key in case["expect"]}
    if "matchExpressions" in keys:
        return "field selectors"
    if "definition" in keys:
        return "graphs"
    if {"old", "new"} <= keys:
        return "schema changes"
    if "expr" in keys:
        return "kro expressions" if "vars" in keys else "cel"
    if "spec" in keys:
        return "instances" if "instance" in keys else "schemas"
    if "kind" in keys:
        return "selectors"
    if "text" in keys:
        return "markers" if "markers" in expected or "markers" in str(file.get("source", "")) else "expressions"
    return ""


def run(path: Path, deviations: list[Deviation]) -> Outcome:
    """Judge one file. Raises ValueError when it is not of the shared format."""
    file = json.loads(path.read_text())
    cases: list[Case] = file.pop("cases")
    kind = kind_of(cases, file)
    if not kind:
        raise ValueError("no kind of cases known here")
    outcome = Outcome(path.stem, kind, len(cases))
    excused: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        verdict = JUDGES[kind](case, file) if kind in JUDGES else Verdict(False, "not there yet")
        if verdict.passed:
            outcome.passed += 1
            continue
        reason = next((each.reason for each in deviations if each.excuses(kind, case, verdict)), "")
        if reason:
            excused[reason].append(case["id"])
        else:
            expect = json.dumps(case["expect"], ensure_ascii=False)[:300]
            outcome.failures.append(f"{case['id']}: expected {expect}, got {verdict.got[:300]}")
    outcome.excused = dict(excused)
    return outcome


def load_deviations(path: Path = DEVIATIONS) -> list[Deviation]:
    return msgspec.convert(tomllib.loads(path.read_text())["deviation"], list[Deviation])


def main(arguments: list[str]) -> int:
    if not arguments:
        print("usage: scripts/conformance FILE...", file=sys.stderr)
        return 2
    deviations = load_deviations()
    failed = False
    for argument in arguments:
        path = Path(argument)
        try:
            outcome = run(path, deviations)
        except (OSError, ValueError, KeyError) as error:
            print(f"{path.stem} 0/0\n  cannot be read: {error!r}")
            failed = True
            continue
        print(f"{outcome.name} {outcome.passed}/{outcome.total}")
        for reason, ids in outcome.excused.items():
            shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
            print(f"  deviates, {len(ids)}: {reason} ({shown})")
        for failure in outcome.failures:
            print(f"  FAILED {failure}")
        failed = failed or bool(outcome.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
