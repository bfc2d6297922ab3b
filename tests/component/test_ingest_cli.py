"""`ingest test` of both commands: what samples become by the rules of the documents, and what is wrong with rules."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/devices.md"
RULES = next(iter(re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)))
SAMPLE = b"""plant/a/press-1/temp {"v": 21.5, "t": 1700000000000, "u": "Cel"}
plant/a/press-1/temp {"v": 210.5, "t": 1700000000000}

plant/a/press-1/temp {"v": 1}
plant/a/press-1 {"x": true, "y": null}
else\x1b[31m/\xff 1
"""


def run(command: str, folder: Path, *words: str, rules: str = RULES) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(rules)
    (folder / "sample.txt").write_bytes(SAMPLE)
    module = {"holdfast": "holdfast_hub.cli.main", "holdfast-edge": "holdfast_edge.cli.main"}[command]
    code = f"import sys; from {module} import main; sys.exit(main())"
    line = [sys.executable, "-c", code, "ingest", "test", "rules.yaml", "sample.txt", *words]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("command", ["holdfast", "holdfast-edge"])
def test_samples_are_shown_as_readings_or_with_the_place_in_the_rules(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path)
    assert done.returncode == 1, done.stderr
    assert "press-1 temp = 21.5 Cel at 2023-11-14T22:13:20.000Z good p3 by rules[0]" in done.stdout
    assert "press-1 temp = 210.5 at 2023-11-14T22:13:20.000Z bad p3 by rules[0]" in done.stdout
    assert "rejected NoValue: the message has no payload.t (rules.yaml:9:13 spec.rules[0].time)" in done.stdout
    assert "a.press-1 x = true" in done.stdout
    assert "rejected NoRule" in done.stdout
    assert "\x1b" not in done.stdout
    rows = json.loads(run(command, tmp_path, "-o", "json").stdout)["samples"]
    assert [(row["line"], len(row["readings"]), row["reason"]) for row in rows] == [
        (1, 1, ""), (2, 1, ""), (4, 0, "NoValue"), (5, 1, ""), (6, 0, "NoRule"),
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["holdfast", "holdfast-edge"])
def test_a_whole_file_is_one_payload_of_a_topic(command: str, tmp_path: Path) -> None:
    rules = RULES.replace("spec:\n", "spec:\n  format: raw\n", 1).replace("${payload.v}", "${payload}")
    rules = (
        re.sub(r" +(time|unit|each): .*\n", "", rules)
        .replace("metric: ${key}", "metric: m")
        .replace("${item}", "${payload}")
    )
    done = run(command, tmp_path, "--topic", "plant/a/press-1/picture", rules=rules)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data:application/octet-stream;base64," in done.stdout


@pytest.mark.parametrize("command", ["holdfast", "holdfast-edge"])
def test_wrong_rules_are_refused_with_line_and_column(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path, rules=RULES.replace("topic.area", "topic.aera"))
    assert done.returncode == 2
    assert "rules.yaml:14:15" in done.stderr
    assert "the topic has area, device" in done.stderr
    assert run(command, tmp_path, rules="kind: Other\napiVersion: v1\n").returncode == 2
