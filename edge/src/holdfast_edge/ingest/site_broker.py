"""The site's broker, run by the agent, where devices find none. It goes and comes with the agent, and outlives a kill."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from holdfast_edge.settings import DOOR, Broker
from holdfast_protocol.errors import HoldfastError, PermanentError, first_of, render
from holdfast_protocol.kinds.inputs import Material
from holdfast_protocol.relay.renewal import file_marks, run_renewal
from holdfast_protocol.relay.tls import file_bytes
from holdfast_protocol.runtime.broker import EmbeddedBroker, configuration
from holdfast_protocol.runtime.clock import Clock

AGAIN: Final = 10.0  # seconds after it could not run
ACCOUNT: Final = "mosquitto"  # whom it runs as when the agent is root
SHARE: Final = 4  # of the agent's memory may wait in its queues: one part of so many
MESSAGE: Final = 450  # bytes that a small message takes in a queue (broker-config/README.md)
_OPEN: Final = "allow_anonymous true\n"
_GIVEN: Final = ("certificate", "key", "client_ca", "passwords", "access")


async def run_site_broker(
    given: Broker, folder: Path, clock: Clock, *, memory_mb: int, note: Callable[[str], None]
) -> None:
    """Keep the broker running until cancelled; `note` is told why it does not run ("": it does). When a file it was given
    changes it is started anew. `folder`: the broker's own; `memory_mb`: what the agent and all it starts may take."""
    materials = {name: Material(path=getattr(given, name)) for name in _GIVEN}
    while True:
        problem = ""
        try:
            marks = await anyio.to_thread.run_sync(file_marks, materials)
            files = await anyio.to_thread.run_sync(_files, given)
            text = site_configuration(given, memory_mb)
            broker = EmbeddedBroker(folder, given.host, given.port, text, files=files, account=_account())
            async with anyio.create_task_group() as group:
                group.start_soon(broker.run)
                group.start_soon(run_renewal, materials, marks, clock)
                await broker.ready()
                note("")
        except* HoldfastError as group_error:
            error = first_of(group_error)
            problem = "" if error.reason == "Renewed" else render(error)
        if problem:
            note(problem)
            await clock.sleep(AGAIN)


def _files(given: Broker) -> dict[str, bytes]:
    """Return what the broker was given, by the name it has in its folder. Raises PermanentError `NoFile`."""
    found = {}
    for name in _GIVEN:
        if path := getattr(given, name):
            try:
                found[name] = file_bytes(path)
            except OSError as error:
                hint = "mend it, or the key in edge.toml"
                text = f"broker.{name}: {path}: {error.strerror}"
                raise PermanentError(text, reason="NoFile", hint=hint) from None
    return found


def _account() -> str:
    """Return whom the broker runs as, "" for ourselves."""
    try:
        return pwd.getpwnam(ACCOUNT).pw_name if os.geteuid() == 0 else ""
    except KeyError:
        return ""


def site_configuration(given: Broker, memory_mb: int) -> str:
    """Return what Mosquitto reads: broker-config/site.conf, who may come, bounds that fit, and a door for the agent alone."""
    size = memory_mb * 1024 * 1024 // SHARE
    text = configuration("site.conf", listen=given.host, port=given.port, folder=Path())
    for plain, ours in (
        (_OPEN, _access(given)),
        ("max_queued_messages 200000\n", f"max_queued_messages {size // MESSAGE}\n"),
        ("max_queued_bytes 134217728\n", f"max_queued_bytes {size}\n"),
    ):
        before, found, after = text.partition(plain)
        assert found, plain
        text = before + ours + after
    return f"per_listener_settings true\n{text}\n# The agent's own way in.\nlistener 0 {DOOR}\n{_OPEN}"


def _access(given: Broker) -> str:
    lines = [] if given.passwords or given.client_ca else [_OPEN.strip()]
    if given.passwords:
        lines += ["password_file passwords"]
    if given.access:
        lines += ["acl_file access"]
    if given.certificate:
        lines += ["certfile certificate", "keyfile key"]
    if given.client_ca:
        lines += ["cafile client_ca", "require_certificate true", "use_identity_as_username true"]
    return "".join(f"{line}\n" for line in lines)
