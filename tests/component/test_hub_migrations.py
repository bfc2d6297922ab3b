"""hub.db: its migrations are whole or nothing, and it is one fleet's."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from holdfast_hub.store.hub import open_hub
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.runtime.sqlite import Database, Migration, migrations
from holdfast_protocol.wire.names import FleetName, all_partitions
from support.builders import FLEET
from support.hubs import BLUEPRINT, add_site, hub_at, instance, put

SCHEMA = migrations("holdfast_hub.store")
STATEMENTS = [statement for statement in SCHEMA[0].sql.split(";\n") if statement.strip()]


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [f"version {connection.execute('PRAGMA user_version').fetchone()[0]}", *connection.iterdump()]
    finally:
        connection.close()


@pytest.mark.parametrize("number", range(len(STATEMENTS)))
def test_when_a_statement_of_the_first_schema_fails_nothing_of_it_is_there(number: int, tmp_path: Path) -> None:
    broken = ";\n".join([*STATEMENTS[:number], "INSERT INTO nowhere VALUES (1)", *STATEMENTS[number:]])
    path = tmp_path / "hub.db"
    with pytest.raises(PermanentError):
        Database(path, [msgspec.structs.replace(SCHEMA[0], sql=broken)])
    assert dump(path) == ["version 0", "BEGIN TRANSACTION;", "COMMIT;"]
    open_hub(path, FLEET, all_partitions()).close()


@pytest.mark.anyio
@pytest.mark.parametrize("number", range(3))
async def test_a_later_migration_that_fails_leaves_a_full_database_as_it_was(number: int, tmp_path: Path) -> None:
    with hub_at(tmp_path) as hub:
        await add_site(hub)
        await put(hub, BLUEPRINT, instance())
    before = dump(tmp_path / "hub.db")
    steps = ["ALTER TABLE sites ADD COLUMN more TEXT", "UPDATE sites SET region = 'x'", "DROP TABLE audit"]
    steps.insert(number, "INSERT INTO nowhere VALUES (1)")
    with pytest.raises(PermanentError):
        Database(tmp_path / "hub.db", [*SCHEMA, Migration(len(SCHEMA) + 1, "broken", ";\n".join(steps) + ";")])
    assert dump(tmp_path / "hub.db") == before


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    newer = Migration(len(SCHEMA) + 1, "newer", "CREATE TABLE newer (n INTEGER);")
    Database(tmp_path / "hub.db", [*SCHEMA, newer]).close()
    before = dump(tmp_path / "hub.db")
    with pytest.raises(PermanentError, match="this version knows"):
        open_hub(tmp_path / "hub.db", FLEET, all_partitions())
    assert dump(tmp_path / "hub.db") == before


def test_the_database_of_another_fleet_is_refused(tmp_path: Path) -> None:
    open_hub(tmp_path / "hub.db", FLEET, all_partitions()).close()
    with pytest.raises(PermanentError, match="belongs to fleet 'acme'"):
        open_hub(tmp_path / "hub.db", FleetName("other"), all_partitions())
    open_hub(tmp_path / "hub.db", FLEET, all_partitions()).close()
