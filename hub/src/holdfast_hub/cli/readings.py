"""readings and ledger: what devices said, and the proof that nothing is missing."""

import time
from datetime import UTC, datetime
from typing import Any, Final

import click

from holdfast_hub.cli import exits, output, spans
from holdfast_hub.cli.client import Client, segment
from holdfast_hub.cli.spans import duration

AGGREGATES: Final = ("count", "min", "max", "mean", "last")


def moment(text: str | None) -> int | None:
    """Return milliseconds since 1970 of RFC 3339 text, or of an age such as 90s, 15m, 2h, 7d before now."""
    if not text:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text[-1] in units and text[:-1].isdigit():
        return int((time.time() - int(text[:-1]) * units[text[-1]]) * 1000)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return exits.usage(f"'{text}' is no time", "2026-11-21T08:00:00Z, or an age: 15m, 2h, 7d")
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def between(since: str | None, until: str | None) -> dict[str, str | int | None]:
    """Return the API's words for a span of time; the first has to be before the second."""
    start, end = moment(since), moment(until)
    if start is not None and end is not None and start >= end:
        exits.usage(f"--from {since} is not before --to {until}", "--from 3h --to 2h is the hour two hours ago")
    return {"from": start, "to": end}


@click.command()
@click.option("--site", metavar="NAME", help="Of this site.")
@click.option("--device", metavar="NAME", help="Of this device.")
@click.option("--metric", metavar="NAME", help="Of this metric.")
@click.option("--from", "since", metavar="TIME", help="Not before: RFC 3339, or an age such as 2h.")
@click.option("--to", "until", metavar="TIME", help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many at most.")
@click.option("--every", metavar="TIME", help="One row for each span of this length: 30s, 5m, 1h, 1d.")
@click.option("--agg", type=click.Choice(AGGREGATES), help="With --every: only this of each span.")
@click.option("--oldest-first", is_flag=True, help="Oldest first (the newest come first otherwise).")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def readings(
    client: Client,
    site: str | None,
    device: str | None,
    metric: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    every: str | None,
    agg: str | None,
    oldest_first: bool,
    form: str,
) -> None:
    """Query device readings by site, device, metric and time. Holes are shown as holes."""
    query: dict[str, str | int | None] = {"site": site, "device": device, "metric": metric, "limit": limit}
    query |= {**between(since, until), "order": "asc" if oldest_first else "desc"}
    if every is not None:
        _buckets(client.get("/v1/readings/buckets", every=duration(every) * 1000, **query), agg, form)
        return
    if agg is not None:
        exits.usage("--agg is of spans of time", "--every 5m")
    answer = client.get("/v1/readings", **query)
    if form != "table":
        output.emit(answer, form)
        return
    output.table(
        ["TIME", "SITE", "DEVICE", "METRIC", "VALUE", "UNIT", "QUALITY"],
        [
            [
                _time(item["time"]),
                item["site"],
                item["device"],
                item["metric"],
                _cell(item["value"]),
                item["unit"],
                item["quality"],
            ]
            for item in answer["items"]
        ],
    )
    for gap in answer.get("gaps", ()):
        output.say(f"gap: {output.printable(str(gap))}")
    for taken in answer.get("retired", ()):
        output.say(output.printable(_taken(taken)))


def _taken(taken: dict[str, Any]) -> str:
    loss, tiers = taken["loss"], ", ".join(f"--every {spans.written(each / 1000)}" for each in taken["tiers"])
    where = f"{taken['site']}/{taken['device']} {taken['metric']}"
    when = f"{_time(loss['since'])} to {_time(loss['until'])}"
    return f"retired: {where}: {loss['rows']} readings of {when}, {loss['reason']}" + (
        f"; kept: {tiers}" if tiers else ""
    )


def _buckets(answer: dict[str, Any], agg: str | None, form: str) -> None:
    """Print buckets; an empty one says how long nothing came."""
    if form != "table":
        names = ("site", "node", "device", "metric", "unit", "time", "until", "count", "tier", "lost")
        only = [{key: item[key] for key in (*names, agg)} for item in answer["items"]] if agg else answer["items"]
        output.emit({"items": only}, form)
        return
    shown = [agg] if agg else list(AGGREGATES)
    output.table(
        ["TIME", "SITE", "DEVICE", "METRIC", *(name.upper() for name in shown), "UNIT", "TIER"],
        [
            [_time(item["time"]), item["site"], item["device"], item["metric"]]
            + [_shown(item[name]) for name in shown]
            + [item["unit"], spans.written(item["tier"] / 1000) if item["tier"] else "-"]
            for item in answer["items"]
        ],
        [[] if item["count"] or item["bad"] else [_hole(item)] for item in answer["items"]],
    )


def _hole(item: dict[str, Any]) -> str:
    return f"gap until {_time(item['until'])}" + (f" ({item['lost']})" if item["lost"] else "")


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else _cell(value)


def _cell(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@click.command()
@click.argument("site")
@output.formatted("table", "json", "yaml")
@click.pass_obj
def ledger(client: Client, site: str, form: str) -> int:
    """Prove of SITE that every record sent is stored, recorded as lost, or on its way. Exit 1 when it is not."""
    answer: dict[str, Any] = client.get(f"/v1/ledger/{segment(site)}")
    if form != "table":
        output.emit(answer, form)
    else:
        titles = ["node", "stream", "sent", "stored", "tombstoned", "retired", "pending", "exact"]
        output.table(
            [title.upper() for title in titles],
            [[_cell(stream[title]) for title in titles] for stream in answer["streams"]],
        )
    return exits.DONE if answer["exact"] else exits.NEGATIVE
