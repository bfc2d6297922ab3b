"""Readings as rows of PostgreSQL, each once by its identity, however often it is sent."""

from collections.abc import Sequence
from typing import Any, Final

import anyio

from holdfast_hub.blueprint.destinations import PostgreSQL
from holdfast_hub.sinks.outlet import MAX_WHY, NOTHING, Refusal, in_halves, missing, secret, unreachable
from holdfast_hub.store.sinks import Entry

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS {table} (
  site text NOT NULL, node text NOT NULL, stream text NOT NULL, incarnation text NOT NULL, sequence bigint NOT NULL,
  device text NOT NULL, metric text NOT NULL, time timestamptz, milliseconds bigint NOT NULL, kind text NOT NULL,
  number double precision, integer bigint, text text, unit text NOT NULL, quality text NOT NULL,
  PRIMARY KEY (site, node, stream, incarnation, sequence)
)"""
_INSERT: Final = """
INSERT INTO {table} VALUES (%s, %s, %s, %s, %s, %s, %s, to_timestamp(%s::double precision), %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING"""
_YEARS: Final = (-62_135_596_800_000, 253_402_300_800_000)  # milliseconds that PostgreSQL and calendars have dates for


class PostgreSQLOutlet:
    """INVARIANTS: one connection; a batch is one transaction."""

    def __init__(self, wanted: PostgreSQL) -> None:
        """Raises PermanentError `NoDriver` without the extra it needs."""
        try:
            import psycopg
            import psycopg.sql
        except ImportError as error:
            raise missing("psycopg", "postgresql") from error
        self._psycopg = psycopg
        self._wanted = wanted
        self._connection: Any = None  # psycopg.AsyncConnection once there is one
        self._table = psycopg.sql.Identifier(*wanted.table.split("."))

    async def send(self, entries: Sequence[Entry]) -> Refusal:
        """Send in one transaction, or in as many as it takes to find what the table cannot hold."""
        return await in_halves(entries, self._attempt)

    async def _attempt(self, entries: Sequence[Entry]) -> tuple[bool, Refusal]:
        try:
            with anyio.fail_after(self._wanted.timeout_seconds):
                connection = await self._connected()
                async with connection.transaction(), connection.cursor() as cursor:
                    await cursor.executemany(self._statement(_INSERT), [_row(each) for each in entries])
        except self._psycopg.DataError as error:
            return False, Refusal(why=str(error)[:MAX_WHY])
        except (self._psycopg.Error, OSError, ValueError) as error:  # of names of hosts that cannot be
            await self.close()
            raise unreachable(error) from error
        return True, NOTHING

    def _statement(self, text: str) -> Any:
        return self._psycopg.sql.SQL(text).format(table=self._table)

    async def _connected(self) -> Any:
        if self._connection is None:
            words: dict[str, Any] = {"client_encoding": "UTF8"}  # else that of the database, which may lack our letters
            if self._wanted.password_file:
                words["password"] = await secret(self._wanted.password_file)
            self._connection = await self._psycopg.AsyncConnection.connect(
                self._wanted.connection, autocommit=True, **words
            )
            await self._connection.execute("SET synchronous_commit = on")
            await self._connection.execute(self._statement(_CREATE))
        return self._connection

    async def close(self) -> None:
        held, self._connection = self._connection, None
        if held is not None:
            await held.close()


def _row(entry: Entry) -> tuple[Any, ...]:
    one, row = entry.series, entry.row
    value = row.value
    dated = _YEARS[0] <= row.time < _YEARS[1]
    texts = (one.site, one.node, entry.stream, entry.incarnation)
    return (
        *texts,
        row.sequence,
        _text(one.device),
        _text(one.metric),
        row.time / 1000 if dated else None,
        row.time,
        one.kind,
        None if isinstance(value, str) else float(value),
        value if one.kind == "int" else None,
        _text(value) if isinstance(value, str) else None,
        _text(one.unit),
        _text(one.quality),
    )


def _text(text: str) -> str:
    """PostgreSQL's text has no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
