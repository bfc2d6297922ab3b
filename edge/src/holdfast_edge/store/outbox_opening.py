"""Opening the outbox: is this the database this node last wrote? If not, it is put aside and a new history begins."""

import secrets
from pathlib import Path
from typing import Final

from holdfast_edge.store import outbox_files as files
from holdfast_edge.store import outbox_rows as rows
from holdfast_edge.store.outbox_state import Quotas, Stream
from holdfast_protocol.errors import PermanentError, TransientError
from holdfast_protocol.runtime.sqlite import Database, migrations
from holdfast_protocol.wire import records
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.messages import Record

NAME: Final = "outbox.db"


def open_outbox(folder: Path, quotas: Quotas, stamp: Stamp) -> tuple[Database, dict[str, Stream]]:
    """Return the database and its streams. A damaged, lost or restored one leaves an alarm in p0."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        opened = _open(folder, quotas, stamp)
    except TransientError as error:
        if error.reason != "DiskFull" or not files.drop_ballast(folder):
            raise
        opened = _open(folder, quotas, stamp)
    files.load_ballast(folder, quotas.ballast)
    return opened


def _open(folder: Path, quotas: Quotas, stamp: Stamp) -> tuple[Database, dict[str, Stream]]:
    side = files.read_opening(folder)
    database, reason = _database(folder, quotas, side)
    aside = ""
    if database is None:
        aside = files.put_aside(folder / NAME).name
        database = _new(folder, quotas)
    opening = secrets.token_hex(16)
    try:
        with database.transaction() as connection:
            if connection.execute("SELECT count(*) FROM streams").fetchone()[0] == 0:
                rows.create(connection)
            connection.execute("INSERT OR REPLACE INTO identity VALUES (1, ?, ?)", (opening, side))
            streams = rows.load(connection)
            if reason:
                alarm = Record("Alarm", stamp.wall, {"reason": f"Outbox{reason}", "aside": aside})
                rows.insert(connection, streams["p0"], records.encode([alarm])[0], "records", stamp)
                rows.save(connection, streams["p0"])
        files.write_opening(folder, opening)
    except BaseException:
        database.close()
        raise
    return database, streams


def _new(folder: Path, quotas: Quotas) -> Database:
    schema = migrations("holdfast_edge.store", "schema_outbox")
    return Database(folder / NAME, schema, max_bytes=quotas.whole)


def _database(folder: Path, quotas: Quotas, side: str) -> tuple[Database | None, str]:
    """Return the database, None when it may not be used, and what happened to it: Damaged, Lost, Restored or ""."""
    try:
        database = _new(folder, quotas)
    except PermanentError as error:
        if error.reason != "Damaged":
            raise
        return None, "Damaged"
    try:
        with database.reading() as connection:
            row = connection.execute("SELECT opening, previous FROM identity").fetchone()
    except PermanentError as error:
        database.close()
        if error.reason != "Damaged":
            raise
        return None, "Damaged"
    if row is None:
        return database, "Lost" if side else ""
    if side in row:  # `previous`: the last start ended between the two writes
        return database, ""
    database.close()
    return None, "Restored"
