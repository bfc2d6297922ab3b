"""`bridge lint` and `bridge status` as people see them, and the queue of a bridge by itself."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast_edge.cli.bridge_view import bridges_text
from holdfast_hub.blueprint.placed import is_placed
from holdfast_hub.cli.bridges import rows_of
from holdfast_hub.cli.main import main
from holdfast_protocol.blueprint.documents import read_documents
from holdfast_protocol.bridging.limits import LIMITS
from holdfast_protocol.relay.queue import Bounds, Entry, Queue, open_queue
from support.clock import FakeClock

BRIDGE = """\
apiVersion: holdfast.io/v1alpha1
kind: Bridge
metadata: {name: cloud}
spec:
  broker: aws-iot-core
  remote: {host: iot.example, tls: {}}
  out:
    - topic: a/b/c/d/e/f/g/h/i
      maxPayload: 1000
"""


def lint(folder: Path, text: str, *words: str) -> int:
    (folder / "bridge.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["bridge", "lint", str(folder / "bridge.yaml"), *words])
    return int(ended.value.code or 0)


def test_a_file_is_checked_without_a_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint(tmp_path, BRIDGE) == 1
    out = capsys.readouterr().out
    assert "error:" in out
    assert "bridge.yaml:8:" in out
    assert "at most 7 slashes" in out
    assert lint(tmp_path, BRIDGE.replace("/i", "")) == 0
    assert "warning:" in capsys.readouterr().out
    assert lint(tmp_path, BRIDGE.replace("/i", "").replace("  broker: aws-iot-core\n", ""), "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"problems": []}
    assert lint(tmp_path, BRIDGE.replace("Bridge", "File")) == 2
    hubs = BRIDGE.replace("spec:\n", "spec:\n  run: hub\n  placement: {labelSelector: {}}\n")
    capsys.readouterr()
    assert lint(tmp_path, hubs) == 1
    assert "bridge.yaml:10:" in capsys.readouterr().out
    template = "\n".join(f"      {line}" for line in BRIDGE.splitlines())
    head = "apiVersion: holdfast.io/v1alpha1\nkind: Blueprint\nmetadata: {name: a}\n"
    blueprint = f"{head}spec:\n  resources:\n  - id: a\n    template:\n{template}\n"
    filled = blueprint.replace("iot.example", '"${schema.spec.host}"').replace("h/i", "h")
    assert lint(tmp_path, filled) == 0, "what an instance fills in is not judged"
    capsys.readouterr()
    assert lint(tmp_path, blueprint) == 1
    assert "bridge.yaml:15:" in capsys.readouterr().out


PAGE = Path(__file__).resolve().parents[2] / "docs/bridges.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: str(yaml.safe_load(text)["metadata"]["name"]))
def test_every_example_of_the_page_is_taken(text: str, tmp_path: Path) -> None:
    assert lint(tmp_path, text) == 0
    (document,) = read_documents(text, "page.yaml")
    assert is_placed(document) == ("run: hub" in text)


def test_the_page_says_the_limits_the_code_has() -> None:
    table = {words[1]: words[2:] for line in PAGE.read_text().splitlines() if (words := line.split("| "))[1:2]}
    for product, limits in LIMITS.items():
        row = " ".join(table[f"`{product}` "])
        for figure in (limits.payload // 1024 % 1024, limits.subscriptions, limits.in_flight, limits.slashes):
            assert not figure or str(figure) in row, f"{product}: {figure}"
        if limits.rate:
            assert f"{limits.rate:,}" in row


def test_every_reason_to_drop_is_on_the_page() -> None:
    text = PAGE.read_text()
    for reason in (
        "Overflow",
        "Expired",
        "TooLarge",
        "BadTopic",
        "Refused",
        "EndsConnection",
        "Loop",
        "NoRule",
        "DiskFull",
    ):
        assert f"`{reason}`" in text


SAID: dict[str, Any] = {
    "site": "press-01",
    "name": "cloud\x1b[31m",
    "online": True,
    "at": 1_700_000_000_000,
    "connected": False,
    "since": 1_700_000_000_000,
    "reason": "Refused",
    "problem": "remote: \x1b[31mno",
    "ways": {"out": {"sent": 7, "per_s": 1.5, "waiting": 2, "bytes": 2048, "lag": 5, "dropped": {"Overflow": 3}}},
}


def test_how_a_bridge_does_is_a_row_for_each_way_and_nothing_of_a_stranger_reaches_the_terminal() -> None:
    (row,) = rows_of(SAID, 1_700_000_060.0)
    assert row[3:] == ["out", "7", "1.5/s", "2", "2 KiB", "5 s", "3 Overflow", "remote: \\x1b[31mno"]
    (row,) = rows_of({**SAID, "online": False}, 1_700_000_060.0)
    assert row[1] == "Refused 1m ago"
    text = bridges_text([SAID])
    assert "dropped 3 Overflow" in text
    assert "2023-11-14T22:13:20Z" in text
    assert "\x1b" not in text
    assert bridges_text([]) == "no bridges"


def queue(folder: Path, clock: FakeClock, **bounds: Any) -> Queue:
    return open_queue(folder / "q.db", Bounds(**{"bytes": 10**6, "messages": 100, **bounds}), clock)


def entries(count: int, size: int = 10) -> list[Entry]:
    return [Entry("t", b"x" * size) for _ in range(count)]


@pytest.mark.invariant("every-loss-is-counted")
def test_received_is_sent_and_dropped_and_waiting_at_every_commit(tmp_path: Path) -> None:
    held = queue(tmp_path, FakeClock(), messages=10)
    stand = held.put("out", entries(8), [("TooLarge", 2, 50)])
    assert (stand.received, stand.waiting, stand.dropped) == (10, 8, {"TooLarge": 2})
    stand = held.put("out", entries(5))
    assert (stand.received, stand.waiting, stand.dropped["Overflow"]) == (15, 10, 3)
    first = held.page("out", 0, 3)
    assert [row.number for row in first] == [4, 5, 6]
    stand = held.settle("out", [4, 5], [(6, "Refused")])
    assert (stand.sent, stand.waiting, stand.dropped) == (2, 7, {"TooLarge": 2, "Overflow": 3, "Refused": 1})
    assert held.settle("out", [4, 5]).sent == 2, "what is gone is not counted again"
    assert stand.received == stand.sent + stand.waiting + sum(stand.dropped.values())
    assert held.put("in", entries(1)).received == 1
    held.close()
    again = queue(tmp_path, FakeClock(), messages=10)
    assert again.tidy()["out"] == stand
    again.close()


def test_what_is_on_its_way_is_not_dropped_for_what_comes(tmp_path: Path) -> None:
    held = queue(tmp_path, FakeClock(), messages=5)
    held.put("out", entries(5))
    on_its_way = [row.number for row in held.page("out", 0, 2)]
    held.put("out", entries(20))
    assert [row.number for row in held.page("out", 0, 100)][:2] == on_its_way
    held.let_go("out")
    held.put("out", entries(5))
    assert held.page("out", 0, 1)[0].number > on_its_way[-1]
    held.close()


def test_bytes_are_bounded_too_and_newest_keeps_the_oldest(tmp_path: Path) -> None:
    held = queue(tmp_path, FakeClock(), bytes=2_000, drop="newest")
    stand = held.put("out", entries(10, 500))
    assert stand.bytes <= 2_000
    assert [row.number for row in held.page("out", 0, 10)] == [1, 2, 3]
    held.close()


def test_age_is_the_time_the_bridge_ran_not_what_clocks_say(tmp_path: Path) -> None:
    clock = FakeClock()
    held = queue(tmp_path, clock, ttl=10_000)
    held.put("out", entries(1))
    clock.advance(6)
    assert held.tidy()["out"].waiting == 1
    held.close()
    clock.advance(10_000)  # the node was off
    held = queue(tmp_path, clock, ttl=10_000)
    assert held.tidy()["out"].waiting == 1
    clock.advance(5)
    assert held.tidy()["out"].dropped == {"Expired": 1}
    held.close()


def test_a_damaged_queue_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / "q.db").write_bytes(b"not a database at all" * 100)
    held = queue(tmp_path, FakeClock())
    assert "set aside as q.damaged" in held.damage
    assert (tmp_path / "q.damaged").exists()
    assert held.put("out", entries(1)).waiting == 1
    held.close()
