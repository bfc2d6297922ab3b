"""Commands to devices: one order, one deadline, one outcome, also through a site that is away for most of it."""

import contextlib
import secrets
import sqlite3
from typing import Any, Final

from holdfast_hub.operations.devices import known, unsayable
from holdfast_hub.operations.hub import Hub
from holdfast_hub.store import audit, commands
from holdfast_hub.store.commands import DeviceCommand, State
from holdfast_protocol.errors import ConflictError, InputError, NotFoundError, Problem, TransientError
from holdfast_protocol.wire.levels import is_sayable

MAX_SECONDS: Final = 30 * 24 * 3600
GRACE: Final = 30_000  # milliseconds after the deadline for the node's answer to arrive
EVERY: Final = 1.0  # seconds between two looks for commands that are over


async def command_device(
    hub: Hub, site: str, device: str, name: str, data: Any, *, seconds: int, author: str
) -> DeviceCommand:
    """Order something of a device. Raises InputError, NotFoundError, ConflictError when too many wait at its site."""
    row, _ = await known(hub, site, device)
    if problems := _problems(device, name, data, seconds):
        raise InputError(problems)
    now = hub.now()
    made = DeviceCommand(secrets.token_hex(16), site, row.node, device, name, data, now + seconds * 1000, author, now)

    def ordering(connection: sqlite3.Connection) -> None:
        hub.fleet.site(site)
        if len(commands.waiting(connection, site)) >= commands.MAX_WAITING:
            text = f"{commands.MAX_WAITING} commands wait for {site} already"
            raise ConflictError(text, reason="TooManyCommands", hint="wait for their deadlines")
        commands.add(connection, made)
        _note(connection, made, now, author, "command-device", {"name": name, "data": data, "deadline": made.deadline})

    await hub.store.write(ordering)
    hub.feed.tell("command", f"{site}/{row.node}")
    return made


def _problems(device: str, name: str, data: Any, seconds: int) -> list[Problem]:
    found = []
    for path, text in (("device", device), ("name", name)):
        if not is_sayable(text):
            hint = "1 to 256 characters without controls"
            found.append(Problem(f"{text[:80]!r} is no name", path=path, hint=hint))
    if not 1 <= seconds <= MAX_SECONDS:
        found.append(Problem(f"must be 1 to {MAX_SECONDS} seconds", path="seconds"))
    return found + unsayable(data, "data")


async def show_command(hub: Hub, name: str) -> DeviceCommand:
    """Return a command by id. Raises NotFoundError."""
    found = await hub.store.read(lambda connection: commands.get(connection, name))
    if found is None:
        raise NotFoundError(f"no command {name[:80]!r}", reason="NoSuchCommand")
    return found


async def expire_commands(hub: Hub) -> list[DeviceCommand]:
    """End commands whose deadline is over: `expired` when they never left, `failed` (NoAnswer) when nothing came back."""

    def expiring(connection: sqlite3.Connection) -> list[DeviceCommand]:
        now = hub.now()
        ended = []
        for each in commands.over(connection, now):
            if each.sent and each.deadline >= now - GRACE:
                continue
            state: State = "failed" if each.sent else "expired"
            reason = "NoAnswer" if each.sent else "NeverSent"
            if commands.end(connection, each.id, state, reason, None, now):
                _note(connection, each, now, "hub", "command-ended", {"state": state, "reason": reason})
                ended.append(each)
        return ended

    if not await hub.store.read(lambda connection: commands.over(connection, hub.now())):
        return []
    ended = await hub.store.write(expiring)
    for each in ended:
        hub.feed.tell("command", f"{each.site}/{each.node}")
    return ended


async def run_command_expiry(hub: Hub) -> None:
    """Expire commands, for ever."""
    while True:
        with contextlib.suppress(TransientError):  # a full disk: the next turn tries again
            await expire_commands(hub)
        await hub.clock.sleep(EVERY)


def _note(
    connection: sqlite3.Connection, command: DeviceCommand, at: int, actor: str, action: str, detail: dict[str, Any]
) -> None:
    device = f"{command.site}/{command.device}"
    subjects = (f"Device/{device}", f"Site/{command.site}")
    audit.add(
        connection,
        at=at,
        actor=actor,
        action=action,
        subjects=subjects,
        detail={"device": device, "id": command.id, **detail},
    )
