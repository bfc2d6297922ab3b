"""Upgrade: a version on trial says that it is healthy, and stays."""

import logging
from pathlib import Path
from typing import Final

import anyio.to_thread

from holdfast_edge.providers.version.slots import Slots
from holdfast_edge.reconcile.site import Site
from holdfast_edge.sensors import surroundings
from holdfast_edge.settings import Hub
from holdfast_edge.store.contact import Contact
from holdfast_protocol.runtime.clock import Clock

POLL: Final = 0.5  # seconds
ALONE: Final = 5.0  # seconds a look must have been there where no hub can be reached
log = logging.getLogger(__name__)


def pending_upgrade(folder: Path) -> bool:
    """Return whether the version that runs is on trial; `folder` is the agent's state. Blocks."""
    return bool(Slots(folder / "slots").pending)


async def run_confirmation(folder: Path, site: Site, contact: Contact, clock: Clock, hub: Hub) -> None:
    """Confirm this version once the hub has answered its hello, or, where no connection to the hub can be made at all,
    once it has looked at the site and lives on; then wait for ever."""
    slots, began = Slots(folder / "slots"), clock.boottime()
    while True:
        looked = site.view is not None and clock.boottime() - began >= ALONE
        alone = looked and not await surroundings.connects(hub.host, hub.port)
        if site.view is not None and (contact.heard_at is not None or alone):
            break
        await clock.sleep(POLL)
    await anyio.to_thread.run_sync(slots.confirm)
    log.info("this version is healthy and stays")
    site.wakes.wake()
    await anyio.sleep_forever()
