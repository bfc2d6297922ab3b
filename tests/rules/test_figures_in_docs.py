"""The figures pages say of bounds and waits are those the code keeps."""

import re
from pathlib import Path

import pytest

from holdfast_edge.core import attempts, holds, overrides, reboots, shaping, transaction
from holdfast_edge.core.sparkplug import host, payload, rebirths, sequence, tables
from holdfast_edge.ingest import amqp10, exchange, http_server, memory, mqtt, noticing
from holdfast_edge.link import pace
from holdfast_edge.providers.kubernetes import watching
from holdfast_edge.reconcile import asker
from holdfast_hub.blueprint import instance, json_patch, overlay
from holdfast_hub.link import credit
from holdfast_hub.operations import commands, history, retention, telemetry
from holdfast_hub.operations import sinks as sink_loops
from holdfast_hub.sinks import nats
from holdfast_hub.store import devices, reader, retired, sinks, sizes
from holdfast_protocol.blueprint import cel, cel_size, evaluation, filling, node, policy, yaml_text
from holdfast_protocol.bridging import loops
from holdfast_protocol.kinds import file, inputs, kubernetes, units
from holdfast_protocol.mapping import compiled, formats, values
from holdfast_protocol.relay import give
from holdfast_protocol.runtime import link
from holdfast_protocol.wire import readings, strict, windows

DOCS = Path(__file__).resolve().parents[2] / "docs"
KIB, MIB, HOUR, DAY = 1024, 1024 * 1024, 3600, 24 * 3600
FIGURES = [  # page, what it says with the figure as (), the figure
    ("amqp.md", "at most () KiB with all that is around", amqp10.LARGEST / KIB),
    ("amqp.md", "holds at most about () MiB", amqp10.AT_ONCE / MIB),
    ("amqp.md", "`prefetch` \\(at most ()\\)", inputs.MAX_PREFETCH),
    ("blueprints.md", "() Ki characters an expression", cel.MAX_SOURCE / KIB),
    ("blueprints.md", "() Mi characters of all one evaluation", cel_size.LIMIT / MIB),
    ("blueprints.md", "nesting 32, () for `lists.range`", cel_size.RANGE),
    ("blueprints.md", "Bounds: () Mi characters a file", yaml_text.MAX_CHARACTERS / MIB),
    ("blueprints.md", "() Ki a value", yaml_text.MAX_VALUE / KIB),
    ("blueprints.md", "a value, () values", yaml_text.MAX_VALUES),
    ("blueprints.md", "depth (), 2,000 documents", yaml_text.MAX_DEPTH),
    ("blueprints.md", "() documents\\.", yaml_text.MAX_DOCUMENTS),
    ("blueprints.md", "() Ki characters a text", instance.MAX_TEXT / KIB),
    ("blueprints.md", "a text, () KiB of values", instance.MAX_BYTES / KIB),
    ("blueprints.md", "Bounds: () loops", node.MAX_DIMENSIONS),
    ("blueprints.md", "() items a collection", evaluation.MAX_ITEMS),
    ("blueprints.md", "() MiB a resource", filling.MAX_BYTES / MIB),
    ("blueprints.md", "() MiB for all collections", evaluation.MAX_TOTAL / MIB),
    ("blueprints.md", "Bounds: () patches", overlay.MAX_PATCHES),
    ("blueprints.md", "() operations a patch", json_patch.MAX_OPERATIONS),
    ("blueprints.md", "Bounds: () rules", policy.MAX_RULES),
    ("blueprints.md", "() KiB a policy", policy.MAX_SPEC / KIB),
    ("bridges.md", "or has come over (\\w+), is dropped", "eight" if loops.MAX_HOPS == 8 else ""),
    ("bridges.md", "over a (\\w+) times in ten seconds", "hundred" if (loops.AGAIN, loops.SPAN) == (100, 10) else ""),
    ("bridges.md", "(\\w+) connections in a row ended", "six" if give.GUILTY == 6 else ""),
    ("bridges.md", "the last (\\w+) with it alone", "three" if give.GUILTY - give.SUSPECT == 3 else ""),
    ("device-data.md", "A site lists () devices", devices.MAX_LISTED),
    ("device-data.md", "takes over () s is ended", reader.WITHIN),
    ("device-data.md", "() in memory at a time", history.PAGE),
    ("device-data.md", "kept at the hub for at most () days", commands.MAX_SECONDS / DAY),
    ("device-data.md", "a number counts () bytes", sizes.ROW + 8),
    ("device-data.md", "a text () and its", sizes.ROW),
    ("device-data.md", "in slices of () with ingest", retired.SLICE),
    ("device-data.md", "looked at every (\\w+) minutes", "ten" if retention.EVERY * retention.AGES == 600 else ""),
    ("device-data.md", "into JetStream, () acknowledgements", nats.WINDOW),
    ("device-data.md", "over a (\\w+) stored groups", "million" if sinks.MAX_WAITING == 1_000_000 else ""),
    ("device-data.md", "from one second to (\\w+) minutes", "five" if sink_loops.LONGEST == 300 else ""),
    ("devices.md", "at most () metrics", values.MAX_METRICS),
    ("devices.md", "a text () characters", values.MAX_TEXT),
    ("devices.md", "A payload is at most () KiB", formats.MAX_PAYLOAD / KIB),
    ("devices.md", "\\(HTTP () KiB\\)", exchange.MAX_BODY / KIB),
    ("devices.md", "() levels and 2,000 readings", strict.MAX_DEPTH),
    ("devices.md", "32 levels and () readings", compiled.MAX_READINGS),
    ("devices.md", "base64,…`, up to () bytes", formats.MAX_RAW),
    ("devices.md", "at most () in one transaction", mqtt.TOGETHER),
    ("devices.md", "The first of a batch waits () ms", mqtt.WITHIN * 1000),
    ("devices.md", "of the last ()\\)", memory.CHUNK * memory.CHUNKS),
    ("devices.md", "where each device was seen \\(() of them\\)", noticing.MAX_KNOWN),
    ("devices.md", "() connections; a request", http_server.MAX_CONNECTIONS),
    ("devices.md", "a request has () seconds", http_server.WITHIN),
    ("devices.md", "what would be the ()st open window", shaping.MAX_WINDOWS + 1),
    ("limits.md", "There are at most () at a node", overrides.MAX_OVERRIDES),
    ("limits.md", "at a node, () KiB together", overrides.MAX_BYTES / KIB),
    ("limits.md", "within a day are at most () starts", windows.OFTEN),
    ("limits.md", "Events come for the first () objects", watching.MAX_WATCHED),
    ("limits.md", "made anew every (), and the broker", mqtt.MOST),
    ("operations.md", "sends them every () s", telemetry.EVERY),
    ("operations.md", "A hold lasts at most () days", holds.MAX_SECONDS / DAY),
    ("operations.md", "`--for` \\(at most () days\\)", overrides.MAX_SECONDS / DAY),
    ("operations.md", "and again every (\\w+) seconds", "ten" if asker.FRESH == 10 else ""),
    ("operations.md", "A restart of the agent counts for (\\w+) seconds", "ten" if transaction.RESTART == 10 else ""),
    ("operations.md", "and (\\w+) restarts that interrupted", "ten" if transaction.MAX_RESTARTS == 10 else ""),
    ("operations.md", "was not reached again in () minutes", reboots.CONVERGES / 60),
    ("operations.md", "repaired at once (\\w+) times", "five" if attempts.FREE_REPAIRS == 5 else ""),
    ("operations.md", "after (\\w+) times in a row not any more", "ten" if attempts.BUDGET == 10 else ""),
    ("operations.md", "an agent tries every (\\w+) minutes at most", "five" if link.LONGEST == 300 else ""),
    ("protocol.md", "\\(() to 128 KiB\\)", pace.LEAST_BATCH / KIB),
    ("protocol.md", "\\(8 to () KiB\\)", pace.LARGEST_BATCH / KIB),
    ("protocol.md", "in batches: () shared by all", credit.PLACES),
    ("protocol.md", "1 to () each", credit.MOST),
    ("resources.md", "exactly one; at most () MiB", file.MAX_CONTENT / MIB),
    ("resources.md", "at most () files for `NAME.service.d/`", units.MAX_DROP_INS),
    ("resources.md", "in order; at most () and 1 MiB", kubernetes.MAX_MANIFESTS),
    ("resources.md", "for the first () objects", watching.MAX_WATCHED),
    ("sparkplug.md", "boolean, text of at most () characters", readings.MAX_TEXT),
    ("sparkplug.md", "() KiB of these, files included", tables.MAX_HEAVY / KIB),
    ("sparkplug.md", "its members, () deep", tables.MAX_DEPTH),
    ("sparkplug.md", "within () s of its edge node's birth", host.REBORN_WITHIN),
    ("sparkplug.md", "early waits up to () s", sequence.REORDER),
    ("sparkplug.md", "\\(at most () of them\\)", sequence.MAX_EARLY),
    ("sparkplug.md", "again after () s, then", rebirths.FIRST),
    ("sparkplug.md", "to () min; at most", rebirths.LONGEST / 60),
    ("sparkplug.md", "at most () a second to all nodes", rebirths.RATE),
    ("sparkplug.md", "() times in vain", rebirths.PATIENCE),
    ("sparkplug.md", "Bounds: () MiB", payload.MAX_PAYLOAD / MIB),
    ("sparkplug.md", "() metrics a message", payload.MAX_METRICS),
    ("sparkplug.md", "() edge nodes", host.MAX_NODES),
    ("sparkplug.md", "() devices of each", host.MAX_DEVICES),
    ("sparkplug.md", "() metrics together", host.MAX_KNOWN),
]


@pytest.mark.parametrize(("page", "said", "figure"), FIGURES, ids=[f"{page}: {said}" for page, said, _ in FIGURES])
def test_a_page_says_the_figure_the_code_has(page: str, said: str, figure: float | str) -> None:
    text = " ".join((DOCS / page).read_text().split())
    found = re.search(said.replace("()", "([0-9][0-9,]*)"), text)
    assert found is not None, f"{page} does not say: {said}"
    assert found[1].rstrip(",") == (
        figure if isinstance(figure, str) else f"{figure:,g}" if figure < 1e6 else f"{int(figure):,}"
    )
