"""Power cuts at both ends of a stream, simulated: what a disk may hold after one, and everything accounted for at the end.

A site's outbox and a hub's store on real SQLite; between them a wire that loses, repeats and reorders; a quota that overflows
all the time; a disk that is full now and then.
"""

import asyncio
import os
import random
import resource
import shutil
from pathlib import Path
from typing import Final

from holdfast_edge.link.sender import run_sender
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.outbox_state import Quotas
from holdfast_protocol.errors import LinkLost, TransientError
from support import streams

FULL_AT: Final = 8192  # bytes of any file, while a disk is full
SECTOR: Final = 512  # bytes a disk writes whole
TALK: Final = 0.2  # seconds a connection lasts at most
SMALL: Final = Quotas(p0=1_000_000, p1=100_000, p2=100_000, p3=60_000, ballast=0, file=4 * 1024 * 1024)


async def cut_power(folder: Path, cuts: int, seed: int) -> dict[str, int]:
    """Return what became of everything appended; raises RuntimeError when the ledger and the rows do not agree."""
    chance = random.Random(seed)
    count = dict.fromkeys(("cuts", "full"), 0)
    edge, hub = folder / "edge-0", streams.Hub(folder / "hub-0")
    outbox = streams.open_outbox(edge, SMALL)
    number = 0
    for cut in range(1, cuts + 1):
        for _ in range(chance.randint(1, 12)):
            number = await _append(outbox, number, chance, count)
        await _talk(hub, outbox, chance, seed + cut)
        if cut % 2:  # the site loses power
            before, promised = _copied(edge, folder / "before"), number
            await _append(outbox, number, chance, count)
            after = _copied(edge, folder / "after")
            outbox.close()
            edge = _torn(before, after, folder / f"edge-{cut}", chance)
            outbox = streams.open_outbox(edge, SMALL)
            number = outbox.states()["p3"].high
            if number < promised:
                raise RuntimeError(f"{promised - number} readings that were promised are gone")
        else:  # the hub does, before it has answered
            before = _copied(hub.path.parent, folder / "before")
            state = outbox.states()["p3"]
            if page := await outbox.read("p3", state.acked + 1, state.high):
                await hub.take(streams.sealed_page(page))
            after = _copied(hub.path.parent, folder / "after")
            hub.database.close()
            hub = streams.Hub(_torn(before, after, folder / f"hub-{cut}", chance))
        count["cuts"] += 1
    while not all(state.acked == state.high for state in outbox.states().values()):
        await _talk(hub, outbox, chance, 0, chance_of_loss=0.0)
    (ledger,) = [each for each in await hub.store.ledger("site-1") if each.stream == "p3"]
    await hub.balance()
    with hub.database.reading() as connection:
        rows = connection.execute("SELECT count(*), count(DISTINCT CAST(value AS INTEGER)) FROM readings").fetchone()
    if ledger.pending or rows != (ledger.stored, ledger.stored) or ledger.sent != outbox.states()["p3"].high:
        raise RuntimeError(f"{ledger} with {rows} rows")
    outbox.close()
    hub.database.close()
    return count | {"sent": ledger.sent, "stored": ledger.stored, "tombstoned": ledger.tombstoned}


async def _append(outbox: Outbox, number: int, chance: random.Random, count: dict[str, int]) -> int:
    """Append some readings; now and then the disk is full, and they are appended again when there is room."""
    size = chance.randint(1, 400)
    given = streams.readings(number, size, text=chance.choice((0, 0, 30)))
    if chance.random() < 0.05:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT, hard))
        try:
            await outbox.append_readings(given)
            return number + size
        except TransientError:
            count["full"] += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await outbox.append_readings(given)
    return number + size


async def _talk(
    hub: streams.Hub,
    outbox: Outbox,
    chance: random.Random,
    seed: int,
    *,
    chance_of_loss: float = 0.3,
) -> None:
    """Let the sender run over a wire that loses, repeats and ends."""
    wire = streams.Wire(hub, outbox, seed=seed, chance=chance_of_loss, budget=chance.randint(1, 30))
    with_deadline = asyncio.timeout(TALK)
    try:
        async with with_deadline:
            await run_sender(wire, outbox, streams.IDENTITY, probe_after=0.01)  # type: ignore[arg-type]
    except (LinkLost, TimeoutError):
        pass


def _copied(folder: Path, to: Path) -> Path:
    """Return a copy of a database folder; nothing may be writing."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*-shm"))
    return to


def _torn(before: Path, after: Path, to: Path, chance: random.Random) -> Path:
    """Return a folder with what a disk may hold when the power fails between two moments: the files of the first, and of
    each log any of the sectors written since. What a checkpoint changed is left at the first moment, for it syncs the log
    before it begins."""
    shutil.copytree(before, to)
    for log in to.glob("*-wal"):
        old, new = log.read_bytes(), (after / log.name).read_bytes()
        if new[:32] != old[:32] or len(new) < len(old):  # another generation of the log
            continue
        held = bytearray(new)
        for start in range(len(old) - len(old) % SECTOR, len(new), SECTOR):
            if chance.random() < 0.5:
                end = min(start + SECTOR, len(new))
                held[start:end] = old[start:end].ljust(end - start, b"\0")
        with log.open("wb") as file:
            file.write(held)
            os.fsync(file.fileno())
    return to
