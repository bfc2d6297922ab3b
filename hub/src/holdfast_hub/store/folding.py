"""Groups of readings on their way into coarser copies and sizes, each once.

A group is noted when it is stored and is off the list in the transaction that adds it up: a kill between two leaves it
there. Only what is decided is folded (a fork takes back the rest), and a reading that is not folded is not retired.
One task of the hub folds; what it reads beside ingest nobody else changes.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec

from holdfast_hub.core.stretches import APART
from holdfast_hub.core.sums import Sums, merged
from holdfast_hub.store import coarse, sizes
from holdfast_hub.store.coarse import Span
from holdfast_hub.store.readings import EVER
from holdfast_hub.store.series import stretches
from holdfast_hub.store.sizes import DAY, Size

READINGS: Final = 5_000  # folded at once, at least one group
SLICE: Final = 20_000  # readings a new copy takes in at once
BEGINNING: Final = -(2**63)  # no reading is earlier
# Of a reading in a query on `readings`: whether its group waits.
WAITS: Final = (
    "coalesce((SELECT last FROM unfolded WHERE unfolded.stream = readings.stream"
    " AND unfolded.first <= readings.sequence ORDER BY unfolded.first DESC LIMIT 1), -1) >= readings.sequence"
)
_LENGTH: Final = f"(CASE tiers.every WHEN 0 THEN {DAY} ELSE tiers.every END)"
_BEGIN: Final = f"(time - ((time % {_LENGTH}) + {_LENGTH}) % {_LENGTH})"  # SQLite's % is below zero before 1970
_NUMBER: Final = "CASE WHEN kind = 'text' THEN NULL ELSE value END"
_SUMS: Final = (
    f"SELECT tiers.series AS series, tiers.every AS every, {_BEGIN} AS begin, stream, count(*), count({_NUMBER}),"  # noqa: S608 (constants)
    f" min({_NUMBER}), max({_NUMBER}), total({_NUMBER}), max(time) AS newest, sum({sizes.BYTES})"
    " FROM tiers JOIN series ON series.id = tiers.series JOIN stretch"
    " JOIN readings ON readings.series = tiers.series AND time BETWEEN low AND high WHERE "
)


class Run(msgspec.Struct, frozen=True):
    """Neighbouring groups of one stream, and the earliest and latest of their times."""

    stream: int
    site: str
    node: str
    first: int
    last: int
    since: int
    until: int


class Part(msgspec.Struct, frozen=True):
    """What some readings add."""

    spans: list[Span]
    sizes: list[Size]


def watch(connection: sqlite3.Connection, site: str) -> None:
    """Note the groups of a site from now on, and those that are not decided yet."""
    if connection.execute("INSERT INTO folding VALUES (?) ON CONFLICT DO NOTHING", (site,)).rowcount:
        connection.execute(
            "INSERT OR IGNORE INTO unfolded SELECT stream, first, last, segments.since, until"
            " FROM streams JOIN segments ON segments.stream = streams.id WHERE site = ? AND kind = 'readings'"
            " AND first > coalesce((SELECT ranges.last FROM ranges WHERE ranges.stream = streams.id"
            " AND ranges.first = origin + 1), origin)",
            (site,),
        )


def waiting(connection: sqlite3.Connection) -> dict[str, list[tuple[int, int]]]:
    """Return the earliest and latest times of stretches that have all that is not folded, by site."""
    found: dict[str, list[tuple[int, int]]] = {}
    for site, since, until in connection.execute(
        "SELECT site, coalesce(stretches.since, unfolded.since) AS since, coalesce(stretches.until, unfolded.until)"
        " FROM unfolded JOIN streams ON streams.id = unfolded.stream LEFT JOIN stretches"
        " ON stretches.stream = unfolded.stream AND stretches.first = unfolded.first ORDER BY site, 2"
    ):
        held = found.setdefault(site, [])
        if held and since <= held[-1][1] + APART:
            held[-1] = (held[-1][0], max(held[-1][1], until))
        else:
            held.append((since, until))
    return found


def next_run(connection: sqlite3.Connection) -> Run | None:
    """Return what is to be folded next, None when nothing that is decided waits."""
    found: Run | None = None
    for stream, site, node, first, last, since, until in connection.execute(
        "SELECT unfolded.stream, site, node, unfolded.first, unfolded.last, unfolded.since, unfolded.until"
        " FROM streams JOIN ranges ON ranges.stream = streams.id AND ranges.first = origin + 1"
        " JOIN unfolded ON unfolded.stream = streams.id AND unfolded.last <= ranges.last"
        " ORDER BY unfolded.stream, unfolded.first LIMIT ?",
        (READINGS,),
    ):
        if found is None:
            found = Run(stream, site, node, first, last, since, until)
            continue
        earliest, latest = min(found.since, since), max(found.until, until)
        apart = stream != found.stream or first != found.last + 1 or latest - earliest > DAY
        if apart or last - found.first >= READINGS:
            break
        found = Run(stream, site, node, found.first, last, earliest, latest)
    return found


def part_of(connection: sqlite3.Connection, run: Run) -> Part:
    """Return what a run adds to the copies and sizes of its series."""
    where = "site = ? AND node = ? AND stream = ? AND sequence BETWEEN ? AND ? AND (upto IS NULL OR time < upto)"
    values = (run.site, run.node, run.stream, run.first, run.last)
    times = stretches(connection, run.stream, run.first, (run.since, run.until))
    return _part(connection, times, where, values, "readings.sequence BETWEEN ? AND ?", (run.first, run.last))


def take_in(connection: sqlite3.Connection, run: Run, part: Part) -> None:
    """Add a run: with it its groups are folded."""
    _write(connection, part)
    connection.execute(
        "DELETE FROM unfolded WHERE stream = ? AND first BETWEEN ? AND ?", (run.stream, run.first, run.last)
    )


def _part(
    connection: sqlite3.Connection,
    times: Sequence[tuple[int, int]],
    where: str,
    values: Sequence[object],
    which: str,
    ends: Sequence[object],
) -> Part:
    """Return what the readings of some times selected by `where` come to; `which` of those at one time are of them."""
    stretch = f"WITH stretch(low, high) AS (VALUES {', '.join(['(?, ?)'] * len(times))})"
    found: dict[tuple[int, int, int], list[Sums]] = {}
    held: list[Size] = []
    newest: tuple[object, ...] = ()
    for (
        series,
        every,
        start,
        stream,
        count,
        numbers,
        least,
        greatest,
        total,
        time,
        size,
        sequence,
        last,
    ) in connection.execute(
        f"{stretch} SELECT sums.*, readings.sequence, value FROM ({_SUMS}{where} GROUP BY 1, 2, 3, 4) AS sums"  # noqa: S608 (constants)
        " JOIN readings ON readings.series = sums.series AND time = newest AND readings.stream = sums.stream"
        f" AND {which} ORDER BY 1, 2, 3, 4, readings.sequence DESC",
        (*chain.from_iterable(times), *values, *ends),
    ):
        key = (series, every, start, stream)
        if key == newest:  # of several at one time the first here is the last
            continue
        newest = key
        if every == 0:
            held.append(Size(series, stream, start, count, size))
        else:
            part = Sums(count, numbers, least, greatest, total, last, (time, stream, sequence))
            found.setdefault((series, every, start), []).append(part)
    spans = [Span(*key, merged([*parts, *coarse.at(connection, *key)])) for key, parts in found.items()]
    return Part(spans, held)


def _write(connection: sqlite3.Connection, part: Part) -> None:
    coarse.put(connection, part.spans)
    sizes.add(connection, part.sizes)


class Beginning(msgspec.Struct, frozen=True):
    """A copy that is being made of what is there: it has all folded readings before `upto`."""

    series: int
    every: int
    upto: int


class Step(msgspec.Struct, frozen=True):
    """`anew`: what the copy has so far goes, and it is made from the beginning."""

    part: Part
    upto: int | None  # None: with it the copy is whole
    source: int  # the length of the copy it is made of, 0: of readings
    anew: bool = False


def start(connection: sqlite3.Connection, wanted: Iterable[tuple[int, int]]) -> None:
    """Begin copies, by series and length; those there are go on."""
    connection.executemany(
        "INSERT INTO tiers VALUES (?, ?, ?) ON CONFLICT DO NOTHING", [(*each, BEGINNING) for each in wanted]
    )


def has_begun(connection: sqlite3.Connection, series: int, every: int) -> bool:
    """Return whether a copy is there or being made."""
    row = connection.execute("SELECT 1 FROM tiers WHERE series = ? AND every = ?", (series, every)).fetchone()
    return row is not None


def beginnings(connection: sqlite3.Connection, site: str) -> list[Beginning]:
    """Return the copies of a site that are not whole yet, the finest first."""
    rows = connection.execute(
        "SELECT series, every, upto FROM tiers JOIN series ON series.id = series WHERE site = ? AND upto IS NOT NULL"
        " ORDER BY every, series",
        (site,),
    )
    return [Beginning(*row) for row in rows]


def next_step(connection: sqlite3.Connection, each: Beginning) -> Step:
    """Return the next slice of a new copy: of the next finer copy, which knows what is gone, or of the readings."""
    if each.every and (finer := coarse.finer(connection, each.series, each.every)):
        if each.upto != BEGINNING and each.upto % finer:  # made of something else so far: it has a part of a span
            return Step(Part([], []), BEGINNING, finer, anew=True)
        spans, upto = coarse.next_spans(connection, each.series, finer, each.every, each.upto)
        return Step(Part(spans, []), upto, finer)
    row = connection.execute(
        "SELECT time FROM readings WHERE series = ? AND time >= ? ORDER BY time LIMIT 1 OFFSET ?",
        (each.series, each.upto, SLICE),
    ).fetchone()
    upto = None if row is None else max(row[0], each.upto + 1)
    where = f"tiers.series = ? AND tiers.every = ? AND NOT {WAITS}"
    times = [(each.upto, EVER if upto is None else upto - 1)]
    return Step(_part(connection, times, where, (each.series, each.every), f"NOT {WAITS}", ()), upto, 0)


def make(connection: sqlite3.Connection, each: Beginning, step: Step) -> None:
    """Add a slice of a new copy; a whole one lacks what its source lacked."""
    if step.anew:
        coarse.clear(connection, each.series, each.every)
    _write(connection, step.part)
    if step.upto is None:
        connection.execute(
            "INSERT INTO taken SELECT series, ?, reason, since, until, 0 FROM taken WHERE series = ? AND every = ?"
            " ON CONFLICT DO NOTHING",
            (each.every, each.series, step.source),
        )
    connection.execute("UPDATE tiers SET upto = ? WHERE series = ? AND every = ?", (step.upto, each.series, each.every))
