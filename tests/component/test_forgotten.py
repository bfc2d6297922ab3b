"""What is remembered of things goes with them: attempts over restarts, judgements of policies over targets."""

from pathlib import Path

import anyio
import pytest

from holdfast_edge.core import attempts as core
from holdfast_edge.reconcile.observe import Sight
from holdfast_edge.reconcile.policing import Policing
from holdfast_edge.store import attempts
from holdfast_edge.store.attempts import Attempts
from holdfast_edge.store.edge import open_edge
from holdfast_protocol.errors import PermanentError
from holdfast_protocol.wire.names import ResourceKey
from holdfast_protocol.wire.target import Content, resource
from support.builders import a_target, file_body

pytestmark = pytest.mark.anyio
RULE = {"name": "any", "expression": "true", "message": "never"}
POLICY = {"name": "any", "match": {"kinds": ["File"]}, "rules": [RULE]}


async def test_a_final_attempt_of_before_the_start_goes_with_its_thing(tmp_path: Path) -> None:
    database = open_edge(tmp_path).database
    error = PermanentError("never", reason="Never")
    for name in ("wanted", "gone"):
        key = ResourceKey(f"File/{name}")
        with database.transaction() as connection:
            attempts.put(connection, core.failed(None, key, "d", error, now=1.0, boot_id="b", jitter=0.0))
    held = Attempts(database)
    assert not held.held
    await held.forget_others([ResourceKey("File/wanted")])
    with database.reading() as connection:
        assert connection.execute("SELECT key FROM attempts").fetchall() == [("File/wanted",)]
    database.close()


async def test_judgements_of_what_no_target_wants_any_more_are_forgotten() -> None:
    policing = Policing(deadline=5.0)
    async with anyio.create_task_group() as group:
        for number in range(30):
            wanted = resource(file_body(f"f{number}", "/srv/f"))
            target = a_target(content=Content(resources=(wanted,), policies=(POLICY,)), generation=number + 1)
            await policing.see(group, target, {wanted.key: wanted}, Sight({}, {}))
    assert len(policing._judged) <= 3
