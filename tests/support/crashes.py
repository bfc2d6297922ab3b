"""An agent's loop that never stops applying, killed or cut off from power at random moments. As root on Linux:

python -m support.crashes kills|cuts FOLDER COUNT SEED

kills: in a booted machine, its loop is ended by SIGKILL and begun again. cuts: state and files lie on an ext4 image; the
image is copied while the loop stands still, and the copy is what a machine finds after its power came back: what the file
system had handed to the disk. The loop goes on; the copy is mounted, looked at and brought to its target by a new agent.

The answer is JSON: how many there were, how many targets were brought about, and everything a person would have to mend.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from holdfast_edge.core.transaction import Limits
from holdfast_edge.providers.disk import inotify
from holdfast_edge.providers.files import directories, provider
from holdfast_edge.providers.firewall import provider as firewall
from holdfast_edge.providers.offers import equip
from holdfast_edge.providers.registry import Registry
from holdfast_edge.providers.sysctl import provider as sysctl
from holdfast_edge.providers.systemd import dbus, drop_ins, foreign
from holdfast_edge.reconcile.assembly import Pace
from holdfast_edge.reconcile.site import Site
from holdfast_protocol.kinds.way import Way
from support import builders, disk_image, loop
from support.crash_world import MachineWorld, World

# What the loop imports when it is asked for, imported before the forks.
_LOADED: Final = (inotify, directories, provider, firewall, sysctl, dbus, drop_ins, foreign)
PACE: Final = Pace(look_every=5.0, limits=Limits(soak=0.05))
LIVES: Final = 0.5  # seconds a loop lives on average
SETTLES: Final = 20  # kills after which the site is left alone until it is as wanted
WITHIN: Final = 60.0  # seconds to become so


class Ended(msgspec.Struct):
    """`mend` is what a person would have to do something about."""

    count: int = 0
    targets: int = 0
    mend: list[str] = []


class Child:
    """A forked process that runs `work`; `say` tells the parent the number of a target that is committed."""

    def __init__(self, work: Callable[[Callable[[int], None]], None]) -> None:
        self._heard, said = os.pipe()
        self.committed = 0
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._heard)
                work(lambda generation: _say(said, generation))
                status = 0
            except BaseException:  # noqa: BLE001 - whatever it is, a fork must not go on as its parent
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(said)
        os.set_blocking(self._heard, False)

    def listen(self) -> int:
        """Return the newest target the child was told to be committed, 0 for none yet."""
        try:
            while said := os.read(self._heard, 4096):
                self.committed = int(said.split()[-1])
        except BlockingIOError:
            pass
        return self.committed

    def ended(self) -> bool:
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.forget()

    def status(self) -> int:
        """Wait for its end."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.listen()
        self.forget()
        return status

    def forget(self) -> None:
        self.listen()
        os.close(self._heard)


def _say(said: int, generation: int) -> None:
    os.write(said, f"{generation}\n".encode())


def kills(folder: Path, count: int, chance: random.Random) -> Ended:
    world, done = MachineWorld(folder / "root"), Ended()
    world.make()
    state = folder / "state"
    committed = 0
    for number in range(count):
        child = Child(lambda say: anyio.run(_run, world, state, say))
        time.sleep(chance.uniform(0, 2 * LIVES))  # the moment of the kill is the point
        if child.ended():
            done.mend.append(f"kill {number}: the loop had ended by itself")
            child.forget()
        else:
            child.kill()
        committed = max(committed, child.committed)
        done.mend += [f"kill {number}: half: {each}" for each in world.broken()]
        if (number + 1) % SETTLES == 0 or number + 1 == count:
            done.mend += [f"kill {number}: {each}" for each in _settled(world, state, committed, boot="")]
    done.count, done.targets = count, committed
    return done


def cuts(folder: Path, count: int, chance: random.Random) -> Ended:
    done = Ended()
    with disk_image.mounted(folder) as disk:
        world, state = World(disk.place / "root"), disk.place / "state"
        world.make()
        os.sync()
        child = Child(lambda say: anyio.run(_run, world, state, say))
        try:
            for number in range(count):
                time.sleep(chance.uniform(0, LIVES))
                os.kill(child.pid, signal.SIGSTOP)
                committed = child.listen()  # before the copy: what was acknowledged by then must be in it
                disk.copy()
                os.kill(child.pid, signal.SIGCONT)
                found = Child(lambda _: _after_cut(disk, world, state, committed, f"boot-{number}"))  # noqa: B023
                if found.status() != 0:
                    done.mend.append(f"cut {number}, target {committed}: see above")
                if child.ended():
                    raise RuntimeError("the loop has ended by itself")
        finally:
            child.kill()
        done.count, done.targets = count, child.committed
    return done


def _after_cut(disk: disk_image.Disk, world: World, state: Path, committed: int, boot: str) -> None:
    """In a process of its own: see the copy in the disk's place, and have an agent go on with it."""
    disk.show_copy()
    mend = [f"half: {each}" for each in world.broken()]
    mend += _settled(world, state, committed, boot=boot)
    if mend:
        raise RuntimeError("; ".join(mend))


def _settled(world: World, state: Path, committed: int, boot: str) -> list[str]:
    """Have an agent come to the end of what it is at; return what is wrong then."""
    child = Child(lambda say: anyio.run(_settle, world, state, say, boot))
    if child.status() != 0:
        return ["it does not come to an end by itself"]
    if child.committed < committed:
        return [f"target {committed} was committed, and is {child.committed} now"]
    return world.differing(child.committed)


async def _run(world: World, state: Path, say: Callable[[int], None]) -> None:
    """Bring about one target after the other, for ever."""
    site, chosen = _agent(world, state, "")
    async with loop.running(site, chosen):
        while True:
            generation = _generation(site)
            say(generation)
            if generation:
                await loop.reaches(site, "Converged", generation, WITHIN)
            await loop.give(site, world.bodies(generation + 1), generation=generation + 1)


async def _settle(world: World, state: Path, say: Callable[[int], None], boot: str) -> None:
    site, chosen = _agent(world, state, boot)
    if site.damage:
        raise RuntimeError(f"damaged: {site.damage}")
    async with loop.running(site, chosen):
        generation = _generation(site)
        if generation:
            await loop.reaches(site, "Converged", generation, WITHIN)
            assert site.board.status is not None
            if site.board.status.problems:
                raise RuntimeError(f"problems: {site.board.status.problems}")
        say(generation)
    await loop.closed(site, chosen)


def _generation(site: Site) -> int:
    return site.targets.current.generation if site.targets.current is not None else 0


def _agent(world: World, state: Path, boot: str) -> tuple[Site, Registry]:
    state.mkdir(mode=0o700, exist_ok=True)
    machine = isinstance(world, MachineWorld)
    chosen = equip(
        file_roots=[str(world.root)],
        engine="",
        host_paths=(),
        privileged=False,
        systemd="system" if machine else "",
        kernel=machine,
        network=False,
        machine=False,
        hub=Way("127.0.0.1", 1883),
        site=builders.SITE,
        state=state,
        denied=(),
        environ=dict(os.environ),
    )
    return loop.site_of(state, chosen, PACE, boot), chosen


def main(what: str, folder: str, count: str, seed: str) -> None:
    ways: dict[str, Any] = {"kills": kills, "cuts": cuts}
    done = ways[what](Path(folder), int(count), random.Random(int(seed)))
    print(json.dumps(msgspec.to_builtins(done)))


if __name__ == "__main__":
    main(*sys.argv[1:])
