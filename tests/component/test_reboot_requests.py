"""Restarts of the machine that somebody asks for, at the hub or here: served once, taken back, never forgotten."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from holdfast_edge.core.reboots import Ground
from holdfast_edge.store.reboots import Reboots
from holdfast_protocol.errors import MisuseError
from support.clock import Running
from support.reboots import NIGHTS, REQUIRED, Machine, Site, asked, wanted

pytestmark = pytest.mark.anyio


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def it(tmp_path: Path, machine: Machine) -> Iterator[Site]:
    site = Site(tmp_path, machine)
    yield site
    site.close()


async def test_a_request_of_the_hub_is_served_once_and_needs_no_policy(
    it: Site, machine: Machine, tmp_path: Path
) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(reboot_requests=(asked(),)))
        await it.restarted()
        await it.until(lambda: not it.said.needed, "it to be served", step=0.1)
    it.close()
    machine.boot()
    after = Site(tmp_path, machine)
    async with Running(*after.loops()):
        await after.until(lambda: after.said.last, "the outcome")
        assert after.said.last is not None
        assert after.said.last.causes == ("ann asks: new disks",)
        await after.stays(1)
        await after.give(wanted(reboot_requests=(asked(), asked(name="r2")), generation=2))
        await after.restarted(2)
    after.close()


async def test_a_request_ends_by_itself(it: Site, machine: Machine) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(reboot_requests=(asked(seconds=3600),), windows={"nights": NIGHTS}))
        await it.until(lambda: it.said.needed, "the request", step=1.0)
        await it.until(lambda: not it.said.needed, "its end", step=60.0)
        await it.stays(20)


async def test_a_request_made_here_is_taken_back_or_refused_where_restarts_are_closed(
    it: Site, machine: Machine, tmp_path: Path
) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(windows={"nights": NIGHTS}))
        await it.settled()
        rebooter = it.site.rebooter
        assert rebooter is not None
        await rebooter.ask(reason="new fan", seconds=3600, by="uid 0", now=it.site.moment())
        await it.until(lambda: it.said.needed == ("uid 0 asks: new fan",), "the request", step=1.0)
        assert await rebooter.withdraw(by="uid 0", now=it.site.moment()) == 1
        await it.until(lambda: not it.said.needed, "it to be gone", step=1.0)
        with pytest.raises(MisuseError, match="needs a reason"):
            await rebooter.ask(reason=" ", seconds=60, by="uid 0", now=it.site.moment())
    closed = Site(tmp_path / "closed", machine, allowed=False)
    async with Running(*closed.loops()):
        await closed.give(wanted(REQUIRED, reboot_requests=(asked(seconds=20 * 3600),)))
        await closed.until(lambda: "not open here" in closed.said.waits, "it to say so")
        await closed.stays(3)
        rebooter = closed.site.rebooter
        assert rebooter is not None
        with pytest.raises(MisuseError, match="not open"):
            await rebooter.ask(reason="x", seconds=60, by="uid 0", now=closed.site.moment())
    closed.close()


async def test_what_is_asked_for_while_a_look_writes_is_not_forgotten(tmp_path: Path, machine: Machine) -> None:
    it = Site(tmp_path, machine)
    rebooter = it.site.rebooter
    assert rebooter is not None
    async with Running(*it.loops()):
        await it.give(wanted(REQUIRED))
        await it.settled()
    machine.ground = Ground(required=True)
    newest, now = it.site.targets.current, it.site.moment()
    assert newest is not None
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: rebooter.look(newest, {}, {}, {}, (), "", now))
        await anyio.lowlevel.checkpoint()
        group.start_soon(lambda: rebooter.ask(reason="r", seconds=60, by="ada", now=now))
    assert [each.by for each in Reboots(it.database).kept.requests] == ["ada"]
    it.close()


async def test_what_is_asked_for_before_the_first_look_is_not_forgotten_by_it(it: Site, machine: Machine) -> None:
    async with Running(*it.loops()):
        await it.give(wanted(windows={"nights": NIGHTS}))
        await it.settled()
    it.close()
    machine.boot()
    after = Site(it.database.path.parent, machine)
    rebooter = after.site.rebooter
    assert rebooter is not None
    await rebooter.ask(reason="new fan", seconds=3600, by="ada", now=after.site.moment())
    async with Running(*after.loops()):
        await after.until(lambda: after.said.needed, "the request")
    assert [each.by for each in Reboots(after.database).kept.requests] == ["ada"]
    after.close()
