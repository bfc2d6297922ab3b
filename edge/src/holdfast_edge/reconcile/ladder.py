"""Ladder: A1 to A4, and every notice on its way to stream p0.

Beside the reconcile loop and never in it: a full outbox delays reports and nothing else. [inv: outbox-never-blocks-reconcile]
"""

from typing import Final

import anyio

from holdfast_edge.core import lifecycle
from holdfast_edge.core.lifecycle import Life
from holdfast_edge.reconcile.site import Records, Site
from holdfast_edge.reconcile.wakes import Wakes
from holdfast_protocol.errors import MisuseError, TransientError
from holdfast_protocol.wire.messages import Record

RETRY: Final = 5.0  # seconds after the outbox refused
IDLE: Final = 600.0  # seconds without news; the wait only has to end at some time


async def run_ladder(site: Site, outbox: Records, news: Wakes) -> None:
    """Say each thing once: decided here, committed with what it follows from, then handed to the outbox, for ever."""
    life = lifecycle.resumed(site.life)
    async with anyio.create_task_group() as group:
        group.start_soon(_run_news, site, news)
        while True:
            news.take()
            try:
                life = await _advanced(site, life)
                await _forward(site, outbox)
                _note(site, "")
                refused = False
            except TransientError as error:
                _note(site, f"{error.reason}: reports wait: {error.message}")
                refused = True
            again = lifecycle.again_at(life)
            wait = IDLE if again is None else max(again - site.clock.boottime(), 0.0)
            await news.wait(at_least=0.0, at_most=min(wait, RETRY) if refused else wait)


async def _run_news(site: Site, news: Wakes) -> None:
    status = None
    while True:
        status = await site.board.newer(status)
        news.wake()


async def _advanced(site: Site, life: Life) -> Life:
    status = site.board.status
    if status is None:
        return life
    made, reports = lifecycle.advance(life, status, now=site.clock.boottime())
    if made != life:
        await site.memory.save_life(made, reports, at=int(site.clock.wall() * 1000))
    return made


async def _forward(site: Site, outbox: Records) -> None:
    while waiting := await site.notices.waiting():
        records = [record for _, record in waiting]
        try:
            await outbox.append_records("p0", records)
        except MisuseError:  # one of them can never be sent, and would be the end of every start from now on
            for record in records:
                await _forward_what_can_be(record, outbox)
        await site.notices.forget([number for number, _ in waiting])


async def _forward_what_can_be(record: Record, outbox: Records) -> None:
    """Send a record, or that there was one. [inv: one-bad-message-never-blocks-a-queue, every-loss-is-counted]"""
    try:
        await outbox.append_records("p0", [record])
    except MisuseError as error:
        body = {"what": "Unsendable", "reason": error.reason, "message": error.message[:300]}
        await outbox.append_records("p0", [Record(record.kind, record.at, body)])


def _note(site: Site, problem: str) -> None:
    if site.board.note("reports", problem):
        site.wakes.wake()
