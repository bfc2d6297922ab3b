"""The door to SQLite: whole transactions, whole migrations, damage found at the door."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from holdfast_protocol.errors import MisuseError, PermanentError, TransientError
from holdfast_protocol.runtime.sqlite import Database, Migration, read_only

FIRST = Migration(1, "initial", "CREATE TABLE thing (name TEXT PRIMARY KEY);\nINSERT INTO thing VALUES ('one');")
SECOND = Migration(2, "more", "CREATE TABLE other (n INTEGER);\nINSERT INTO other VALUES (1);\n-- the end\n")


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    return {name for name in found if not name.startswith("sqlite_")}


@pytest.mark.anyio
async def test_a_call_runs_off_the_event_loop_and_returns_its_result(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", [FIRST])

    def names() -> list[str]:
        with database.reading() as connection:
            return [row[0] for row in connection.execute("SELECT name FROM thing")]

    assert await database.call(names) == ["one"]
    database.close()


def test_an_error_inside_a_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", [FIRST])

    def interrupted() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO thing VALUES ('two')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM thing").fetchone()[0] == 1
    database.close()


def test_transactions_do_not_nest(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", [FIRST])
    with database.transaction(), pytest.raises(MisuseError), database.transaction():
        pass
    database.close()


def test_a_migration_failing_at_any_statement_leaves_the_database_untouched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Database(path, [FIRST]).close()
    broken = Migration(2, "broken", SECOND.sql + "\nINSERT INTO nowhere VALUES (1);")
    with pytest.raises(PermanentError):
        Database(path, [FIRST, broken])
    assert tables(path) == {"thing"}
    Database(path, [FIRST, SECOND]).close()
    assert tables(path) == {"thing", "other"}


def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Database(path, [FIRST, SECOND]).close()
    with pytest.raises(PermanentError) as caught:
        Database(path, [FIRST])
    assert caught.value.reason == "NewerSchema"
    assert tables(path) == {"thing", "other"}


@pytest.mark.parametrize("damage", [b"not a database at all" * 400, b""])
def test_damage_is_found_before_anything_is_read(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.db"
    if damage:
        path.write_bytes(damage)
    else:
        big = Migration(1, "big", "CREATE TABLE t (x);\nINSERT INTO t VALUES (zeroblob(100000));")
        Database(path, [big]).close()
        data = bytearray(path.read_bytes())
        data[4096:16384] = b"\xa5" * 12288
        path.write_bytes(bytes(data))
    with pytest.raises(PermanentError) as caught:
        Database(path, [FIRST])
    assert caught.value.reason == "Damaged"


def test_a_full_file_is_a_passing_error_and_the_database_goes_on(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db", [FIRST], max_bytes=64 * 4096)
    with pytest.raises(TransientError) as caught, database.transaction() as connection:
        connection.execute("INSERT INTO thing VALUES (zeroblob(1000000))")
    assert caught.value.reason == "DiskFull"
    with database.transaction() as connection:
        connection.execute("INSERT INTO thing VALUES ('two')")
    database.close()


def test_a_reader_beside_the_process_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = Database(path, [FIRST])
    reader = read_only(path)
    assert reader.execute("SELECT name FROM thing").fetchall() == [("one",)]
    with pytest.raises(sqlite3.OperationalError):
        reader.execute("DELETE FROM thing")
    reader.close()
    database.close()


def test_a_database_is_its_owners_alone_whatever_the_umask_and_the_folder_say(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        database = Database(tmp_path / "some.db", [FIRST])
        with database.transaction() as connection:
            connection.execute("INSERT INTO thing VALUES ('two')")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("some.db*")}
        database.close()
    finally:
        os.umask(before)
    assert modes == {"some.db": 0o600, "some.db-wal": 0o600, "some.db-shm": 0o600}
