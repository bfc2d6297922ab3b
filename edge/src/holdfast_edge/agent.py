"""The agent: puts the parts together and runs them; it decides nothing."""

import logging
import secrets
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

import holdfast_protocol
from holdfast_edge import allocator, notify
from holdfast_edge import settings as settings_
from holdfast_edge.control import Control, Request
from holdfast_edge.core.report import Origin
from holdfast_edge.core.sources import SourceState
from holdfast_edge.core.transaction import Limits
from holdfast_edge.equipment import equipped, place_of
from holdfast_edge.guard import guard_for
from holdfast_edge.ingest.noticing import Noticing
from holdfast_edge.ingest.orders import run_orders
from holdfast_edge.ingest.tee import Tee
from holdfast_edge.insight import Insight
from holdfast_edge.link.beacons import Beacons
from holdfast_edge.link.identity import Identity
from holdfast_edge.link.inbox import Inbox
from holdfast_edge.link.meter import Meter
from holdfast_edge.link.session import Session
from holdfast_edge.link.upkeep import Upkeep
from holdfast_edge.lock import locked
from holdfast_edge.page.address import place
from holdfast_edge.providers import registry
from holdfast_edge.reconcile.assembly import Given, Pace, assemble
from holdfast_edge.reconcile.dead_man import Safety
from holdfast_edge.reconcile.ladder import run_ladder
from holdfast_edge.reconcile.loop import run_reconcile
from holdfast_edge.reconcile.site import Site
from holdfast_edge.reconcile.wakes import Wakes
from holdfast_edge.reconcile.watches import run_watches
from holdfast_edge.restarts import restarts
from holdfast_edge.sensors import surroundings
from holdfast_edge.sensors.facts import facts
from holdfast_edge.settings import Settings
from holdfast_edge.store.bridges import Bridges
from holdfast_edge.store.contact import Contact
from holdfast_edge.store.floor import FloorClock
from holdfast_edge.store.orders import Orders
from holdfast_edge.store.outbox import Outbox
from holdfast_edge.store.sources import Sources
from holdfast_edge.store.targets import Trust
from holdfast_edge.store.whereabouts import BUILT_IN
from holdfast_edge.upgrade import pending_upgrade, run_confirmation
from holdfast_protocol.runtime import clock as clocks
from holdfast_protocol.runtime import link, paho, tasks, zones
from holdfast_protocol.runtime.mqtt import Options
from holdfast_protocol.wire.batch import Stamp
from holdfast_protocol.wire.names import NodeName

CLOSE_WITHIN: Final = 5.0  # seconds for providers to let go
TWICE: Final = "another client took our connection to the hub over: is this node's name, or its disk, used twice?"
_random = secrets.SystemRandom()
log = logging.getLogger(__name__)


async def run_agent(settings: Settings, config: Path) -> None:
    """Run until SIGTERM or SIGINT; `config` is the absolute path of the settings.

    Raises LoopDied, in a group, when a part fails: the supervisor starts us again and the state is on disk.
    """
    allocator.keep_little()
    folder = Path(settings.state_dir)
    with locked(folder):
        async with anyio.create_task_group() as group:
            group.start_soon(_run_until_told, group.cancel_scope)
            await _run(settings, folder, config)
            group.cancel_scope.cancel()


async def _run_until_told(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            notify.notify("STOPPING=1")
            scope.cancel()


async def _run(settings: Settings, folder: Path, config: Path) -> None:
    clock, boot_id = FloorClock(clocks.SystemClock(), folder), clocks.boot_id()
    trust, signer = settings.trusted(), settings_.signer(settings)
    identity = Identity(trust.fleet, trust.site, NodeName(settings.node), signer)
    sources = Sources(folder / "sources")
    bridges = Bridges(folder / "bridges")
    chosen = equipped(settings, config, sources, bridges)
    origin = Origin(identity.fleet, identity.site, identity.node, boot_id)
    contact = Contact()
    safety = _safety(settings, folder, config, contact)
    outbox = Outbox.open(
        folder,
        quotas=settings.quotas,
        stamp=partial(_stamp, clock, boot_id),
        rows_at_once=settings.budgets.rows_at_once,
        batches_at_once=settings.budgets.batches_at_once,
        newest_kept=settings.budgets.newest_kept,
    )
    site = assemble(
        Given(
            folder,
            origin,
            trust,
            chosen,
            clock,
            _pace(settings),
            jitter=_random.random,
            not_now=settings.not_now,
            quality=clock.quality,
            safety=safety,
            restarting=restarts(settings, outbox),
        )
    )
    site.bridges = lambda: bridges.said(clock.boottime())
    orders = Orders(folder, int(clock.wall() * 1000))
    try:
        if site.damage or site.interrupted:
            log.warning("started after %s; interrupted: %s", site.damage or "a stop", [e.key for e in site.interrupted])
        if site.targets.current is not None:
            clock.saw(site.targets.current.issued_at)
        loops = _loops(
            settings, folder, site, clock, identity, trust, chosen, outbox, contact, orders, sources, bridges
        )
        await tasks.run_all(loops, ready=lambda: notify.notify("READY=1"))
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_WITHIN):
            for provider in chosen.providers:
                await provider.close()
        clock.keep()
        orders.close()
        outbox.close()
        site.database.close()


def _loops(
    settings: Settings,
    folder: Path,
    site: Site,
    clock: FloorClock,
    identity: Identity,
    trust: Trust,
    chosen: registry.Registry,
    outbox: Outbox,
    contact: Contact,
    orders: Orders,
    sources: Sources,
    bridges: Bridges,
) -> dict[str, Callable[[], Awaitable[None]]]:
    news, beacons = Wakes(clock), Beacons(clock)
    states: deque[link.LinkState] = deque(maxlen=1)
    zone = zones.zone(settings.metered.time_zone) or UTC
    meter = Meter(settings.metered, outbox, clock, site.origin.boot_id, zone)
    upkeep = Upkeep(outbox, folder, clock, meter)

    def extras() -> dict[str, Any]:
        return {
            "outbox": outbox.depth(),
            "standing": upkeep.standing(),
            "link": states[-1] if states else None,
            "profile": settings.profile,
            "budgets": settings.budgets,
            "sources": sources.shown(clock.boottime()),
            "bridges": bridges.shown(clock.boottime()),
        }

    def wake() -> None:
        site.wakes.wake()
        news.wake()

    def note(who: str, problem: str) -> None:
        if site.board.note(who, problem):
            wake()

    def take(state: link.LinkState) -> None:
        states.append(state)
        note("link", link_problem(state))

    session = Session(
        identity,
        trust,
        Options(client_id="", host=settings.hub.host, port=settings.hub.port),
        site.targets,
        site.board,
        outbox,
        Inbox(site.targets, clock, wake=wake),
        beacons,
        clock,
        boot_id=site.origin.boot_id,
        agent=holdfast_protocol.VERSION,
        facts=partial(facts, settings.providers.engine, profile=settings.profile),
        wake=site.wakes.wake,
        jitter=_random.random,
        contact=contact,
        meter=meter,
        orders=orders,
    )
    if orders.damage:
        note("orders", orders.damage)
    control = Control(site, extras, wake, Insight(site, chosen, outbox.newest))
    door = settings.near.unix if settings.near is not None else ""
    loops: dict[str, Callable[[], Awaitable[None]]] = {
        "reconcile": lambda: run_reconcile(site),
        "ladder": lambda: run_ladder(site, outbox, news),
        "control": lambda: control.run(folder),
        "watches": lambda: run_watches(site, chosen),
        "watchdog": lambda: notify.run_watchdog(clock, site.is_looking),
        "link": lambda: link.run_link(paho.dial, session.options, session.run, clock, on_state=take),
        "outbox": upkeep.run,
        "beacons": lambda: beacons.run(partial(note, "freshness")),
        "floor": clock.run_keeping,
        "orders": lambda: run_orders(
            paho.dial,
            settings.devices,
            orders,
            clock,
            is_carried=lambda: settings.providers.sources and any(each.carries for each in sources.kept.values()),
            unix=door,
        ),
    }
    # What only some sites have is imported at those (decision 45).
    if settings.page.listen:
        from holdfast_edge.page.server import run_page

        loops["page"] = lambda: run_page(
            place(settings.page.listen),
            lambda words: control.answer(msgspec.convert(words, Request), "page"),
            logs=settings.page.logs,
            note=partial(note, "page"),
        )
    if pending_upgrade(folder):
        loops["upgrade"] = partial(run_confirmation, folder, site, contact, clock, settings.hub)
    tee = Tee(outbox, bridges.wanting_readings if settings.providers.bridges else tuple)
    if settings.providers.bridges:
        from holdfast_edge.ingest.bridges import run_bridges

        loops["bridges"] = partial(run_bridges, bridges, paho.dial, tee, clock, place_of(settings))
    if settings.broker is not None:
        from holdfast_edge.ingest.site_broker import run_site_broker

        loops["broker"] = partial(
            run_site_broker,
            settings.broker,
            settings.broker_folder,
            clock,
            memory_mb=settings.budgets.memory_mb,
            note=partial(note, "broker"),
        )
    if settings.devices is not None:
        from holdfast_edge.ingest.devices import run_devices

        loops["devices"] = partial(
            run_devices,
            paho.dial,
            settings.devices,
            Noticing(tee, orders.whereabouts, BUILT_IN, able=True),
            clock,
            note=partial(note, "devices"),
            state=sources.states.setdefault("devices", SourceState()),
            unix=door,
        )
    if settings.providers.sources:
        from holdfast_edge.ingest.supervisor import run_sources

        loops["sources"] = partial(
            run_sources,
            sources,
            paho.dial,
            tee,
            clock,
            site=identity.site,
            believed=lambda: clock.quality() == "synced",
            orders=orders,
            near=settings.near,
        )
    return loops


def link_problem(state: link.LinkState) -> str:
    """Return what a person should know of how the last connection was lost, "" for what happens to every network."""
    return TWICE if state.reason == "TakenOver" else ""


def _pace(settings: Settings) -> Pace:
    timing, way = settings.timing, settings.transaction
    limits = Limits(way.prepare_deadline_s, way.progress_deadline_s, timing.soak_s, way.rollback)
    at_once = settings.budgets.changes_at_once
    return Pace(timing.look_every_s, timing.observe_within_s, timing.change_within_s, limits, at_once)


def _safety(settings: Settings, folder: Path, config: Path, contact: Contact) -> Safety:
    connects = partial(surroundings.connects, settings.hub.host, settings.hub.port)
    return Safety(settings.dead_man, contact, guard_for(config, folder), connects, surroundings.look_around)


def _stamp(clock: FloorClock, boot_id: str) -> Stamp:
    return Stamp(boot_id, int(clock.boottime() * 1000), int(clock.wall() * 1000), clock.quality())
