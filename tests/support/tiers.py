"""Readings and the policies that keep copies of them in longer spans, and what is answered of the two."""

import random

from holdfast_hub.operations import history
from holdfast_hub.operations.history import Asked
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store.buckets import Bucket
from holdfast_protocol.wire.readings import Reading

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def policy(name: str, spec: str) -> str:
    return f"apiVersion: holdfast.io/v1alpha1\nkind: Retention\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


TIERS = policy("tiers", "maxAge: 1d, tiers: [{every: 1m, maxAge: 30d}, {every: 1h}]")


def some(hub: Hub, seed: int, count: int = 60, days: float = 3) -> list[Reading]:
    """Return readings of four metrics and every kind, of the last days, in no order."""
    chance = random.Random(seed)

    def moment() -> int:
        return hub.now() - round(chance.random() * days * DAY) // 20 * 20

    found = []
    for _ in range(count):
        found.append(Reading("press", "t", moment(), chance.choice([1, -4, 2.5, 0.25, float("nan")]), unit="C"))
        found.append(Reading("press", "t", moment(), 99.5, unit="C", quality="bad"))
        found.append(Reading("press", "open", moment(), chance.random() < 0.5))
        found.append(Reading("press", "state", moment(), chance.choice(["on", "off"])))
    return found


async def said(hub: Hub, every: int, **other: object) -> list[Bucket]:
    return await history.reduced(hub, Asked(every=every, limit=100_000, **other))  # type: ignore[arg-type]


def shown(buckets: list[Bucket]) -> list[tuple[object, ...]]:
    return [
        (
            each.metric,
            each.unit,
            each.time,
            each.until,
            each.count,
            each.bad,
            each.min,
            each.max,
            each.mean,
            repr(each.last),
        )
        for each in buckets
        if each.count or each.bad
    ]


def rows(hub: Hub, table: str) -> int:
    with hub.streams.database.reading() as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
